"""The pipeline file as frozen, strict values."""

from __future__ import annotations

from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    SecretStr,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from tasks.base.own_code import SMALLER_IS_BETTER, HooksConfig, OwnName
from tasks.base.records import Kind, Task
from tasks.base.runtime.libraries import croniter
from tasks.base.settings import search_spaces
from tasks.base.settings.database_addresses import EXAMPLE, fault_of
from tasks.base.settings.object_addresses import object_fault
from tasks.base.settings.ranking_rules import contradiction
from tasks.base.text.durations import Delay, Duration

ClassificationMetric = Literal[
    "roc_auc", "average_precision", "accuracy", "balanced_accuracy", "precision", "recall", "f1",
    "f1_macro", "log_loss", "brier",
]  # fmt: skip
RegressionMetric = Literal["rmse", "mae", "mse", "median_ae", "r2", "mape"]
RankingMetric = Literal["ndcg_at_10", "map_at_10"]
Metric = Literal[ClassificationMetric, RegressionMetric, RankingMetric]
CLASSIFICATION_METRICS: tuple[str, ...] = get_args(ClassificationMetric)
REGRESSION_METRICS: tuple[str, ...] = get_args(RegressionMetric)
RANKING_METRICS: tuple[str, ...] = get_args(RankingMetric)
CandidateName = Literal[
    "logistic_regression", "decision_tree", "random_forest", "svm", "mlp", "lightgbm"
]

DemoName = Literal[
    "flights", "digits", "diabetes", "breast_cancer", "credit", "parkinsons", "movielens"
]  # fmt: skip
DEMO_NAMES: tuple[str, ...] = get_args(DemoName)

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Column = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int | float) else v)]


def _database_url(value: SecretStr) -> SecretStr:
    """Refuse what is no database URL; the message never shows it."""
    fault = fault_of(value.get_secret_value())
    if fault:
        raise _contradiction((), f"the database URL cannot be used: {fault}. {EXAMPLE}")
    return value


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]


def _place(path: str) -> str:
    """Refuse the address of an object that cannot be used; the message never shows it."""
    fault = object_fault(path)
    if fault:
        raise _contradiction((), f"the address cannot be used: {fault}")
    return path


FilesPath = Annotated[str, Field(min_length=1), AfterValidator(_place)]


def _label(value: Any) -> Any:
    """Return a label as text, as labels of a table are read: true is True, 1 and 1.0 stay apart."""
    return str(value) if isinstance(value, bool | int | float) else value


