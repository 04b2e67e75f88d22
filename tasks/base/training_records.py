"""Frozen values that pass between rooms and flows; of large data they carry the path."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from expectations.results import CheckResult
from tasks.base.errors import ModelRefusedError
from tasks.base.plugin_settings import OwnCode
from tasks.base.source_notes import LabelTwins, ReadingNote, note_text
from tasks.base.utc_times import as_utc

Kind = Literal["numeric", "categorical", "boolean", "datetime", "text", "identifier", "constant"]
Task = Literal["binary", "multiclass", "regression", "ranking"]
NUMBERS: frozenset[Task] = frozenset({"regression", "ranking"})  # the target is a number
Severity = Literal["error", "warning"]

RuleResult = CheckResult  # result of one rule of a contract

TrainingKind = Literal["refit", "search"]  # a known recipe on newer rows, or all candidates

_T = TypeVar("_T")
_MAPPING = TypeAdapter(dict[str, JsonValue])

SCHEMA_TAG = "keepfit.schema"
SCORE_TAG = "keepfit.score"
PROMOTED_TAG = "keepfit.promoted_at"
FAMILY_TAG = "keepfit.candidate"  # the candidate that a version is
TRAINED_UNTIL_TAG = "keepfit.trained_until"  # newest row fitted on; `included` if it was
TRAINING_TAG = "keepfit.training"  # `refit` or `search`; former versions have none
RECIPE_OF_TAG = "keepfit.recipe_of"  # the version whose recipe a refit was fitted by
MODEL_DIGEST_TAG = "keepfit.model_sha256"
SNAPSHOT_TAG = "keepfit.snapshot_digest"  # SHA-256 of the training's snapshot file


class Record(BaseModel):
    """A frozen value; equal when its fields are equal; writes itself as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Snapshot(Record):
    """A window of a source, read once and kept on disk as an Arrow IPC (Feather v2) file."""

    path: str  # the Arrow file; column order is the source's, names are unique
    digest: str  # SHA-256 of the content (names, kinds and values), 64 hex digits
    rows: int
    kinds: dict[str, Kind]  # column name to kind, for every column of the file
    start: datetime | None = None  # start, end: least and greatest time; None without times
    end: datetime | None = None
    assumptions: tuple[str, ...] = ()  # while reading, a sentence each, with where to change it
    findings: tuple[ReadingNote, ...] = ()  # what else was found while reading, as values
    written: dict[str, str] = {}  # column to how its text was written, if not plainly
    memory_bytes: int = 0  # size of the table in memory, in bytes
    places: str = ""  # NumPy file with each row's place in what was read, if some left out
    file_digest: str = ""  # SHA-256 of the Arrow file
    cached: bool = False  # whether it was reused from an earlier run
    given: str = ""  # Arrow's schema of what a feature function was given, in base64

    @property
    def remarks(self) -> tuple[str, ...]:
        """Findings and assumptions, one sentence each."""
        return (*map(note_text, self.findings), *self.assumptions)


class Schema(Record):
    """Roles of the columns."""

    target: str
    task: Task
    features: dict[str, Kind]  # feature column to kind, in table order
    classes: tuple[str, ...] = ()  # labels as text in the order of `classes_`; empty for numbers
    positive: str | None = None  # the label (as text) whose probability is scored in a binary task
    time_column: str | None = None
    id_columns: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()  # read for evaluation only: excluded, but named to judge by
    dropped: dict[str, str] = {}  # column that is no feature to the reason why
    leaks: dict[str, str] = {}  # features that look like leaks, with a sentence of explanation
    assumptions: tuple[str, ...] = ()
    twins: tuple[LabelTwins, ...] = ()  # labels that may be one, spelled in several ways
    group: str | None = None  # group, item: of a ranking: what rows are ranked in, and what is
    item: str | None = None
    grades: tuple[float, ...] = ()  # of a ranking: the target's values; a place is a grade
    relevant: float | None = None  # of a ranking: the least value that counts as relevant
    own: OwnCode | None = None  # of the running pipeline file; never stored with a version

    @property
    def watched(self) -> dict[str, Kind]:
        """The features that drift compares: time and ids move by nature."""
        others = {self.target, self.time_column, *self.id_columns}
        return {name: kind for name, kind in self.features.items() if name not in others}

    def running(self, own: OwnCode | None) -> Schema:
        """Return it with `own` as what may be imported."""
        return self.model_copy(update={"own": own})


