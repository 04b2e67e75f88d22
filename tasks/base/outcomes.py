"""What commands answer: records that the terminal, ``--json`` and ``status`` show."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from tasks.base.records import LeaderboardRow, MetricValue, ModelVersion, Record, Task, Verdict

_ANSWERED = {"candidate", "status", "cv_mean", "cv_std", "holdout", "fit_seconds"}


class TrainingOutcome(Record):
    """What one training did: all that the terminal, `--json` and `status` show.

    Attributes
    ----------
    key
        Digest of data, contract, configuration and version; the same key is not trained twice.
    reused
        Stages whose earlier result was used again.
    unchanged
        Whether the whole training was done before, so that nothing was.
    """

    key: str
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
    prefect_run_id: str | None = None
    report: str = ""
    contract_page: str = ""
    contract_warnings: int = 0
    assumptions: tuple[str, ...] = ()
    reused: tuple[str, ...] = ()
    unchanged: bool = False
    data_digest: str = ""
    finished: datetime
    seconds: float = 0.0
    next_command: str = ""

    def answer(self) -> dict[str, object]:
        """Return what `keepfit run --json` prints."""
        verdict = self.verdict
        return {
            "pipeline": self.pipeline,
            "task": self.task,
            "metric": self.metric,
            "rows": {"train": self.rows_train, "holdout": self.rows_holdout},
            "leaderboard": [
                row.model_dump(mode="json", include=_ANSWERED) for row in self.leaderboard
            ],
            "challenger": self.challenger,
            "metrics": {k: v.value for k, v in self.metrics.items() if v.value is not None},
            "intervals": {k: [v.low, v.high] for k, v in self.metrics.items() if v.low is not None},
            "verdict": {
                "promoted": verdict.promoted,
                "reason": verdict.reason,
                "sentence": verdict.sentence,
                "difference": verdict.difference,
                "interval": list(verdict.interval) if verdict.interval else None,
            },
            "model": (
                {"name": self.model.name, "version": self.model.version} if self.model else None
            ),
            "champion": self.champion_version,
            "mlflow_run_id": self.mlflow_run_id,
            "mlflow_uri": self.mlflow_uri,
            "prefect_flow_run_id": self.prefect_run_id,
            "report": self.report,
            "contract": {"page": self.contract_page, "warnings": self.contract_warnings},
            "assumptions": list(self.assumptions),
            "reused": list(self.reused),
            "unchanged": self.unchanged,
            "data_digest": self.data_digest,
            "seconds": round(self.seconds, 3),
            "next": self.next_command,
        }


class ScoringOutcome(Record):
    """What one scoring did."""

    pipeline: str
    rows: int
    version: str
    run_id: str
    output: str
    batch: str
    start: datetime | None = None
    end: datetime | None = None
    unseen: dict[str, int] = Field({})
    contract_warnings: int = 0
    contract_page: str = ""
    seconds: float = 0.0

    def answer(self) -> dict[str, object]:
        """Return what `keepfit score --json` prints."""
        return self.model_dump(mode="json")


class DraftedColumn(Record):
    """A column as `init` saw it."""

    name: str
    kind: str
    role: str


class Draft(Record):
    """What `keepfit init` wrote."""

    folder: str
    file: str
    contract: str
    name: str
    task: Task
    rows: int
    columns: tuple[DraftedColumn, ...]
    assumptions: tuple[str, ...]
    next_command: str


class WrittenContract(Record):
    """A contract file that was inferred and written."""

    file: str
    columns: int
    rows: int
    assumptions: tuple[str, ...] = ()


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
