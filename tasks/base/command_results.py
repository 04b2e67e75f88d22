"""Results of commands: records that the terminal, ``--json`` and ``status`` show."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tasks.base.monitoring_records import (
    Cause,
    DriftResult,
    Gain,
    Performance,
    PolicyDecision,
    Window,
)
from tasks.base.servers.mlflow_pages import MlflowPages
from tasks.base.source_notes import FileAside, ReadingNote
from tasks.base.training_records import (
    LeaderboardRow,
    MetricValue,
    ModelVersion,
    Record,
    SetAside,
    Severity,
    Task,
    TrainingMode,
    Verdict,
)

ScoringScope = Literal["new", "all", "file"]  # the source's rows, or those of a file


def _line_of_old(line: Any) -> Any:
    """Return a line of a diagnosis; former outcomes hold it as one text."""
    return line.partition(": ")[::2] if isinstance(line, str) else line


_ANSWERED: Any = {
    "leaderboard": {"__all__": {
        "candidate", "status", "cv_mean", "cv_std", "holdout", "holdout_low", "holdout_high",
        "fit_seconds",
    }},
    "verdict": {
        "promoted", "reason", "sentence", "difference", "interval", "margin", "skipped",
    },
    **dict.fromkeys((
        "pipeline", "task", "metric", "challenger", "mlflow_run_id", "mlflow_uri", "mlflow_pages",
        "report", "assumptions", "findings", "reused", "unchanged", "data_digest",
    ), True),
}  # fmt: skip
"""Fields of a training that ``--json`` shows as they are."""


class TrainingOutcome(Record):
    """Result of one training: everything that the terminal, `--json` and `status` show."""

    key: str  # of data, contract, configuration and version; one key is trained once
    pipeline: str
    task: Task
    metric: str
    rows_train: int
    rows_holdout: int
    leaderboard: tuple[LeaderboardRow, ...]
    challenger: str
    metrics: dict[str, MetricValue]
    verdict: Verdict
    model: ModelVersion | None
    champion_version: str | None
    mlflow_run_id: str
    mlflow_uri: str
    mlflow_experiment: str = ""
    candidate_runs: tuple[str, ...] = ()  # MLflow's of the candidates, in the leaderboard's order
    mlflow_pages: MlflowPages | None = None  # where they are shown; None in older outcomes
    prefect_run_id: str | None = None
    report: str = ""
    contract_page: str = ""
    contract_warnings: int = 0
    assumptions: tuple[str, ...] = ()
    findings: tuple[ReadingNote, ...] = ()  # what was found while reading the source, as values
    # What the training teaches, a sentence or two each: fit, data, weak rows, suspicions.
    diagnosis: tuple[Annotated[tuple[str, str], BeforeValidator(_line_of_old)], ...] = ()
    reused: tuple[str, ...] = ()  # stages whose earlier result was used again
    unchanged: bool = False  # whether the whole training was done before, so that nothing was
    data_digest: str = ""
    finished: datetime
    seconds: float = 0.0
    next_command: str = ""
    mode: TrainingMode = TrainingMode()  # whether it searched or refitted the champion

    def answer(self) -> dict[str, object]:
        """Return the result for `keepfit run --json`."""
        stated = self.model_dump(mode="json", include=_ANSWERED)
        return {
            **stated,
            "training": self.mode.kind,
            "training_reason": self.mode.reason,
            "recipe_of": self.mode.recipe_of,
            "refit_obstacle": self.mode.obstacle or None,
            "rows": {"train": self.rows_train, "holdout": self.rows_holdout},
            "metrics": {k: v.value for k, v in self.metrics.items() if v.value is not None},
            "intervals": {k: [v.low, v.high] for k, v in self.metrics.items() if v.low is not None},
            "verdict": {**stated["verdict"], "complete": self.verdict.complete},
            "model": (
                {"name": self.model.name, "version": self.model.version} if self.model else None
            ),
            "champion": self.champion_version,
            "prefect_flow_run_id": self.prefect_run_id,
            "contract": {"page": self.contract_page, "warnings": self.contract_warnings},
            "diagnosis": [f"{word}: {sentence}" for word, sentence in self.diagnosis],
            "seconds": round(self.seconds, 3),
            "next": self.next_command,
        }


class ScoringOutcome(Record):
    """Result of one scoring."""

    pipeline: str
    rows: int  # rows that were read and scored, known ones among them
    scope: ScoringScope = "all"  # what was read; of what is new, only rows never scored count
    written: int | None = None  # rows in the output; of a ranking with `scoring.top_k` fewer
    version: str
    run_id: str
    output: str
    batch: str
    start: datetime | None = None
    end: datetime | None = None
    unseen: dict[str, int] = Field({})
    contract_warnings: int = 0
    contract_page: str = ""
    ledger_new: int = 0  # the ledger had no prediction of; `ledger_known`: earlier kept
    ledger_known: int = 0
    quarantined: SetAside | None = None  # rows that broke their contract and were not scored
    findings: tuple[ReadingNote, ...] = ()
    seconds: float = 0.0

    def answer(self) -> dict[str, object]:
        """Return the result for `keepfit score --json`; `rows` are the selected ones."""
        return {**self.model_dump(mode="json"), "rows": self.scored, "read": self.rows}

    @property
    def aside(self) -> tuple[FileAside, ...]:
        """Files that were left aside while they are being written."""
        files = (note for note in self.findings if isinstance(note, FileAside))
        return tuple(note for note in files if note.reason != "copy")

    @property
    def scored(self) -> int:
        """Rows that the scoring was for: the new ones where these were wanted, else all."""
        return self.ledger_new if self.scope == "new" else self.rows


class SeenWindow(Record):
    """A pass's findings on one window, in short."""

    window: Window | None
    version: str
    rows: int
    alarm: bool
    stopped: bool = False  # its rows broke their contract, and nothing was measured
    enough: bool = False  # whether it had rows enough for a judgement
    score: float | None = None  # score, limit: the family's statistic of drift, and its limit
    limit: float | None = None
    drifted: tuple[str, ...] = ()
    performance: Performance | None = None  # as this pass stated it; a later one may restate it
    sentence: str = ""
    report: str = ""

    def answer(self) -> dict[str, object]:
        """Return its part of what `keepfit monitor --json` prints."""
        window = self.window
        ends = {
            "start": window.start.isoformat() if window else None,
            "end": window.end.isoformat() if window else None,
        }
        return {**ends, **self.model_dump(mode="json", exclude={"window"})}


