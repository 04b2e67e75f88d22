"""Numbers and rows of the report, as text; the template only lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text.numbers import ABSENT, metric_words, number, seconds, size
from tasks.base.training_records import (
    ContractResult,
    Evaluation,
    LeaderboardRow,
    MetricValue,
    RuleResult,
    Schema,
    Snapshot,
)

if TYPE_CHECKING:
    from tasks.reporting.report.report_data import ReportData

MOST_COLUMNS = 200
MOST_RULES = 300
_MOST_CLASSES = 30


@dataclass(frozen=True)
class Score:
    """A number with its interval, as text."""

    who: str
    value: str
    interval: str = ""


@dataclass(frozen=True)
class BoardRow:
    """One line of the leaderboard, as text."""

    candidate: str
    chosen: bool
    usable: bool
    validation: str
    holdout: Score
    fit: str
    predict: str
    size: str
    note: str


@dataclass(frozen=True)
class MetricRow:
    """One metric of challenger, champion and baseline."""

    name: str
    words: str
    deciding: bool
    direction: str
    challenger: Score
    champion: str
    baseline: str


@dataclass(frozen=True)
class ContractView:
    """The contract's outcome in groups."""

    passed: bool
    rules: int
    held: int
    broken: tuple[RuleResult, ...]
    warnings: tuple[RuleResult, ...]
    all: tuple[RuleResult, ...]


def score(who: str, metric: MetricValue | None) -> Score:
    """Return a metric with its interval as text."""
    if metric is None or metric.value is None:
        return Score(who, ABSENT)
    if metric.low is None or metric.high is None:
        return Score(who, number(metric.value))
    if metric.low == metric.high:
        return Score(who, number(metric.value))
    half = (metric.high - metric.low) / 2
    ends = f"{number(metric.low, half)} to {number(metric.high, half)}"
    return Score(who, number(metric.value, half), ends)


def score_text(metric: MetricValue) -> str:
    """Return a metric with its interval as one text."""
    told = score("", metric)
    return f"{told.value} ({told.interval})" if told.interval else told.value


def address(target: str) -> str | None:
    """Return `target` if it may stand in a link: http, https or the path of a page.

    Examples
    --------
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

    Examples
    --------
    >>> code("set `<x>`")
    Markup('set <code>&lt;x&gt;</code>')
    """
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    marked = (f"<code>{escape(p)}</code>" if k % 2 else escape(p) for k, p in enumerate(parts))
    return Markup("".join(marked))  # noqa: S704 - every part is escaped


def headline(data: ReportData) -> tuple[Score, ...]:
    """Return the deciding metric of challenger, champion and baseline."""
    found = [score(f"challenger: {data.challenger.candidate}", _of(data.challenger, data.metric))]
    if data.champion is not None:
        who = f"champion: v{data.champion_version}" if data.champion_version else "champion"
        found.append(score(who, _of(data.champion, data.metric)))
    elif (judged := _judged_champion(data)) is not None:
        found.append(judged)
    if data.baseline is not None:
        found.append(score("trivial baseline", _of(data.baseline, data.metric)))
    return tuple(found)


def _judged_champion(data: ReportData) -> Score | None:
    """Return the champion's score as the gate saw it, where its metrics are not given."""
    evidence = data.verdict.evidence
    if evidence is None or evidence.champion_score is None:
        return None
    half = None
    if evidence.low is not None and evidence.high is not None:
        half = (evidence.high - evidence.low) / 2
    where = "" if evidence.rows == data.split.n_holdout else f"on {evidence.rows:,} of these rows"
    return Score(
        f"champion: v{data.champion_version}", number(evidence.champion_score, half), where
    )


def board(data: ReportData) -> tuple[BoardRow, ...]:
    """Return the leaderboard as text."""
    return tuple(_board_row(row, data.challenger.candidate) for row in data.leaderboard)