def _one_or_many(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Label = Annotated[str, BeforeValidator(_label)]
Spellings = Annotated[tuple[Label, ...], BeforeValidator(_one_or_many)]


class Section(BaseModel):
    """A frozen part of the file; unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, hide_input_in_errors=True, allow_inf_nan=False
    )


class FilesSource(Section):
    """A source of files; some of them may be chosen, as when others are still being written."""

    _chosen: tuple[Path, ...] | None = PrivateAttr(None)
    _copies: Path | None = PrivateAttr(None)

    @property
    def copies(self) -> Path | None:
        """The folder for copies of objects from a store; None where none was stated."""
        return self._copies

    def keep_copies_in(self, state: Path) -> Self:
        """Let copies of objects from a store be kept in a state folder."""
        self._copies = state / "objects"
        return self

    @property
    def chosen(self) -> tuple[Path, ...] | None:
        """The files to read; None where `path` says which."""
        return self._chosen

    def only(self, files: tuple[Path, ...]) -> Self:
        """Return the source with these files only."""
        narrowed = self.model_copy()
        narrowed._chosen = files
        return narrowed


class CsvSource(FilesSource):
    """CSV files; what is absent is detected and said."""

    kind: Literal["csv"]
    path: FilesPath = Field(
        description="file or glob, relative to the pipeline file; or s3://, gs://, abfs://"
    )
    encoding: str | None = Field(None, description="e.g. utf-8, latin-1; absent: detected")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="one character; absent: detected"
    )
    skip_rows: int | None = Field(
        None, ge=0, le=1000, description="lines above the header; absent: detected in each file"
    )
    decimal: Literal[".", ","] | None = Field(None, description="absent: detected")
    thousands: Literal[".", ",", " ", "'"] | None = Field(
        None, description="separates thousands; absent: detected"
    )
    null_values: tuple[str, ...] | None = Field(None, description="texts that mean: no value")
    date_formats: dict[str, str] = Field({}, description="column to strptime format")
    max_bytes: int = Field(20_000_000_000, gt=0, description="larger files are refused")


class ParquetSource(FilesSource):
    """Parquet: one file, a glob, or a folder with Hive partitions."""

    kind: Literal["parquet"]
    path: FilesPath
    max_bytes: int = Field(50_000_000_000, gt=0)


class SqlSource(Section):
    """A query on any database that SQLAlchemy reaches."""

    kind: Literal["sql"]
    url: DatabaseUrl = Field(description="SQLAlchemy URL; a secret in it comes from ${ENV}")
    query: str | None = Field(None, description="may bind :start and :end of the window")
    table: str | None = Field(None, description="instead of a query")
    max_rows: int = Field(100_000_000, gt=0, description="more are refused")

    @model_validator(mode="after")
    def _one_of_two(self) -> SqlSource:
        if (self.query is None) == (self.table is None):
            raise ValueError("give either `query` or `table`, not both and not neither")
        return self


class DemoSource(Section):
    """Real data that ships in a package."""

    kind: Literal["demo"]
    name: DemoName
    months: tuple[int, int] | None = Field(
        None, description="flights only: first and last month, both included"
    )


Source = Annotated[CsvSource | ParquetSource | SqlSource | DemoSource, Field(discriminator="kind")]


class SplitConfig(Section):
    """How the holdout is set aside."""

    holdout: float = Field(0.2, gt=0.0, lt=1.0, description="share of rows, a fraction")
    group: Column | None = Field(
        None, description="column whose rows belong together, such as a customer; never a feature"
    )


class TuningConfig(Section):
    """How hyperparameters are searched; `true` means the defaults."""

    trials: int = Field(
        30, ge=2, le=1000, description="for each candidate; the first is the untuned one"
    )
    share: float = Field(
        0.8, gt=0.0, lt=1.0, description="of training.budget, after which no trial goes on"
    )


class SpaceConfig(Section):
    """Where one hyperparameter is searched: between two ends, or among choices."""

    low: int | float | None = Field(None, description="least value, together with high")
    high: int | float | None = Field(None, description="greatest value, itself included")
    log: bool = Field(False, description="drawn evenly in its logarithm")
    choices: tuple[str | int | float, ...] = Field((), description="instead of low and high")

    @model_validator(mode="after")
    def _either(self) -> SpaceConfig:
        if self.choices:
            if (self.low, self.high, self.log) != (None, None, False):
                raise ValueError("give either `choices` or `low` and `high`")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give `low` and `high`, or `choices`")
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise ValueError(f"`low` has to lie below `high`; got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"`log: true` needs a `low` above 0; got {self.low:g}")
        return self


def _tuning(value: Any) -> Any:
    """Let `true` mean the defaults, and `false` what leaving it out means."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


def _known_spaces(
    given: dict[str, dict[str, SpaceConfig]],
) -> dict[str, dict[str, SpaceConfig]]:
    """Refuse hyperparameters that keepfit's own candidates do not have, each at its line."""
    findings: list[InitErrorDetails] = []
    for candidate, spaces in given.items():
        if candidate not in get_args(CandidateName):
            continue  # a person's own, or nobody's: told once the hooks are known
        for name, space in spaces.items():
            fault = search_spaces.fault_of(candidate, name, space.low, space.high, space.choices)
            if fault:
                findings.append(_finding_at((candidate,), name, fault))
    if findings:
        raise ValidationError.from_exception_data("spaces", findings)
    return given


def _finding_at(location: tuple[str, ...], key: str | int, text: str) -> InitErrorDetails:
    error = PydanticCustomError("contradiction", "{text}", {"text": text, "at": key})
    return InitErrorDetails(type=error, loc=location, input=None)


_BUDGET = (
    "for all candidates: seconds that the machine gives the fits; by the clock at most five times "
    "as long, so that a busy hour does not choose the model"
)


class TrainingConfig(Section):
    """What is fitted, on which rows, for how long."""

    window: Duration | None = Field(None, description="newest rows to train on; absent: all")
    budget: Duration = Field("120s", validate_default=True, description=_BUDGET)
    cv: int = Field(5, ge=0, le=20, description="folds; 0 or 1: one validation part")
    cv_rows: int = Field(30_000, ge=100, description="folds are made of at most so many rows")
    refit: bool | None = Field(None, description="absent: yes where rows have a time")
    candidates: tuple[CandidateName | OwnName, ...] = Field(
        get_args(CandidateName), min_length=1, description="families that are compared"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="of everything that draws at random")
    threads: int | None = Field(None, ge=1, le=4096, description="absent: every core")
    class_weight: Literal["balanced"] | None = Field(
        None, description="balanced: rare classes weigh as much as frequent ones"
    )
    tuning: Annotated[TuningConfig | None, BeforeValidator(_tuning)] = Field(
        None, description="true, or a section: hyperparameters are searched; absent: they are not"
    )
    spaces: Annotated[dict[str, dict[str, SpaceConfig]], AfterValidator(_known_spaces)] = Field(
        {}, description="candidate to hyperparameter to where it is searched instead"
    )
    diagnosis: Literal["quick", "full"] = Field(
        "quick", description="full: also a learning curve, which costs fits"
    )
    calibrate: Literal["auto", "none", "sigmoid", "isotonic"] = Field(
        "none", description="probabilities of classes; auto: where it lowers the log loss"
    )
    ensemble: bool = Field(
        False, description="a weighted mean of the candidates competes where it is better"
    )

    @model_validator(mode="after")
    def _named_once(self) -> TrainingConfig:
        if len(set(self.candidates)) < len(self.candidates):
            raise ValueError("a candidate is named twice")
        if self.tuning is not None and self.cv < 3:
            raise _contradiction(
                "tuning",
                "`training.tuning` needs `training.cv` of at least 3: with fewer folds a gain "
                f"cannot be told from noise; got {self.cv}",
            )
        return self


class ObjectiveConfig(Section):
    """What a decision of a classifier costs, or must reach."""

    cost: dict[str, float | dict[str, float]] | None = Field(
        None,
        description="false_positive and false_negative; or true class to predicted class to cost",
    )
    min_precision: float | None = Field(
        None, gt=0.0, le=1.0, description="the most recall with at least this precision, a fraction"
    )
    min_recall: float | None = Field(
        None, gt=0.0, le=1.0, description="the most precision with at least this recall, a fraction"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> ObjectiveConfig:
        given = [self.cost, self.min_precision, self.min_recall]
        if sum(value is not None for value in given) != 1:
            raise ValueError("give one of `cost`, `min_precision` and `min_recall`")
        if self.cost is not None:
            _check_costs(self.cost)
        return self


def _check_costs(cost: dict[str, float | dict[str, float]]) -> None:
    """Refuse costs that are none: negative, not finite, or of half a matrix."""
    nested = [row for row in cost.values() if isinstance(row, dict)]
    values = [v for row in nested for v in row.values()]
    values += [v for v in cost.values() if not isinstance(v, dict)]
    if any(not isfinite(v) or v < 0 for v in values):
        raise ValueError("a cost is a finite number from 0 on")
    if values and not any(values):
        raise ValueError("some decision must cost more than 0")
    if nested and len(nested) < len(cost):
        raise ValueError("a cost is a number for each kind of error, or a mapping for each class")
    if not nested and set(cost) != {"false_positive", "false_negative"}:
        raise ValueError("a cost needs `false_positive` and `false_negative`")


def _form(value: Any) -> str:
    return "word" if isinstance(value, str) else "section"


Objective = Annotated[
    Annotated[Literal["f1"], Tag("word")] | Annotated[ObjectiveConfig, Tag("section")],
    Discriminator(_form),
]


class GateConfig(Section):
    """By which rule a challenger becomes champion."""

    rule: Literal["superior", "non_inferior"] = Field(
        "superior", description="shown to be better, or shown to be not worse by more than margin"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="of the gain's interval")
    min_gain: float = Field(0.0, ge=0.0, description="in units of the metric")
    margin: float = Field(0.0, ge=0.0, description="non_inferior: how much worse is accepted")
    refit_margin: float | None = Field(
        None,
        ge=0.0,
        description="how much worse a refit may be, in units of the metric; absent: a share of "
        "what the champion is better than the trivial baseline",
    )
    replicates: int = Field(1000, ge=200, le=10_000, description="bootstrap replicates")
    max_latency_ms_per_1k: float | None = Field(
        None, gt=0, description="milliseconds a challenger may take for 1,000 rows"
    )
    max_size_mb: float | None = Field(None, gt=0, description="megabytes its model file may have")
    slices: tuple[Column, ...] = Field(
        (), description="columns on whose levels a challenger may not be significantly worse"
    )


class ParquetSink(Section):
    """One Parquet file."""

    kind: Literal["parquet"]
    path: FilesPath


class CsvSink(Section):
    """One CSV file; cells that a spreadsheet would run are quoted."""

    kind: Literal["csv"]
    path: FilesPath


class SqlSink(Section):
    """A table of predictions; a batch is written whole or not at all."""

    kind: Literal["sql"]
    url: DatabaseUrl = Field(description="SQLAlchemy URL; a secret in it comes from ${ENV}")
    table: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$", description="made where it is absent"
    )


Sink = Annotated[ParquetSink | CsvSink | SqlSink, Field(discriminator="kind")]


class ScoringConfig(Section):
    """Where new rows come from and where predictions go."""

    source: Source | None = Field(None, description="absent: the pipeline's source")
    sink: Sink | None = Field(None, description="absent: a Parquet file in the state folder")
    top_k: int | None = Field(
        None, ge=1, description="ranking: only the best so many of each group are written"
    )
    shadow: Literal["challenger"] | None = Field(
        None,
        description="serving: the newest version that is not champion answers into the ledger too; "
        "the gate judges a refused one once more, on `policy.probation` windows with labels",
    )


class ReportConfig(Section):
    """What the report breaks down, and what it may show."""

    ids: bool = Field(False, description="whether the worst rows are named by their ids")
    by: tuple[Column, ...] = Field((), description="columns by whose values metrics are told")
    sensitive: tuple[Column, ...] = Field(
        (), description="columns whose groups are compared: selection, true positives, score"
    )


class LedgerConfig(Section):
    """Where predictions, labels and decisions are kept."""

    url: DatabaseUrl | None = Field(
        None, description="SQLAlchemy URL; absent: SQLite in the state folder"
    )

    @field_validator("url")
    @classmethod
    def _holds_a_ledger(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("sqlite", "postgres")):
            raise _contradiction((), "a ledger is kept in SQLite or PostgreSQL")
        return url


class MonitoringConfig(Section):
    """How incoming windows are watched."""

    window: Duration = Field("7d", validate_default=True, description="length of one window")
    reference: Literal["training"] = Field(
        "training", description="the rows that the champion was trained on"
    )
    false_alarms: float = Field(
        0.05, gt=0.0, lt=1.0, description="share of ordinary windows that may raise an alarm"
    )
    min_rows: int = Field(200, ge=20, description="below it a window is not judged")
    catch_up: int = Field(
        12, ge=1, le=1_000, description="windows that one pass looks at, at most; others wait"
    )
    label_delay: Duration | None = Field(
        None, description="after a window's end until its labels count as known; absent: none"
    )
    labels: Source | None = Field(
        None, description="id columns and target; absent: the target column of the source"
    )
    segments: tuple[Column, ...] = Field(
        (), max_length=10, description="features by whose values drift and performance are judged"
    )
    sample_rows: int = Field(5_000, ge=100, description="rows of a side in Evidently's report")

    @property
    def fewest_judged(self) -> int:
        """Fewest newer rows that a refit, or what it would bring, is judged on: half a window.

        The other half is learnt from, so that one window that can be judged can be answered.
        """
        return self.min_rows // 2


class ContractConfig(Section):
    """Where the contract is, and what becomes of rows that break it."""

    path: str | None = Field(None, description="absent: inferred, kept in the state folder")
    on_error: Literal["quarantine", "stop"] = Field(
        "quarantine",
        description="scoring: bad rows are kept in a file and the rest is scored, or none is",
    )


ContractSetting = Annotated[
    Annotated[str, Tag("word")] | Annotated[ContractConfig, Tag("section")], Discriminator(_form)
]


class CostConfig(Section):
    """What a training and a worse prediction cost, in one currency."""

    training: float = Field(gt=0.0, description="of one training")
    unit_loss: float = Field(gt=0.0, description="of one row, by unit of the metric")


class PolicyConfig(Section):
    """What leads to retraining."""

    retrain_on: tuple[Literal["schedule", "gain", "drift", "performance"], ...] = Field(
        ("schedule", "gain", "drift", "performance"),
        description="gain: what a refreshed model would bring, measured where labels are in",
    )
    min_gain: float | None = Field(
        None,
        ge=0.0,
        description="gain: a lower end beyond it trains, in units of the metric; absent: beyond 0, "
        "where the gain is at least half of a twentieth of the metric's odds or error",
    )
    cost: CostConfig | None = Field(
        None, description="gain: trains where it saves more until the next look; absent: min_gain"
    )
    persistence: str = Field(
        "2 of 3",
        pattern=r"^[1-9]\d{0,2} of [1-9]\d{0,2}$",
        description="so many of the last windows must call for it",
    )
    cooldown: Delay = Field(
        "7d",
        validate_default=True,
        description="after a training until the next on an alarm, by the machine's clock",
    )
    min_new_rows: int = Field(0, ge=0, description="rows newer than the last training's")
    answer: Literal["refit", "search"] = Field(
        "refit", description="to an alarm: fit the champion's recipe on newer rows, or search anew"
    )
    probation: int = Field(
        3, ge=0, le=50, description="windows in which a new champion is compared with the former"
    )

    @model_validator(mode="after")
    def _possible(self) -> PolicyConfig:
        needed, of = self.persistent
        if needed > of:
            raise ValueError(f"`persistence` asks for {needed} of {of} windows")
        return self

    @property
    def persistent(self) -> tuple[int, int]:
        """Return how many of how many windows must call for a training."""
        needed, of = self.persistence.split(" of ")
        return int(needed), int(of)


def _cron(value: Any) -> Any:
    """Refuse what is no cron expression of five fields."""
    if isinstance(value, str) and (
        len(value.split()) != 5 or not croniter.croniter.is_valid(value)
    ):
        raise ValueError(
            f"{value!r} is no cron expression: minute, hour, day of month, month, day of week, "
            'such as "30 3 * * 1"'
        )
    return value


def _timezone(value: Any) -> Any:
    """Refuse what is no IANA time zone."""
    try:
        ZoneInfo(str(value))
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f"{value!r} is no time zone: write one such as UTC or Europe/Berlin"
        ) from None
    return value


