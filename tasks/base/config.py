"""The pipeline file as frozen, strict values."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from tasks.base.durations import Duration
from tasks.base.records import Kind, Task

ClassificationMetric = Literal[
    "roc_auc", "average_precision", "accuracy", "balanced_accuracy", "precision", "recall", "f1",
    "f1_macro", "log_loss", "brier",
]  # fmt: skip
RegressionMetric = Literal["rmse", "mae", "mse", "median_ae", "r2", "mape"]
Metric = Literal[ClassificationMetric, RegressionMetric]
CLASSIFICATION_METRICS: tuple[str, ...] = get_args(ClassificationMetric)
REGRESSION_METRICS: tuple[str, ...] = get_args(RegressionMetric)
CandidateName = Literal[
    "logistic_regression", "decision_tree", "random_forest", "svm", "mlp", "lightgbm"
]

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Column = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int | float) else v)]


class Section(BaseModel):
    """A frozen part of the file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, hide_input_in_errors=True)


class CsvSource(Section):
    """CSV files; what is absent is detected and said."""

    kind: Literal["csv"]
    path: str = Field(min_length=1, description="file or glob, relative to the pipeline file")
    encoding: str | None = Field(None, description="e.g. utf-8, latin-1; absent: detected")
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    decimal: Literal[".", ","] | None = None
    thousands: Literal[".", ",", " ", "'"] | None = None
    null_values: tuple[str, ...] | None = Field(None, description="texts that mean: no value")
    date_formats: dict[str, str] = Field({}, description="column to strptime format")
    max_bytes: int = Field(20_000_000_000, gt=0, description="larger files are refused")


class ParquetSource(Section):
    """Parquet: one file, a glob, or a folder with Hive partitions."""

    kind: Literal["parquet"]
    path: str = Field(min_length=1)
    max_bytes: int = Field(50_000_000_000, gt=0)


class SqlSource(Section):
    """A query on any database that SQLAlchemy reaches."""

    kind: Literal["sql"]
    url: SecretStr = Field(description="SQLAlchemy URL; a secret in it comes from ${ENV}")
    query: str | None = Field(None, description="may bind :start and :end of the window")
    table: str | None = None
    max_rows: int = Field(100_000_000, gt=0)

    @model_validator(mode="after")
    def _one_of_two(self) -> SqlSource:
        if (self.query is None) == (self.table is None):
            raise ValueError("give either `query` or `table`, not both and not neither")
        return self


class DemoSource(Section):
    """Real data that ships in a package."""

    kind: Literal["demo"]
    name: Literal["flights", "digits", "diabetes", "breast_cancer"]
    months: tuple[int, int] | None = Field(
        None, description="flights only: first and last month, both included"
    )


Source = Annotated[CsvSource | ParquetSource | SqlSource | DemoSource, Field(discriminator="kind")]


class SplitConfig(Section):
    """How the holdout is set aside."""

    holdout: float = Field(0.2, gt=0.0, lt=1.0, description="share of rows, a fraction")


class TrainingConfig(Section):
    """What is fitted, on which rows, for how long."""

    window: Duration | None = Field(None, description="newest rows to train on; absent: all")
    budget: Duration = Field("120s", validate_default=True, description="for all candidates")
    cv: int = Field(5, ge=0, le=20, description="folds; 0 or 1: one validation part")
    cv_rows: int = Field(30_000, ge=100, description="folds are made of at most so many rows")
    refit: bool | None = Field(None, description="absent: yes where rows have a time")
    candidates: tuple[CandidateName, ...] = Field(get_args(CandidateName), min_length=1)
    seed: int = Field(0, ge=0, lt=2**31)
    threads: int | None = Field(None, ge=1, description="absent: every core")
    class_weight: Literal["balanced"] | None = None

    @model_validator(mode="after")
    def _named_once(self) -> TrainingConfig:
        if len(set(self.candidates)) < len(self.candidates):
            raise ValueError("a candidate is named twice")
        return self


class GateConfig(Section):
    """By which rule a challenger becomes champion."""

    rule: Literal["superior", "non_inferior"] = "superior"
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    min_gain: float = Field(0.0, ge=0.0, description="in units of the metric")
    margin: float = Field(0.0, ge=0.0, description="non_inferior: how much worse is accepted")
    replicates: int = Field(1000, ge=200, le=10_000, description="bootstrap replicates")
    max_latency_ms_per_1k: float | None = Field(None, gt=0)
    max_size_mb: float | None = Field(None, gt=0)
    slices: tuple[Column, ...] = Field(
        (), description="columns on whose levels a challenger may not be significantly worse"
    )


class ParquetSink(Section):
    """One Parquet file."""

    kind: Literal["parquet"]
    path: str = Field(min_length=1)