class Split(Record):
    """Rows for training and for the holdout, as positions in a snapshot."""

    train_path: str  # train_path, holdout_path: `.npy` of int64 positions, by time if `rule` is
    holdout_path: str
    rule: Literal["time", "hash"]  # newest rows held out, or a stable hash of id or content
    holdout: float  # share of rows held out, a fraction
    n_train: int
    n_holdout: int
    boundary: datetime | None = None  # first time of the holdout under the rule `time`
    no_target: int = 0  # rows left out because their target is null or not finite
    notes: tuple[str, ...] = ()
    group: str | None = None  # column whose rows stay together; None where each row is its own

    @property
    def kind(self) -> str:
        """The rule, and the group whose hash it is: rows held out under one kind stay so."""
        grouped = self.rule == "hash" and self.group is not None
        return f"hash of {self.group}" if grouped else self.rule


class Recipe(Record):
    """Recipe for fitting a model again without a search: all choices, and no path."""

    schema_version: Literal[1] = 1  # of this record; a later one is not read
    family: str  # the candidate, or `baseline` or `ensemble`
    settings: dict[str, str | int | float] = {}  # tuning's; empty: the candidate's own
    # Rounds or epochs of an iterative learner.
    iterations: int | None = Field(None, ge=1, le=1_000_000)
    rows: int | None = Field(None, ge=1)  # for which the settings were chosen; they size steps
    objective: Literal["", "mae"] = ""  # the learner's, where it minimises absolute errors
    adjustment: dict[str, JsonValue] = {}  # as `Adjustment` of postprocessing writes it
    members: tuple[Recipe, ...] = ()  # members, weights: of an ensemble
    weights: tuple[float, ...] = ()


class TrainingMode(Record):
    """Whether a training searches among candidates or fits a known recipe on newer rows."""

    kind: TrainingKind = "search"
    reason: str = ""  # why it is the one or the other
    recipe_of: str | None = None  # recipe_of, recipe: of a refit: the version, and what is fitted
    recipe: Recipe | None = None
    obstacle: str = ""  # of a search in place of a refit: why the champion could not be refitted
    newer_rows: int | None = None  # newer_rows, newer_needed: of a refit: labelled rows, and fewest
    newer_needed: int = 0


class Prepared(Record):
    """Input of a training, once its data is checked."""

    roles: Schema  # which column plays which part
    split: Split
    metric: str
    key: str  # digest of all that decides the training
    folder: str  # where the fits are kept
    refit: bool  # whether a promoted challenger is fitted once more on the whole window
    mode: TrainingMode = TrainingMode()  # whether it searches, or fits a version's recipe


class ContractResult(Record):
    """The outcome of checking one table against its contract."""

    passed: bool
    contract_digest: str
    data_digest: str
    rows: int
    rules: tuple[RuleResult, ...]
    page: str = ""
    seconds: float = 0.0
    cached: bool = False
    whole: bool = False  # whether the table as a whole is at fault: no row can be scored
    aside: int = 0  # rows at fault; the `.npy` file `faults` has their positions
    faults: str = ""
    faults_digest: str = ""
    lacking: tuple[str, ...] = ()  # columns that some of the files read lack

    @property
    def broken(self) -> tuple[RuleResult, ...]:
        """Rules of severity ``error`` that did not hold."""
        return tuple(r for r in self.rules if not r.passed and r.severity == "error")

    @property
    def warnings(self) -> tuple[RuleResult, ...]:
        """Rules of severity ``warning`` that did not hold."""
        return tuple(r for r in self.rules if not r.passed and r.severity == "warning")