Cron = Annotated[str, BeforeValidator(_cron)]


class SchedulesConfig(Section):
    """Cron expressions of five fields; a flow without one is not scheduled."""

    training: Cron | None = Field(None, description="a search among all candidates")
    refit: Cron | None = Field(
        None, description="the champion's recipe on newer rows; skipped where no label is newer"
    )
    scoring: Cron | None = Field(None, description="rows that have come since the last")
    monitoring: Cron | None = Field(None, description="windows that are complete since the last")
    timezone: Annotated[str, BeforeValidator(_timezone)] = Field(
        "UTC", description="IANA name; daylight saving is observed"
    )


class EngineConfig(Section):
    """What runs the candidates side by side."""

    kind: Literal["threads"] = "threads"


class PipelineConfig(Section):
    """One pipeline: one model that is trained, scored and monitored."""

    name: Name = Field(description="of pipeline, model and folder: a-z, 0-9, _ and -")
    description: str = Field("", max_length=2000, description="what the model is for")
    target: Column = Field(min_length=1, description="column that is predicted")
    source: Source = Field(description="where rows come from")
    task: Task | None = Field(None, description="absent: inferred from the target")
    positive: str | bool | int | float | None = Field(
        None, description="label scored in a binary task"
    )
    labels: dict[Label, Spellings] = Field(
        {}, description="label to the spellings in the data that it replaces, wherever read"
    )
    group: Column | None = Field(
        None, description="ranking: column whose rows are ranked together, a user or a query"
    )
    item: Column | None = Field(
        None,
        description="ranking: column that names what is ranked; its popularity is the baseline",
    )
    relevant: float | None = Field(
        None, description="ranking: least target that counts as relevant; absent: above the least"
    )
    time_column: Column | None = Field(
        None, description="when a row is from; absent: no order in time, and no windows"
    )
    id_columns: tuple[Column, ...] = Field(
        (), description="together they name one row; never features"
    )
    exclude: tuple[Column, ...] = Field((), description="known leaks, never features")
    kinds: dict[str, Kind] = Field({}, description="column to kind, where inference is wrong")
    contract: ContractSetting | None = Field(None, description="the contract's file, or a section")
    split: SplitConfig = SplitConfig()
    hooks: HooksConfig = HooksConfig()
    training: TrainingConfig = TrainingConfig()
    metric: Metric | str | None = Field(
        None, description="selects the challenger; the gate compares it; or one of hooks.metrics"
    )
    objective: Objective | None = Field(
        None, description="f1 or a section; by it the classes are told apart; absent: the likeliest"
    )
    gate: GateConfig = GateConfig()
    scoring: ScoringConfig = ScoringConfig()
    report: ReportConfig = ReportConfig()
    ledger: LedgerConfig = LedgerConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    policy: PolicyConfig = PolicyConfig()
    schedules: SchedulesConfig = SchedulesConfig()
    alerts: tuple[SecretStr, ...] = Field((), description="Apprise URLs, from ${ENV}")
    retention: Duration = Field(
        "90d",
        validate_default=True,
        description="flow runs, model versions, reports and fits older are removed",
    )
    engine: EngineConfig = EngineConfig()
    state: str = Field(
        ".keepfit", min_length=1, description="folder of all that is kept, beside this file"
    )

    @field_validator("labels")
    @classmethod
    def _spelled_once(cls, labels: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        findings: list[InitErrorDetails] = []
        owner: dict[str, str] = {}
        for name, spellings in labels.items():
            for place, spelling in enumerate(spellings):
                if spelling != name and spelling in labels:
                    text = f"{spelling!r} is itself a label that others are joined to"
                elif owner.setdefault(spelling, name) != name:
                    text = f"{spelling!r} is joined to {owner[spelling]!r} and to {name!r}"
                else:
                    continue
                findings.append(_finding_at((name,), place, f"`labels`: {text}"))
        if findings:
            raise ValidationError.from_exception_data("labels", findings)
        return labels

    @field_validator("hooks")
    @classmethod
    def _names_of_its_own(cls, hooks: HooksConfig) -> HooksConfig:
        taken = hooks.taken(get_args(CandidateName), get_args(Metric))
        if taken:
            raise ValueError(f"{taken!r} is a name that keepfit uses itself; give another")
        return hooks

    @field_validator("training")
    @classmethod
    def _known_candidates(cls, training: TrainingConfig, info: ValidationInfo) -> TrainingConfig:
        if "hooks" not in info.data:
            return training
        allowed = (*get_args(CandidateName), *info.data["hooks"].estimators)
        findings = [
            _finding_at(("candidates",), place, _no_such("candidate", name, allowed))
            for place, name in enumerate(training.candidates)
            if name not in allowed
        ]
        findings += [
            _finding_at(("spaces",), name, _no_such("candidate", name, allowed))
            for name in training.spaces
            if name not in allowed
        ]
        if findings:
            raise ValidationError.from_exception_data("candidates", findings)
        return training

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str | None, info: ValidationInfo) -> str | None:
        if metric is None or "hooks" not in info.data:
            return metric
        allowed = (*get_args(Metric), *info.data["hooks"].metrics)
        if metric not in allowed:
            raise ValueError(_no_such("metric", metric, allowed))
        return metric

    @model_validator(mode="after")
    def _no_contradictions(self) -> PipelineConfig:
        for role, columns in (
            ("time_column", (self.time_column,)),
            ("id_columns", self.id_columns),
            ("exclude", self.exclude),
            ("gate", self.gate.slices),
        ):
            if self.target in columns:
                raise _contradiction(role, f"the target {self.target!r} stands in `{role}` too")
        if self.split.group is not None and self.split.group in (self.target, self.time_column):
            role = "target" if self.split.group == self.target else "time column"
            raise _contradiction(
                "split", f"`split.group` names the {role} {self.split.group!r}; name another column"
            )
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
        self._suits_task()
        return self

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Columns that splitting, judging or telling the score needs, be they features or not."""
        group = () if self.split.group is None else (self.split.group,)
        named = (
            *group,
            *self.gate.slices,
            *self.report.by,
            *self.report.sensitive,
            *self.monitoring.segments,
        )
        return tuple(dict.fromkeys(named))

    @property
    def aside(self) -> tuple[str, ...]:
        """Excluded columns that are read all the same, for evaluation only."""
        return tuple(column for column in self.exclude if column in self.evaluated)

    @property
    def competing(self) -> TrainingConfig:
        """The training settings, with one's own estimators unless the file names who competes."""
        if "candidates" in self.training.model_fields_set or not self.hooks.estimators:
            return self.training
        names = (*self.training.candidates, *self.hooks.estimators)
        return self.training.model_copy(update={"candidates": names})

    def _suits_task(self) -> None:
        found = contradiction(self)
        if found is not None:
            raise _contradiction(found.at, found.text)
        if self.labels and self.task in ("regression", "ranking"):
            raise _contradiction("labels", f"`labels` are of classes, not of {self.task}")
        if self.objective is not None and self.task == "regression":
            raise _contradiction("objective", "`objective` is about classes, not about regression")
        if self.metric is None or self.task is None or self.metric in self.hooks.metrics:
            return
        fits = metrics_of(self.task)
        if self.metric not in fits:
            raise _contradiction(
                "metric",
                f"the metric {self.metric} is not one for {self.task}. One of: {', '.join(fits)}",
            )