_SHOWN = {
    "pipeline", "version", "alarm", "reasons", "sentence", "gain", "waiting", "empty", "decision",
    "moved", "findings", "correlation", "report", "evidently", "mlflow_run_id",
}  # fmt: skip
"""Fields of a pass that ``--json`` shows as they are."""


class MonitoringOutcome(Record):
    """Result of one monitoring pass: its newest window in full, and all in short."""

    pipeline: str
    version: str
    window: Window | None
    rows: int
    alarm: bool
    reasons: tuple[str, ...] = ()
    sentence: str = ""
    drift: DriftResult | None = None
    # Of this window, and of earlier ones whose labels have matured since.
    performance: tuple[Performance, ...] = ()
    gain: Gain | None = None  # what retraining would bring; None where nothing new is known of it
    decision: PolicyDecision  # what the policy made of it
    stopped: bool = False  # the rows of this window broke their contract
    windows: tuple[SeenWindow, ...] = ()  # all windows of the pass, oldest first, this one the last
    waiting: int = 0  # waiting, empty: windows for the next pass, and those without rows
    empty: int = 0
    alarmed: bool = False  # whether the pass found something that no earlier alarm reported
    cause: Cause | None = None  # of the training that is requested; None without a call
    moved: str = ""  # sentence about an alias that moved, or a probation that ended
    correlation: str
    event: str = ""  # id of the Prefect event that was emitted; empty without an alarm
    contract_warnings: int = 0
    findings: tuple[ReadingNote, ...] = ()
    report: str = ""
    evidently: str = ""
    mlflow_run_id: str = ""
    prefect_run_id: str | None = None
    seconds: float = 0.0
    next_command: str = ""

    @property
    def latest(self) -> Performance | None:
        """The performance on this pass's own window."""
        return next((p for p in self.performance if p.window == self.window), None)

    def answer(self) -> dict[str, object]:
        """Return the result for `keepfit monitor --json`."""
        window, latest = self.window, self.latest
        return {
            **self.model_dump(mode="json", include=_SHOWN),
            "window": {
                "start": window.start.isoformat() if window else None,
                "end": window.end.isoformat() if window else None,
                "rows": self.rows,
            },
            "enough": self.drift.enough if self.drift else False,
            "columns": [
                c.model_dump(mode="json") for c in (self.drift.columns if self.drift else ())
            ],
            "performance": {
                "metric": latest.metric if latest else None,
                "estimated": _plain_value(latest.estimated if latest else None),
                "realised": _plain_value(latest.realised if latest else None),
                "reference": _plain_value(latest.reference if latest else None),
                "labelled": latest.labelled if latest else 0,
            },
            "windows": [one.answer() for one in self.windows],
            "matured": [
                p.model_dump(mode="json") for p in self.performance if p.window != self.window
            ],
            "prefect_flow_run_id": self.prefect_run_id,
            "seconds": round(self.seconds, 3),
            "next": self.next_command,
        }


def _plain_value(value: MetricValue | None) -> dict[str, float | None] | None:
    return None if value is None else value.model_dump()


class DraftedColumn(Record):
    """A column as `init` saw it."""

    name: str
    kind: str
    role: str


class Draft(Record):
    """Result of `keepfit init`."""

    folder: str
    file: str
    contract: str
    name: str
    task: Task
    rows: int
    columns: tuple[DraftedColumn, ...]
    assumptions: tuple[str, ...]
    findings: tuple[ReadingNote, ...] = ()
    next_command: str


class WrittenContract(Record):
    """A contract file that was inferred and written."""

    file: str
    columns: int
    rows: int
    assumptions: tuple[str, ...] = ()


class RuleDifference(Record):
    """A contract rule that rows violate, and the edit that would accept them."""

    rule: str
    severity: Severity
    limit: str  # limit, observed, proposed: in words; a person decides where nothing is proposed
    observed: str
    proposed: str = ""


class ContractDiff(Record):
    """Differences of rows from the contract."""

    pipeline: str
    file: str  # of the contract
    rows: int
    rules: int
    differences: tuple[RuleDifference, ...]
    accepted: tuple[str, ...] = ()  # rules that were changed in the file
    page: str = ""
    next_command: str = ""  # which accepts all proposed changes, or the next step after that


class PipelineStatus(Record):
    """The champion of a pipeline and its last trainings, newest first."""

    pipeline: str
    champion: ModelVersion | None
    champion_age_days: float | None
    score: float | None = None
    metric: str | None = None
    trainings: tuple[TrainingOutcome, ...] = ()
    mlflow_uri: str = ""
    state: str = ""
    state_bytes: int = 0
    next_command: str = ""
