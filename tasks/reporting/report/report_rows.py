"""Values of the report's template: scores with intervals, gains, links, code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from tasks.base.text.numbers import ABSENT, number
from tasks.base.text.phrases import valued
from tasks.base.training_records import (
    Evaluation,
    LeaderboardRow,
    MetricValue,
    Schema,
    Trial,
    Verdict,
)

if TYPE_CHECKING:
    from tasks.reporting.report.report_data import ReportData

_MOST_CLASSES = 30


class Score(NamedTuple):
    """A number with its interval, as text."""

    value: str
    interval: str = ""


@dataclass(frozen=True)
class Gain:
    """A gain with its interval, and where it lies on a scale from 0 to 100."""

    over: str
    text: str
    low: float
    high: float
    middle: float
    zero: float
    sure: bool


def score(metric: MetricValue | None) -> Score:
    """Return a metric with its interval as text."""
    if metric is None or metric.value is None:
        return Score(ABSENT)
    if metric.half is None or metric.low == metric.high:
        return Score(number(metric.value))
    ends = f"{number(metric.low, metric.half)} to {number(metric.high, metric.half)}"
    return Score(number(metric.value, metric.half), ends)


def score_text(metric: MetricValue) -> str:
    """Return a metric with its interval as one text."""
    value, interval = score(metric)
    return f"{value} ({interval})" if interval else value


def holdout_score(row: LeaderboardRow) -> Score:
    """Return a candidate's score on the holdout with its interval as text."""
    return score(MetricValue(value=row.holdout, low=row.holdout_low, high=row.holdout_high))


def address(target: str) -> str | None:
    """Return `target` if it may stand in a link: http, https or the path of a page.

    >>> address("https://example.org/run"), address("javascript:alert(1)")
    ('https://example.org/run', None)
    """
    target = target.strip()
    try:
        scheme = urlsplit(target).scheme
    except ValueError:
        return None
    page = not scheme and target.endswith(".html") and not target.startswith("//")
    return target if len(target.split()) == 1 and (page or scheme in ("http", "https")) else None


def code(text: str) -> Markup:
    """Return escaped `text` with what stands between backticks as code.

    >>> code("set `<x>`")
    Markup('set <code>&lt;x&gt;</code>')
    """
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    marked = (f"<code>{escape(p)}</code>" if k % 2 else escape(p) for k, p in enumerate(parts))
    return Markup("".join(marked))  # noqa: S704 - every part is escaped


def headline(data: ReportData) -> tuple[tuple[str, Score], ...]:
    """Return the deciding metric of challenger, champion and baseline, each with whose it is."""
    metric, evidence = data.metric, data.verdict.evidence
    found = [
        (f"challenger: {data.challenger.candidate}", score(data.challenger.metrics.get(metric)))
    ]
    if data.champion is not None:
        who = f"champion: v{data.champion_version}" if data.champion_version else "champion"
        found.append((who, score(data.champion.metrics.get(metric))))
    elif evidence is not None and evidence.champion_score is not None:
        # As the gate saw it.
        half = MetricValue(value=None, low=evidence.low, high=evidence.high).half
        same = evidence.rows == data.split.n_holdout
        where = "" if same else f"on {evidence.rows:,} of these rows"
        seen = Score(number(evidence.champion_score, half), where)
        found.append((f"champion: v{data.champion_version}", seen))
    if data.baseline is not None:
        found.append(("trivial baseline", score(data.baseline.metrics.get(metric))))
    return tuple(found)


def metric_names(data: ReportData) -> list[str]:
    """Return every metric to show, the deciding one first."""
    hidden = {"precision", "recall", "f1"} if len(data.schema.classes) > 2 else set()
    names = [n for n in data.challenger.metrics if n not in hidden or n == data.metric]
    return sorted(names, key=lambda name: name != data.metric)


def beside(evaluation: Evaluation, metric: str, ours: MetricValue) -> str:
    """Return another model's metric with the digits that the challenger's interval supports."""
    found = evaluation.metrics.get(metric)
    return number(None if found is None else found.value, ours.half)


def class_labels(evaluation: Evaluation) -> list[str]:
    """Return the classes to show: all, or of many the weakest in F1."""
    labels = list(evaluation.per_class)
    if len(labels) > _MOST_CLASSES:
        labels.sort(key=lambda k: evaluation.per_class[k]["f1"].value or 0.0)
    return labels[:_MOST_CLASSES]


def column_part(name: str, schema: Schema) -> str:
    """Return a column's role in the training; the reason where it is left out."""
    if name == schema.target:
        return "target"
    if name in schema.dropped:
        return f"left out: {schema.dropped[name]}"
    parts = {
        "time": name == schema.time_column,
        "id": name in schema.id_columns,
        "feature": name in schema.features,
    }
    return ", ".join(part for part, it_is in parts.items() if it_is) or "left out"


def gains(verdict: Verdict) -> tuple[Gain, ...]:
    """Return the challenger's gains over champion and baseline, each on a scale of its own."""
    e = verdict.evidence
    if e is None:
        return ()
    sides = (
        (f"champion v{verdict.champion_version}", (e.difference, e.low, e.high)),
        ("trivial baseline", (e.baseline_difference, e.baseline_low, e.baseline_high)),
    )
    known = ((over, [v for v in ends if v is not None and isfinite(v)]) for over, ends in sides)
    return tuple(_gain(over, *numbers) for over, numbers in known if len(numbers) == 3)


def _gain(over: str, middle: float, low: float, high: float) -> Gain:
    left, right = min(low, 0.0, middle), max(high, 0.0, middle)
    room = 0.08 * (right - left) or 1.0
    left, span = left - room, right - left + 2 * room
    places = [100 * (v - left) / span for v in (low, high, middle, 0.0)]
    text = valued(MetricValue(value=middle, low=low, high=high))
    return Gain(over, text, places[0], places[1], places[2], places[3], sure=low > 0)


@dataclass(frozen=True)
class TrialRow:
    """One trial; `settings` in the order of the table's names."""

    title: str
    chosen: bool
    score: str
    folds: str
    seconds: str
    settings: tuple[str, ...]


@dataclass(frozen=True)
class TrialTable:
    """Every trial of a candidate, the best complete one first, then those that were stopped."""

    names: tuple[str, ...]
    rows: tuple[TrialRow, ...]


def trial_table(trials: Sequence[Trial], *, greater: bool) -> TrialTable:
    """Return the trials as a table; `greater`: a larger score is the better one."""
    names = tuple(dict.fromkeys(name for trial in trials for name in trial.params))
    sign = -1.0 if greater else 1.0

    def place(trial: Trial) -> tuple[bool, float, int]:
        complete = trial.state == "complete" and trial.score is not None
        return not complete, sign * (trial.score or 0.0) if complete else 0.0, trial.number

    rows = tuple(
        TrialRow(
            title=_title(trial),
            chosen=trial.chosen,
            score=number(trial.score),
            folds=f"{len(trial.scores)}",
            seconds=f"{trial.seconds:.1f}",
            settings=tuple(_setting(trial.params.get(name)) for name in names),
        )
        for trial in sorted(trials, key=place)
    )
    return TrialTable(names, rows)


def _title(trial: Trial) -> str:
    name = "untuned" if trial.number == 0 else f"{trial.number}"
    return name if trial.state == "complete" else f"{name}, {trial.state}"


def _setting(value: str | int | float | None) -> str:
    if value is None:
        return ABSENT
    return f"{value:.4g}" if isinstance(value, float) else str(value)