def _no_such(what: str, name: str, allowed: tuple[str, ...]) -> str:
    near = get_close_matches(name, allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    table = {"candidate": "estimators", "metric": "metrics"}[what]
    known = ", ".join(allowed)
    return f"no {what} {name!r}{hint} One of: {known}; or your own, named in `hooks.{table}`"


def _contradiction(key: str | tuple[str, ...], message: str) -> PydanticCustomError:
    """Return an error that points at the line of `key` below it and does not show the value."""
    return PydanticCustomError("contradiction", "{text}", {"text": message, "at": key})


def metrics_of(task: str) -> tuple[str, ...]:
    """Return the metrics that may select for a task.

    Examples
    --------
    >>> metrics_of("ranking")
    ('ndcg_at_10', 'map_at_10')
    """
    known = {"regression": REGRESSION_METRICS, "ranking": RANKING_METRICS}
    return known.get(task, CLASSIFICATION_METRICS)


def default_metric(task: Task) -> str:
    """Return the metric that selects when the file names none.

    Examples
    --------
    >>> default_metric("regression")
    'rmse'
    """
    return {
        "binary": "roc_auc",
        "multiclass": "log_loss",
        "regression": "rmse",
        "ranking": "ndcg_at_10",
    }[task]


def greater_is_better(metric: str) -> bool:
    """Return whether a larger value of `metric` is the better one; one's own says so by its name.

    Examples
    --------
    >>> greater_is_better("rmse")
    False
    >>> [greater_is_better(name) for name in ("profit", "churn_cost")]
    [True, False]
    """
    losses = {"rmse", "mae", "mse", "median_ae", "mape", "log_loss", "brier", "calibration_error"}
    return metric not in losses and not metric.endswith(SMALLER_IS_BETTER)


def plain(section: Section) -> dict[str, Any]:
    """Return `section` as plain values; secrets stay hidden."""
    return section.model_dump(mode="json", exclude_defaults=True)
