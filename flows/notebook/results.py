"""Results of calls from Python: the command's record, with its tables and its figure."""

from __future__ import annotations

import html
import io
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.terminal.loop_results import health_lines, value_of
from flows.terminal.results import number, row_sentence, scale_sentence
from tasks.backtest.page import draw_pareto
from tasks.base.runtime.libraries import pd
from tasks.base.text.phrases import plural, span
from tasks.reporting.figures import diagrams
from tasks.reporting.figures import style as drawing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from expectations.contract import Contract
    from tasks.backtest.results import BacktestOutcome
    from tasks.base.command_results import MonitoringOutcome, ScoringOutcome, TrainingOutcome
    from tasks.evaluation.explanation.shap_values import RowExplanation
    from tasks.history.overview import PipelineHealth
    from tasks.lineage.evidence_chain import Chain

_SHOWN_ROWS = 20
_PROVENANCE = ["model_name", "model_version", "run_id", "batch"]
_DRIFT = ("column", "method", "statistic", "threshold", "p_value", "drifted", "importance")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:")
_SHOWN = ("at", "what", "kind", "sentence")


@dataclass(frozen=True, repr=False)
class Result:
    """A result of keepfit.

    Attributes
    ----------
    outcome
        The record that the command of the same name makes.
    """

    outcome: Any

    def to_dict(self) -> dict[str, Any]:
        """Return the same values that the command prints with ``--json``."""
        return dict(self.outcome.answer())

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        raise NotImplementedError

    @property
    def report(self) -> str:
        """The file of its page, to be opened in a browser; empty where there is none."""
        return str(getattr(self.outcome, "report", ""))

    def _tables(self) -> Mapping[str, pd.DataFrame]:
        return {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.sentence}>"

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(self.sentence)}</p>"]
        for caption, table in self._tables().items():
            if len(table):
                parts.append(f"<p><b>{html.escape(caption)}</b></p>{_html(table)}")
        if self.report:
            parts.append(f"<p>Report: <code>{html.escape(self.report)}</code></p>")
        return "".join(parts)


