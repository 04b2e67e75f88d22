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
    """All contents of the report of one training."""

    pipeline: str
    keepfit_version: str
    created: datetime
    source: str  # in words, without secrets
    snapshot: Snapshot
    schema: Schema
    split: Split
    metric: str
    leaderboard: tuple[LeaderboardRow, ...]
    challenger: Evaluation  # on the holdout, as champion and baseline
    verdict: Verdict
    contract: ContractResult | None = None
    assumptions: tuple[str, ...] = ()
    champion: Evaluation | None = None
    baseline: Evaluation | None = None
    champion_version: str | None = None  # the version judged against
    registered: str | None = None  # such as ``flights v4``
    figures: tuple[FigureText, ...] = ()
    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)  # against the champion
    settings: Mapping[str, str] = field(default_factory=dict)  # for reproduction
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage
    links: tuple[Link, ...] = ()
    next_command: str = ""
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    compared: str = ""  # what the new model looks at that the champion did not
    mode: TrainingMode = field(default_factory=TrainingMode)