class CsvSink(Section):
    """One CSV file; cells that a spreadsheet would run are quoted."""

    kind: Literal["csv"]
    path: str = Field(min_length=1)


class SqlSink(Section):
    """A table of predictions; a batch is written whole or not at all."""

    kind: Literal["sql"]
    url: SecretStr
    table: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")


Sink = Annotated[ParquetSink | CsvSink | SqlSink, Field(discriminator="kind")]


class ScoringConfig(Section):
    """Where new rows come from and where predictions go."""

    source: Source | None = Field(None, description="absent: the pipeline's source")
    sink: Sink | None = Field(None, description="absent: a Parquet file in the state folder")


class MonitoringConfig(Section):
    """How incoming windows are watched."""

    window: Duration = Field("7d", validate_default=True)
    reference: Literal["training"] = "training"
    false_alarms: float = Field(0.05, gt=0.0, lt=1.0)
    label_delay: Duration | None = None


class PolicyConfig(Section):
    """What leads to retraining."""

    retrain_on: tuple[Literal["schedule", "drift", "performance"], ...] = ("schedule", "drift")
    persistence: str = Field("2 of 3", pattern=r"^[1-9]\d* of [1-9]\d*$")
    cooldown: Duration = Field("7d", validate_default=True)


class SchedulesConfig(Section):
    """Cron expressions."""

    training: str | None = None
    scoring: str | None = None
    monitoring: str | None = None
    timezone: str = "UTC"


class EngineConfig(Section):
    """What runs the candidates side by side."""

    kind: Literal["threads"] = "threads"


class PipelineConfig(Section):
    """One pipeline: one model that is trained, scored and monitored."""

    name: Name
    target: Column = Field(min_length=1)
    source: Source
    task: Task | None = Field(None, description="absent: inferred from the target")
    positive: str | bool | int | float | None = Field(
        None, description="label scored in a binary task"
    )
    time_column: Column | None = None
    id_columns: tuple[Column, ...] = ()
    exclude: tuple[Column, ...] = Field((), description="known leaks, never features")
    kinds: dict[str, Kind] = Field({}, description="column to kind, where inference is wrong")
    contract: str | None = None
    split: SplitConfig = SplitConfig()
    training: TrainingConfig = TrainingConfig()
    metric: Metric | None = Field(None, description="selects the challenger; the gate compares it")
    gate: GateConfig = GateConfig()
    scoring: ScoringConfig = ScoringConfig()
    monitoring: MonitoringConfig | None = None
    policy: PolicyConfig | None = None
    schedules: SchedulesConfig | None = None
    alerts: tuple[SecretStr, ...] = ()
    engine: EngineConfig = EngineConfig()
    state: str = Field(".keepfit", min_length=1)

    @model_validator(mode="after")
    def _no_contradictions(self) -> PipelineConfig:
        for role, columns in (
            ("time_column", (self.time_column,)),
            ("id_columns", self.id_columns),
            ("exclude", self.exclude),
        ):
            if self.target in columns:
                raise _contradiction(role, f"the target {self.target!r} stands in `{role}` too")
        if self.time_column is not None and self.time_column in self.exclude:
            raise _contradiction(
                "exclude", f"the time column {self.time_column!r} stands in `exclude` too"
            )
        if self.time_column is None and self.training.window is not None:
            raise _contradiction("training", "`training.window` needs a `time_column`")
        if self.time_column is None and self.training.refit:
            raise _contradiction(
                "training",
                "`training.refit: true` needs a `time_column`: without one nothing tells which "
                "rows are new to a refitted model",
            )
        self._metric_suits_task()
        return self

    def _metric_suits_task(self) -> None:
        if self.metric is None or self.task is None:
            return
        fits = REGRESSION_METRICS if self.task == "regression" else CLASSIFICATION_METRICS
        if self.metric not in fits:
            raise _contradiction(
                "metric",
                f"the metric {self.metric} is not one for {self.task}. One of: {', '.join(fits)}",
            )


def _contradiction(key: str, message: str) -> PydanticCustomError:
    """Return an error about the whole file that points at the line of `key`."""
    return PydanticCustomError("contradiction", "{text}", {"text": message, "at": key})


def default_metric(task: Task) -> str:
    """Return the metric that selects when the file names none.

    Examples
    --------
    >>> default_metric("regression")
    'rmse'
    """
    return {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}[task]


def greater_is_better(metric: str) -> bool:
    """Return whether a larger value of `metric` is the better one.

    Examples
    --------
    >>> greater_is_better("rmse")
    False
    """
    losses = {"rmse", "mae", "mse", "median_ae", "mape", "log_loss", "brier", "calibration_error"}
    return metric not in losses


def plain(section: Section) -> dict[str, Any]:
    """Return `section` as plain values; secrets stay hidden."""
    return section.model_dump(mode="json", exclude_defaults=True)