@dataclass(frozen=True, repr=False)
class Training(Result):
    """A training: its candidates compared, and the gate's verdict on the best."""

    outcome: TrainingOutcome

    @property
    def sentence(self) -> str:
        """The gate's verdict."""
        return self.outcome.verdict.sentence

    @property
    def promoted(self) -> bool:
        """Whether the challenger became champion."""
        return self.outcome.verdict.promoted

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row per candidate, best first: the metric, its 95 % interval, and times."""
        return pd.DataFrame(self.to_dict()["leaderboard"])

    @property
    def metrics(self) -> pd.DataFrame:
        """The challenger's metrics on the holdout, with the 95 % interval where it is known."""
        rows = [
            {"metric": name, "value": m.value, "low": m.low, "high": m.high}
            for name, m in self.outcome.metrics.items()
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Figure:
        """Draw each candidate's score on the holdout with its 95 % interval."""
        outcome = self.outcome
        figure = diagrams.leaderboard(outcome.leaderboard, outcome.metric, outcome.challenger)
        return _displayed(figure)

    def _tables(self) -> Mapping[str, pd.DataFrame]:
        return {"Candidates": self.leaderboard, "Metrics": self.metrics}


@dataclass(frozen=True, repr=False)
class Scoring(Result):
    """A scoring, with its predictions.

    Attributes
    ----------
    predictions
        A row for each row that was scored; None where they were written to a database.
    """

    outcome: ScoringOutcome
    predictions: pd.DataFrame | None = None

    @property
    def sentence(self) -> str:
        """Number of scored rows, and the version."""
        aside = self.outcome.quarantined
        if self.outcome.scope == "new" and not self.outcome.scored and not aside:
            return "No rows that were not scored before."
        kept = f"; {aside.rows:,} broke the contract and were set aside" if aside else ""
        return (
            f"{plural(self.outcome.scored, 'row')} scored by version {self.outcome.version}{kept}."
        )

    def _tables(self) -> Mapping[str, pd.DataFrame]:
        if self.predictions is None:
            return {}
        return {"Predictions": self.predictions.drop(columns=_PROVENANCE, errors="ignore")}


@dataclass(frozen=True, repr=False)
class Monitoring(Result):
    """A look at windows of new data."""

    outcome: MonitoringOutcome

    @property
    def sentence(self) -> str:
        """The newest window's findings, and the policy's decision."""
        return f"{self.outcome.sentence} {self.outcome.decision.sentence}".strip()

    @property
    def alarm(self) -> bool:
        """Whether the newest window is an alarm."""
        return self.outcome.alarm

    @property
    def drift(self) -> pd.DataFrame:
        """One row per column of the newest window: statistic, threshold, corrected p, effect."""
        return pd.DataFrame(self.to_dict()["columns"])

    @property
    def windows(self) -> pd.DataFrame:
        """One row per window, oldest first."""
        return pd.DataFrame(self.to_dict()["windows"])

    def plot(self) -> Figure:
        """Draw each column's drift statistic over its threshold in the newest window."""
        columns = self.outcome.drift.columns if self.outcome.drift else ()
        over = {c.column: c.statistic / c.threshold for c in columns if c.statistic and c.threshold}
        shown = sorted(over.items(), key=lambda pair: pair[1])[-20:]
        figure, axes = drawing.canvas(6.4, 0.8 + 0.3 * max(len(shown), 1))
        drawing.grid(axes)
        places = range(len(shown))
        axes.barh(places, [value for _, value in shown], color=drawing.BLUE)
        axes.set_yticks(places, [name for name, _ in shown])
        axes.axvline(1.0, color=drawing.ORANGE, linestyle="--", linewidth=1.2)
        drawing.name_axes(axes, "statistic over its threshold", "")
        return _displayed(figure)

    def _tables(self) -> Mapping[str, pd.DataFrame]:
        seen = [
            {
                "window": span(one.window),
                "rows": one.rows,
                "alarm": one.alarm,
                one.performance.metric if one.performance else "metric": value_of(one.performance),
                "drifted": one.drifted,
                "why": one.sentence if one.alarm else "",
            }
            for one in self.outcome.windows
        ]
        drift = self.drift
        return {"Windows": pd.DataFrame(seen), "Drift": drift[[c for c in _DRIFT if c in drift]]}


@dataclass(frozen=True, repr=False)
class Backtest(Result):
    """A replay of the history under several policies."""

    outcome: BacktestOutcome

    @property
    def sentence(self) -> str:
        """The recommendation."""
        return self.outcome.recommendation.sentence

    @property
    def policies(self) -> pd.DataFrame:
        """A row a policy, smallest loss first."""
        hidden = {"windows", "events", "gain_over_never", "gain_over_every"}
        rows = [
            result.model_dump(mode="json", exclude=hidden)
            for result in sorted(self.outcome.policies, key=lambda r: r.loss)
        ]
        return pd.DataFrame(rows)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings to write into the pipeline file: dotted key to value."""
        return dict(self.outcome.recommendation.settings)

    def plot(self) -> Figure:
        """Draw each policy's loss over its trainings."""
        return _displayed(draw_pareto(self.outcome))

    def _tables(self) -> Mapping[str, pd.DataFrame]:
        shown = self.policies[["policy", "loss", "captured", "trainings", "refits", "alarms"]]
        return {"Policies": shown}


@dataclass(frozen=True, repr=False)
class Status(Result):
    """Health of a pipeline."""

    outcome: PipelineHealth

    @property
    def sentence(self) -> str:
        """The pipeline's health, and what it rests on."""
        return f"{self.outcome.pipeline}: {self.outcome.health}. {self.outcome.reason}"

    @property
    def latest(self) -> pd.DataFrame:
        """Its last decisions, newest first."""
        return pd.DataFrame(self.to_dict()["latest"])

    def _tables(self) -> Mapping[str, pd.DataFrame]:
        lines = [{"": name, "now": str(value)} for name, value in health_lines(self.outcome)]
        table = self.latest
        return {"State": pd.DataFrame(lines), "Latest": table[[c for c in _SHOWN if c in table]]}


@dataclass(frozen=True, repr=False)
class Why(Result):
    """The chain of evidence behind a version."""

    outcome: Chain

    @property
    def sentence(self) -> str:
        """The version, and whether it is champion."""
        role = ", the champion" if self.outcome.champion else ""
        return f"Version {self.outcome.version} of {self.outcome.pipeline}{role}."

    @property
    def steps(self) -> pd.DataFrame:
        """One row per step, in the order of time."""
        return pd.DataFrame(self.to_dict()["steps"])

    def _tables(self) -> Mapping[str, pd.DataFrame]:
        table = self.steps
        return {"Steps": table[[c for c in _SHOWN if c in table]]}


@dataclass(frozen=True, repr=False)
class WhyRow(Result):
    """A version's prediction of one row, and each column's contribution."""

    outcome: RowExplanation

    @property
    def sentence(self) -> str:
        """The prediction, and the scale of the pushes."""
        return f"{row_sentence(self.outcome)} {scale_sentence(self.outcome)}"

    @property
    def pushes(self) -> pd.DataFrame:
        """One row per column, the greatest contribution first."""
        return pd.DataFrame(self.to_dict()["pushes"])

    def _tables(self) -> Mapping[str, pd.DataFrame]:
        return {"Pushes": self.pushes}


@dataclass(frozen=True, repr=False)
class DataContract(Result):
    """Rules that must hold of the rows."""

    outcome: Contract
    path: str  # the contract's file

    def to_dict(self) -> dict[str, Any]:
        """Return the contract as plain values."""
        return self.outcome.model_dump(mode="json", exclude_none=True)

    @property
    def sentence(self) -> str:
        """The number of columns, and where the contract is stored."""
        known = self.outcome
        return f"{len(known.columns)} columns, {len(known.rules)} rules over several: {self.path}"

    @property
    def columns(self) -> pd.DataFrame:
        """One row per column, with its rules."""
        known = self.outcome.columns
        return pd.DataFrame([{"column": name, **_stated(rule)} for name, rule in known.items()])

    def _tables(self) -> Mapping[str, pd.DataFrame]:
        return {"Columns": self.columns}


def _stated(rule: Any) -> dict[str, Any]:
    return dict(rule.model_dump(mode="json", exclude_none=True, exclude_defaults=True))


def _displayed(figure: Figure) -> Figure:
    """Let a notebook show a figure, though pyplot, which would see to that, is not imported."""

    def png() -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
        return buffer.getvalue()

    setattr(figure, "_repr_png_", png)  # noqa: B010 - matplotlib's figures declare no such method
    return figure


def _html(table: pd.DataFrame) -> str:
    """Return a table for people: text to the left, numbers with digits enough to compare."""
    shown = table.map(_shown).to_html(index=False, border=0, max_rows=_SHOWN_ROWS, justify="left")
    if len(table.select_dtypes("number").columns):
        return shown
    return re.sub("<(th|td)>", r'<\1 style="text-align: left">', shown)


def _shown(value: Any) -> str:
    """Return a cell as text.

    Examples
    --------
    >>> _shown({"max": 0.05, "values": ["a", "b"]}), _shown(0.847888), _shown(None)
    ('max 0.05, values a, b', '0.8479', '–')
    >>> _shown("2026-11-30T04:09:51.133576Z"), _shown(float("nan")), _shown(3)
    ('2026-11-30 04:09', '–', '3')
    """
    if isinstance(value, dict):
        pairs = (
            (name, f"{v:g}" if isinstance(v, float) else _shown(v)) for name, v in value.items()
        )
        return ", ".join(f"{name} {text}" for name, text in pairs)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    if isinstance(value, float):
        return number(None if math.isnan(value) else value)
    if isinstance(value, str) and _MOMENT.match(value):
        return value[:16].replace("T", " ")
    return "–" if value is None else str(value)
