"""The report of a training: one page of HTML that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from tasks.base.config import greater_is_better
from tasks.base.records import (
    ContractResult,
    Evaluation,
    LeaderboardRow,
    Schema,
    Snapshot,
    Split,
    TrainingMode,
    Verdict,
)
from tasks.base.text import numbers as words
from tasks.evaluation.findings import Diagnosis
from tasks.reporting.report import report_rows as view
from tasks.reporting.report.gain_scale import gains
from tasks.reporting.report.page_environment import page_environment
from tasks.reporting.report.trial_table import trial_table

if TYPE_CHECKING:
    from tasks.reporting.figures.training_figures import Drawing

_TEMPLATES = Path(__file__).parent / "templates"


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
    """All that the report of one training says.

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


def figure_text(drawing: Drawing) -> FigureText:
    """Return the figure as text for the report."""
    return FigureText(drawing.name, drawing.title, drawing.caption, drawing.svg())


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[Change, ...]:
    """Return what differs between two sets of settings, by name.

    Examples
    --------
    >>> changed({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})
    (Change(name='b', before='2', after='3'), Change(name='c', before=None, after='4'))
    """
    names = sorted({*before, *after})
    pairs = ((name, _text(before, name), _text(after, name)) for name in names)
    return tuple(Change(name, old, new) for name, old, new in pairs if old != new)


def _text(values: Mapping[str, object], name: str) -> str | None:
    return str(values[name]) if name in values else None


def render_report(data: ReportData) -> str:
    """Return the report as one self-contained page of HTML.

    Every name and value is escaped; the page holds no script and asks for nothing from
    outside, which its content security policy enforces as well.
    """
    environment = page_environment(_TEMPLATES)
    environment.filters |= {
        "address": view.address,
        "score": view.score_text,
        "code": view.code,
        "moment": words.moment,
        "number": words.number,
        "seconds": words.seconds,
    }
    figures = [(f, Markup(f.svg)) for f in data.figures]  # noqa: S704 - drawn by `figures`
    lessons = {p.name: (p, Markup(p.svg)) for p in data.diagnosis.pictures}  # noqa: S704 - as above
    style = Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704
    page = environment.get_template("report.html.j2").render(
        data=data,
        style=style,
        figures=figures,
        lessons=lessons,
        d=data.diagnosis,
        mode=words.mode_words(data.mode),
        trials={
            name: trial_table(told, greater=greater_is_better(data.metric))
            for name, told in data.diagnosis.trials.items()
        },
        scores=view.headline(data),
        board=view.board(data),
        metrics=view.metric_rows(data),
        by_class=view.class_rows(data.challenger),
        gains=gains(data.verdict),
        contract=view.contract(data.contract),
        columns=view.columns(data.snapshot, data.schema),
    )
    # Half of a surrogate pair, as a name from a damaged file may hold, cannot be written.
    return page.encode("utf-8", "replace").decode("utf-8")