class SetAside(Record):
    """Rows that broke their contract, kept in a file instead of being scored."""

    rows: int  # rows, of: how many rows, of how many that were checked
    of: int
    whole: bool  # whether the delivery as a whole is at fault
    file: str  # Parquet, to be scored once the contract or the file is fixed
    digest: str  # of the rows' content
    contract_digest: str
    rules: tuple[RuleResult, ...] = ()  # what they broke
    accept_command: str = ""  # accept_command, score_command: accept the change; score the file
    score_command: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The broken rules as arguments of `keepfit contract accept`."""
        return tuple(dict.fromkeys(rule.name for rule in self.rules))


class Admitted(Record):
    """Rows that may be scored, their contract result, and what was set aside of them."""

    snapshot: Snapshot
    contract: ContractResult
    aside: SetAside | None = None


class Trial(Record):
    """One set of hyperparameters tried in validation; the first is the untuned one."""

    number: int
    params: dict[str, str | int | float] = {}  # of the untuned trial what its settings came to
    state: Literal["complete", "pruned", "failed"]
    score: float | None = None  # mean of the metric over the folds it reached
    scores: tuple[float | None, ...] = ()  # the metric on each fold reached; None if undefined
    first: float | None = None  # the metric of a fit on fewer rows before the folds
    seconds: float = 0.0
    rows: int = 0  # training rows of its largest fit
    iterations: tuple[int, ...] = ()  # of an iterative learner, for each fold
    reason: str = ""
    notes: tuple[str, ...] = ()
    chosen: bool = False  # whether the candidate was fitted with it
    digests: dict[str, str] = {}  # file of its folder to SHA-256; reuse compares them


class Rounds(Record):
    """Number of rounds of an iterative learner: boosting rounds, or epochs."""

    chosen: int  # what the validation parts together are for
    best: int  # where their mean loss is least
    usual: int  # rounds of the library's defaults, which are always among the choices
    most: int  # rounds at which every fit ends
    stops: tuple[int, ...] = ()  # where the loss of each validation part is least
    # The least mean loss; the most rounds within its noise; the usual, or these as the metric says.
    rule: Literal["best", "within noise", "usual", "metric"] = "best"

    @property
    def unsettled(self) -> Literal["first", "last", ""]:
        """Whether the best rounds lie at an end of what was tried: they are not known then."""
        if self.best >= self.most:
            return "last"
        return "first" if self.best <= max(1, self.usual // 20) else ""


class CandidateResult(Record):
    """One candidate after fitting, or the reason why there is none."""

    candidate: str
    status: Literal["ok", "failed", "skipped"]
    reason: str = ""
    cv_mean: float | None = None  # cv_mean, cv_std: of the metric over the validation folds
    cv_std: float | None = None
    cv_folds: int = 0
    cv_scores: tuple[float | None, ...] = ()  # the metric on each fold; None if undefined
    fit_seconds: float | None = None  # seconds of the fit on all training rows, encoding excluded
    predict_seconds: float | None = None  # seconds to predict the holdout, encoding included
    rows_fitted: int = 0  # training rows used; fewer where the candidate states a limit
    model_bytes: int = 0
    model_path: str = ""  # the skops file of the whole fitted sklearn Pipeline
    # `.npz`: `predicted` and `probability` of shape (n_holdout, n_classes), in the holdout's order.
    predictions_path: str = ""
    encoding: str = ""
    params: dict[str, str | int | float | bool | None] = {}
    # Metric to its value per iteration, `training_…` on learnt rows, `validation_…` on others.
    curves: dict[str, tuple[float, ...]] = {}
    curves_of: str = ""  # the fit that the curves are of; empty: that on all training rows
    importance: dict[str, float] = {}  # feature to its share of the model's own, if any
    notes: tuple[str, ...] = ()
    asked: dict[str, tuple[str, ...]] = {}  # of `tuning`, `mixture`, `calibrated`, `decides`
    trials: tuple[Trial, ...] = ()  # what tuning tried, in the order of numbers
    rounds: Rounds | None = None  # of an iterative learner: how they were chosen
    out_of_time: bool = False  # whether it was skipped because the time budget was used up
    digests: dict[str, str] = {}  # file of its folder to SHA-256; reuse compares them
    cached: bool = False

    @property
    def tuned(self) -> dict[str, str | int | float]:
        """Hyperparameters that tuning chose; empty where the untuned ones were kept."""
        return next((t.params for t in self.trials if t.chosen and t.number > 0), {})


class MetricValue(Record):
    """A metric on the holdout with its bootstrap interval; None where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def half(self) -> float | None:
        """Half the width of the interval; None without one."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


class Evaluation(Record):
    """The metrics of one candidate on the holdout."""

    candidate: str
    metrics: dict[str, MetricValue]
    per_class: dict[str, dict[str, MetricValue]] = {}
    confusion: tuple[tuple[int, ...], ...] = ()
    rows_per_second: float | None = None


class LeaderboardRow(Record):
    """One line of the leaderboard; scores are of the pipeline's metric, as the metric is named."""

    candidate: str
    status: str
    cv_mean: float | None
    cv_std: float | None
    holdout: float | None
    holdout_low: float | None = None
    holdout_high: float | None = None
    fit_seconds: float | None = None
    predict_seconds: float | None = None
    model_bytes: int = 0
    reason: str = ""


class Assessment(Record):
    """Every candidate on the holdout, and which of them challenges."""

    evaluations: tuple[Evaluation, ...]
    leaderboard: tuple[LeaderboardRow, ...]
    challenger: str
    skipped: tuple[str, ...] = ()  # candidates not fitted within the time budget

    def of(self, candidate: str) -> Evaluation:
        """Return the evaluation of `candidate`."""
        return next(e for e in self.evaluations if e.candidate == candidate)


class Basis(Record):
    """Basis of a training: its rows, their contract result, and how they are split."""

    snapshot: Snapshot
    contract: ContractResult
    prepared: Prepared

    @property
    def roles(self) -> Schema:
        """Roles of the columns."""
        return self.prepared.roles

    @property
    def split(self) -> Split:
        """The held-out rows."""
        return self.prepared.split


class Picture(Record):
    """A figure: its SVG text for the report, its file for MLflow, and what to conclude."""

    name: str
    title: str
    caption: str
    svg: str
    file: str