def _board_row(row: LeaderboardRow, chosen: str) -> BoardRow:
    validation = number(row.cv_mean, row.cv_std)
    if row.cv_std is not None and row.cv_mean is not None:
        validation += f" ± {number(row.cv_std, row.cv_std)}"
    holdout = MetricValue(value=row.holdout, low=row.holdout_low, high=row.holdout_high)
    return BoardRow(
        candidate=row.candidate,
        chosen=row.candidate == chosen,
        usable=row.status == "ok",
        validation=validation,
        holdout=score(row.candidate, holdout),
        fit=seconds(row.fit_seconds),
        predict=seconds(row.predict_seconds),
        size=size(row.model_bytes),
        note=row.reason if row.status == "ok" else f"{row.status}: {row.reason}".rstrip(": "),
    )


def metric_rows(data: ReportData) -> tuple[MetricRow, ...]:
    """Return every metric, the deciding one first."""
    hidden = {"precision", "recall", "f1"} if len(data.schema.classes) > 2 else set()
    names = [n for n in data.challenger.metrics if n not in hidden or n == data.metric]
    names.sort(key=lambda name: name != data.metric)
    rows = []
    for name in names:
        ours = data.challenger.metrics[name]
        half = (
            (ours.high - ours.low) / 2 if ours.high is not None and ours.low is not None else None
        )
        rows.append(
            MetricRow(
                name=name,
                words=metric_words(name),
                deciding=name == data.metric,
                direction="higher is better" if greater_is_better(name) else "lower is better",
                challenger=score(name, ours),
                champion=number(_value(data.champion, name), half),
                baseline=number(_value(data.baseline, name), half),
            )
        )
    return tuple(rows)


def _of(evaluation: Evaluation, metric: str) -> MetricValue | None:
    return evaluation.metrics.get(metric)


def _value(evaluation: Evaluation | None, metric: str) -> float | None:
    found = _of(evaluation, metric) if evaluation is not None else None
    return found.value if found is not None else None


def class_rows(evaluation: Evaluation) -> tuple[tuple[str, tuple[Score, ...], str], ...]:
    """Return label, precision, recall and F1, and rows; of many classes, the weakest in F1."""
    names = ("precision", "recall", "f1")
    labels = list(evaluation.per_class)
    if len(labels) > _MOST_CLASSES:
        labels.sort(key=lambda k: evaluation.per_class[k]["f1"].value or 0.0)
        labels = labels[:_MOST_CLASSES]
    rows = []
    for label in labels:
        of_class = evaluation.per_class[label]
        support = of_class["support"].value if "support" in of_class else None
        scores = tuple(score(n, of_class.get(n)) for n in names)
        rows.append((label, scores, ABSENT if support is None else f"{support:,.0f}"))
    return tuple(rows)


def contract(result: ContractResult | None) -> ContractView | None:
    """Return the contract's outcome, what did not hold first."""
    if result is None:
        return None
    held: Sequence[RuleResult] = [r for r in result.rules if r.passed]
    return ContractView(
        passed=result.passed,
        rules=len(result.rules),
        held=len(held),
        broken=result.broken[:MOST_RULES],
        warnings=result.warnings[:MOST_RULES],
        all=result.rules[:MOST_RULES],
    )


def columns(snapshot: Snapshot, schema: Schema) -> tuple[tuple[str, str, str], ...]:
    """Return name, kind and part of each column; what is left out says why."""
    rows = []
    for name, kind in snapshot.kinds.items():
        rows.append((name, kind, _part(name, schema)))
    return tuple(rows[:MOST_COLUMNS])


def _part(name: str, schema: Schema) -> str:
    if name == schema.target:
        return "target"
    if name in schema.dropped:
        return f"left out: {schema.dropped[name]}"
    parts = []
    if name == schema.time_column:
        parts.append("time")
    if name in schema.id_columns:
        parts.append("id")
    if name in schema.features:
        parts.append("feature")
    return ", ".join(parts) or "left out"
