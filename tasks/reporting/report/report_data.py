"""Contents of the report of a training, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tasks.base.training_records import (
    ContractResult,
    Evaluation,
    LeaderboardRow,
    Schema,
    Snapshot,
    Split,
    TrainingMode,
    Verdict,
)
from tasks.evaluation.findings import Diagnosis


@dataclass(frozen=True)
class FigureText:
    """A figure as SVG text with its words, see `figures.Drawing`."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Change:
    """A setting or a number before and after; None where it was or is absent."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Link:
    """An address or a path; only http, https and relative ones become links."""

    label: str
    target: str


@dataclass(frozen=True)
class ReportData:
    """All contents of the report of one training.

    Attributes
    ----------
    source
        Where the rows come from, in words, without secrets.
    assumptions
        What was assumed, one sentence each.
    challenger
        Metrics of the challenger on the holdout; `champion` and `baseline` on the same rows.
    champion_version
        The version the challenger was judged against; None where there was none.
    registered
        Name and version under which the challenger was registered, e.g. ``flights v4``.
    changes
        Title to what changed against the champion: settings, metrics, importance.
    settings
        Training settings by name, for reproduction.
    compared
        What the new model looks at that the champion did not, in a sentence.
    seconds
        Stage to the time it took.
    mode
        Whether candidates were searched, or a version's recipe was fitted.
    """

    pipeline: str
    keepfit_version: str
    created: datetime
    source: str
    snapshot: Snapshot
    schema: Schema
    split: Split
    metric: str
    leaderboard: tuple[LeaderboardRow, ...]
    challenger: Evaluation
    verdict: Verdict
    contract: ContractResult | None = None
    assumptions: tuple[str, ...] = ()
    champion: Evaluation | None = None
    baseline: Evaluation | None = None
    champion_version: str | None = None
    registered: str | None = None
    figures: tuple[FigureText, ...] = ()
    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    next_command: str = ""
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    compared: str = ""
    mode: TrainingMode = field(default_factory=TrainingMode)