class Figures(Record):
    """The figures of a training, in the order of the report."""

    pictures: tuple[Picture, ...] = ()
    importance: dict[str, float] = {}  # column to the metric's loss when shuffled, falling
    of_candidates: dict[str, dict[str, str]] = {}  # fitted candidate to figure name to SVG file


class RecipeGain(Record):
    """Cross-validation comparison of the challenger's recipe with the champion's."""

    gain: float  # gain, error: out of fold, in units of the metric, greater is better
    error: float
    rows: int  # rows that both recipes predicted out of fold
    candidates: int  # how many recipes the challenger was the best of


class GateEvidence(Record):
    """Evidence of a gate: summary statistics, each required to be finite; no replicates."""

    metric: str
    rows: int  # rows that neither model was trained on
    challenger_score: float | None
    champion_score: float | None
    baseline_score: float | None
    # difference, low, high: challenger minus champion in the metric, oriented so that greater is
    # better, with the paired bootstrap interval.
    difference: float | None
    low: float | None
    high: float | None
    baseline_difference: float | None  # baseline_difference, _low, _high: against the baseline
    baseline_low: float | None
    baseline_high: float | None
    detectable: float | None = None  # the smallest difference that could have been seen
    latency_ms_per_1k: float | None = None
    model_bytes: int | None = None
    blocks: int | None = None  # blocks, blocks_of: how many units were drawn together, of what
    blocks_of: str = "blocks of time"
    challenger: str = ""
    # Whether the champion was refitted up to the challenger's newest row, as its own were newer.
    equal_age: bool = False
    recipes: RecipeGain | None = None  # what the training's folds show of the two recipes
    # By how much a refit's log loss is lower, with its interval; None where it says nothing new.
    log_loss: tuple[float, float, float] | None = None


class RefitGain(Record):
    """Result of a judged refit: its gain over the champion, in units of the metric."""

    gain: float
    error: float  # standard error of the gain
    until: datetime | None = None  # time of the newest row it was judged on


class Verdict(Record):
    """The gate's decision and reasons; ``sentence`` states it for a reader."""

    promoted: bool
    rule: str
    reason: str
    sentence: str
    reasons: tuple[str, ...] = ()
    difference: float | None = None
    interval: tuple[float, float] | None = None
    confidence: float = 0.95
    champion_version: str | None = None
    evidence: GateEvidence | None = None
    skipped: tuple[str, ...] = ()  # candidates not compared for want of time
    margin: float | None = None  # how much worse the challenger may be; None: has to be better

    @property
    def complete(self) -> bool:
        """Whether every candidate that the file names was compared, or failed by itself."""
        return not self.skipped


class ModelVersion(Record):
    """A version in the registry."""

    name: str
    version: str
    run_id: str
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    created: datetime | None = None
    description: str = ""

    @property
    def model_digest(self) -> str:
        """SHA-256 of its model file."""
        return self.tags.get(MODEL_DIGEST_TAG, "")

    @property
    def trained_until(self) -> datetime | None:
        """Time of the newest row that it was fitted on, in UTC; None without times."""
        if not self.tags.get(TRAINED_UNTIL_TAG):
            return None
        return self.read_tag(TRAINED_UNTIL_TAG, lambda text: _moment(text.partition(" ")[0]))

    @property
    def promoted_at(self) -> datetime | None:
        """Time at which it became champion, in UTC; None where it never did."""
        return self.read_tag(PROMOTED_TAG, _moment) if PROMOTED_TAG in self.tags else None

    @property
    def score(self) -> float | None:
        """Score on the holdout of its training; None where it is not recorded."""
        if self.tags.get(SCORE_TAG, "None") == "None":
            return None
        return self.read_tag(SCORE_TAG, float)

    @property
    def roles(self) -> Schema:
        """Roles of the columns in its training."""
        return self.read_tag(SCHEMA_TAG, Schema.model_validate_json).running(None)

    def read_tag(self, name: str, parse: Callable[[str], _T]) -> _T:
        """Return what a tag states; ModelRefusedError when it is absent or cannot be read."""
        text = self.tags.get(name)
        try:
            if text is not None:
                return parse(text)
        except ValueError:
            pass
        fault = "no tag" if text is None else f"a tag of other content ({text[:40]!r}):"
        raise ModelRefusedError(
            f"{self.name} version {self.version} has {fault} {name}, which keepfit writes when it "
            "registers a version.",
            "Promote another version; where there is none, train first. Look at who can write to "
            "the registry.",
        )

    def read_mapping(self, name: str) -> dict[str, JsonValue]:
        """Return the JSON object in a tag; empty without the tag."""
        return self.read_tag(name, _MAPPING.validate_json) if name in self.tags else {}


def _moment(text: str) -> datetime:
    return as_utc(datetime.fromisoformat(text))
