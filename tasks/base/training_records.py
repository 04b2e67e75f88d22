"""Frozen values that pass between packages, tasks and flows.

Large data never travels in a record: records carry paths to it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from expectations.results import CheckResult
from tasks.base.plugin_settings import OwnCode
from tasks.base.source_notes import LabelTwins, ReadingNote, note_text
from tasks.base.utc_times import as_utc

Kind = Literal["numeric", "categorical", "boolean", "datetime", "text", "identifier", "constant"]
Task = Literal["binary", "multiclass", "regression", "ranking"]
NUMBERS: frozenset[Task] = frozenset({"regression", "ranking"})
"""Tasks whose target and predictions are numbers, not classes."""
Severity = Literal["error", "warning"]

RuleResult = CheckResult
"""Result of one rule of a contract."""

TrainingKind = Literal["refit", "search"]
"""A known recipe on newer rows, or all candidates."""

SCHEMA_TAG = "keepfit.schema"
FAMILY_TAG = "keepfit.candidate"
"""The candidate that a version is."""
TRAINED_UNTIL_TAG = "keepfit.trained_until"
"""Time of the newest row that a version was fitted on; ``included`` where that row was."""
TRAINING_TAG = "keepfit.training"
"""``refit`` or ``search``: how a version came to be; versions from before have none."""
RECIPE_OF_TAG = "keepfit.recipe_of"
"""The version whose recipe a refit was fitted by."""
MODEL_DIGEST_TAG = "keepfit.model_sha256"
SNAPSHOT_TAG = "keepfit.snapshot_digest"
"""SHA-256 of the snapshot file that a version was trained on."""


class Record(BaseModel):
    """A frozen value; equal when its fields are equal; writes itself as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Snapshot(Record):
    """A window of a source, read once and kept on disk as an Arrow IPC (Feather v2) file.

    Attributes
    ----------
    path
        The Arrow file; column order is the source's, names are unique.
    digest
        SHA-256 of the content (names, kinds and values), 64 hex digits.
    kinds
        Column name to kind, for every column of the file.
    start, end
        Least and greatest time in the time column; None without one.
    assumptions
        What was assumed while reading, one sentence each, with where to change it.
    findings
        What else was found while reading, as values.
    written
        Column to how its text was written, where not as plain numbers or times.
    memory_bytes
        Size of the table in memory, in bytes.
    places
        NumPy file with each row's place in what was read, from 0; empty where none was left out.
    file_digest
        SHA-256 of the Arrow file.
    cached
        Whether it was reused from an earlier run.
    given
        Arrow's schema of what a feature function was given, in base64; empty without one.
    """

    path: str
    digest: str
    rows: int
    kinds: dict[str, Kind]
    start: datetime | None = None
    end: datetime | None = None
    assumptions: tuple[str, ...] = ()
    findings: tuple[ReadingNote, ...] = ()
    written: dict[str, str] = {}
    memory_bytes: int = 0
    places: str = ""
    file_digest: str = ""
    cached: bool = False
    given: str = ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Findings and assumptions, one sentence each."""
        return (*map(note_text, self.findings), *self.assumptions)


class Schema(Record):
    """Roles of the columns.

    Attributes
    ----------
    features
        Feature column to kind, in table order.
    classes
        Class labels as text, in the order of the model's ``classes_``; empty for numbers.
    positive
        The label (as text) whose probability is scored in a binary task.
    aside
        Columns that are read for evaluation only: excluded, and named to judge or report by.
    dropped
        Column that is no feature to the reason why.
    leaks
        Features that look like leaks, with a sentence of explanation.
    own
        Estimators and metrics of the running pipeline file; never stored with a version.
    twins
        Labels that may be one, spelled in several ways.
    group, item
        Of a ranking: the column whose rows are ranked together, and the one that names what is
        ranked.
    grades
        Of a ranking: the target's values in order; a value's place among them is its grade.
    relevant
        Of a ranking: the least value of the target that counts as relevant.
    """

    target: str
    task: Task
    features: dict[str, Kind]
    classes: tuple[str, ...] = ()
    positive: str | None = None
    time_column: str | None = None
    id_columns: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    dropped: dict[str, str] = {}
    leaks: dict[str, str] = {}
    assumptions: tuple[str, ...] = ()
    twins: tuple[LabelTwins, ...] = ()
    group: str | None = None
    item: str | None = None
    grades: tuple[float, ...] = ()
    relevant: float | None = None
    own: OwnCode | None = None

    def running(self, own: OwnCode | None) -> Schema:
        """Return it with `own` as what may be imported."""
        return self.model_copy(update={"own": own})


class Split(Record):
    """Rows for training and for the holdout, as positions in a snapshot.

    Attributes
    ----------
    train_path, holdout_path
        ``.npy`` files of int64 row positions; in time order when the rule is ``time``.
    rule
        ``time`` (newest rows held out) or ``hash`` (stable hash of the id or the content).
    holdout
        Share of rows held out, a fraction.
    boundary
        First time of the holdout under the rule ``time``.
    no_target
        Rows left out because their target is null or not finite.
    group
        Column whose rows stay together; None where each row is its own.
    """

    train_path: str
    holdout_path: str
    rule: Literal["time", "hash"]
    holdout: float
    n_train: int
    n_holdout: int
    boundary: datetime | None = None
    no_target: int = 0
    notes: tuple[str, ...] = ()
    group: str | None = None

    @property
    def kind(self) -> str:
        """The rule, and the group whose hash it is: rows held out under one kind stay so."""
        grouped = self.rule == "hash" and self.group is not None
        return f"hash of {self.group}" if grouped else self.rule


class Recipe(Record):
    """Recipe for fitting a model again without a search: all choices, and no path.

    Attributes
    ----------
    schema_version
        Of this record; a later one is not read.
    family
        The candidate, or ``baseline`` or ``ensemble``.
    settings
        Hyperparameters that tuning chose; empty where the candidate's own were kept.
    iterations
        Rounds or epochs of an iterative learner.
    rows
        Rows that the settings were chosen for, by which steps are sized.
    objective
        ``mae`` where the learner minimises the absolute error; empty: its usual loss.
    adjustment
        Calibration and rule of decision, as `Adjustment` of postprocessing writes them.
    members, weights
        Of an ensemble.
    """

    schema_version: Literal[1] = 1
    family: str
    settings: dict[str, str | int | float] = {}
    iterations: int | None = Field(None, ge=1, le=1_000_000)
    rows: int | None = Field(None, ge=1)
    objective: Literal["", "mae"] = ""
    adjustment: dict[str, JsonValue] = {}
    members: tuple[Recipe, ...] = ()
    weights: tuple[float, ...] = ()


class TrainingMode(Record):
    """Whether a training searches among candidates or fits a known recipe on newer rows.

    Attributes
    ----------
    reason
        Why it is the one or the other.
    recipe_of, recipe
        Of a refit: the version whose recipe is fitted, and the recipe.
    obstacle
        Of a search in place of a refit: why the champion could not be refitted.
    newer_rows, newer_needed
        Of a refit: labelled rows newer than the champion's, and how many a judgement needs.
    """

    kind: TrainingKind = "search"
    reason: str = ""
    recipe_of: str | None = None
    recipe: Recipe | None = None
    obstacle: str = ""
    newer_rows: int | None = None
    newer_needed: int = 0


class Prepared(Record):
    """Input of a training, once its data is checked.

    Attributes
    ----------
    roles
        Which column plays which part.
    key, fit_key
        Digest of all that decides the training, and of all that decides its fits.
    folder
        Where the fits are kept.
    refit
        Whether a promoted challenger is fitted once more on the whole window.
    mode
        Whether candidates are searched, or a version's recipe is fitted.
    """

    roles: Schema
    split: Split
    metric: str
    key: str
    fit_key: str
    folder: str
    refit: bool
    mode: TrainingMode = TrainingMode()


class ContractResult(Record):
    """The outcome of checking one table against its contract.

    Attributes
    ----------
    whole
        Whether the table as a whole is at fault, so that none of its rows can be scored.
    aside
        Rows at fault; their positions are in the ``.npy`` file `faults` of digest `faults_digest`.
    lacking
        Columns that some of the files read lack.
    """

    passed: bool
    contract_digest: str
    data_digest: str
    rows: int
    rules: tuple[RuleResult, ...]
    page: str = ""
    seconds: float = 0.0
    cached: bool = False
    whole: bool = False
    aside: int = 0
    faults: str = ""
    faults_digest: str = ""
    lacking: tuple[str, ...] = ()

    @property
    def broken(self) -> tuple[RuleResult, ...]:
        """Rules of severity ``error`` that did not hold."""
        return tuple(r for r in self.rules if not r.passed and r.severity == "error")

    @property
    def warnings(self) -> tuple[RuleResult, ...]:
        """Rules of severity ``warning`` that did not hold."""
        return tuple(r for r in self.rules if not r.passed and r.severity == "warning")


class SetAside(Record):
    """Rows that broke their contract, kept in a file instead of being scored.

    Attributes
    ----------
    rows, of
        How many rows, of how many that were checked.
    whole
        Whether the delivery as a whole is at fault.
    file
        Parquet, to be scored once the contract or the file is fixed.
    digest
        Of the rows' content.
    rules
        What they broke.
    accept_command, score_command
        Commands that accept the change into the contract, and that score the file.
    """

    rows: int
    of: int
    whole: bool
    file: str
    digest: str
    contract_digest: str
    rules: tuple[RuleResult, ...] = ()
    accept_command: str = ""
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
    """One set of hyperparameters tried in validation; the first is the untuned one.

    Attributes
    ----------
    params
        Hyperparameter to value; of the untuned trial what its settings came to.
    score
        Mean of the metric over the folds it reached; None where it has none.
    scores
        The metric on each fold reached, in the order of the folds; None where it is not defined.
    first
        The metric of a fit on fewer rows that came before the folds; None without one.
    rows
        Training rows of its largest fit.
    iterations
        Of an iterative learner, for each fold.
    chosen
        Whether the candidate was fitted with it.
    digests
        File of its folder to SHA-256; reuse compares them.
    """

    number: int
    params: dict[str, str | int | float] = {}
    state: Literal["complete", "pruned", "failed"]
    score: float | None = None
    scores: tuple[float | None, ...] = ()
    first: float | None = None
    seconds: float = 0.0
    rows: int = 0
    iterations: tuple[int, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()
    chosen: bool = False
    digests: dict[str, str] = {}


class Rounds(Record):
    """Number of rounds of an iterative learner: boosting rounds, or epochs.

    Attributes
    ----------
    chosen
        What the validation parts together are for.
    best
        Where their mean loss is least.
    usual
        Rounds of the library's defaults, which are always among the choices.
    most
        Rounds at which every fit ends.
    stops
        Where the loss of each validation part is least.
    rule
        Why they were chosen: the least mean loss; the most rounds within its noise; the usual ones,
        as fewer are not shown to be better; or the usual ones, as they score better in the metric.
    """

    chosen: int
    best: int
    usual: int
    most: int
    stops: tuple[int, ...] = ()
    rule: Literal["best", "within noise", "usual", "metric"] = "best"

    @property
    def unsettled(self) -> Literal["first", "last", ""]:
        """Whether the best rounds lie at an end of what was tried: they are not known then."""
        if self.best >= self.most:
            return "last"
        return "first" if self.best <= max(1, self.usual // 20) else ""


class CandidateResult(Record):
    """One candidate after fitting, or the reason why there is none.

    Attributes
    ----------
    cv_mean, cv_std
        Mean and standard deviation of the metric over the validation folds.
    cv_scores
        The metric on each fold; None where it is not defined.
    fit_seconds
        Seconds of the fit on all training rows, encoding excluded.
    predict_seconds
        Seconds to predict the holdout, encoding included.
    rows_fitted
        Training rows used; fewer than there are when the candidate states a limit.
    model_path
        The skops file of the whole fitted sklearn Pipeline.
    predictions_path
        ``.npz`` with ``predicted`` and, for classification, ``probability`` of shape
        (n_holdout, n_classes), in the order of the split's holdout file.
    curves
        Metric name to its value per iteration of an iterative learner, ``training_…`` on rows that
        are learnt from and ``validation_…`` on rows set aside.
    curves_of
        Which fit the curves are of, in words; empty where it is the one on all training rows.
    importance
        Feature to its share of the model's own importance, where the model has one.
    asked
        Notes on how requested options were applied: of ``tuning``,
        the ``mixture``, what is ``calibrated``, and what ``decides``.
    trials
        What tuning tried, in the order of the numbers; empty without tuning.
    rounds
        How the rounds of an iterative learner were chosen; None of other candidates.
    out_of_time
        Whether it was skipped because the time budget was used up.
    digests
        File of its folder to SHA-256; reuse compares them.
    """

    candidate: str
    status: Literal["ok", "failed", "skipped"]
    reason: str = ""
    cv_mean: float | None = None
    cv_std: float | None = None
    cv_folds: int = 0
    cv_scores: tuple[float | None, ...] = ()
    fit_seconds: float | None = None
    predict_seconds: float | None = None
    rows_fitted: int = 0
    model_bytes: int = 0
    model_path: str = ""
    predictions_path: str = ""
    encoding: str = ""
    params: dict[str, str | int | float | bool | None] = {}
    curves: dict[str, tuple[float, ...]] = {}
    curves_of: str = ""
    importance: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    asked: dict[str, tuple[str, ...]] = {}
    trials: tuple[Trial, ...] = ()
    rounds: Rounds | None = None
    out_of_time: bool = False
    digests: dict[str, str] = {}
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
    """Every candidate on the holdout, and which of them challenges.

    Attributes
    ----------
    skipped
        Candidates that were not fitted because the time budget was used up.
    """

    evaluations: tuple[Evaluation, ...]
    leaderboard: tuple[LeaderboardRow, ...]
    challenger: str
    skipped: tuple[str, ...] = ()

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
    """A figure: its SVG text for the report, its PNG file for MLflow, and what to conclude."""

    name: str
    title: str
    caption: str
    svg: str
    file: str


class Figures(Record):
    """The figures of a training, in the order of the report.

    Attributes
    ----------
    importance
        Source column to what the metric loses when it is shuffled, the greatest first.
    of_candidates
        Fitted candidate to figure name to PNG file.
    """

    pictures: tuple[Picture, ...] = ()
    importance: dict[str, float] = {}
    of_candidates: dict[str, dict[str, str]] = {}


class RecipeGain(Record):
    """Cross-validation comparison of the challenger's recipe with the champion's.

    Attributes
    ----------
    gain, error
        Out-of-fold gain in units of the metric, greater is better, and its standard error.
    rows
        Rows that both recipes predicted out of fold.
    candidates
        How many recipes the challenger was the best of.
    """

    gain: float
    error: float
    rows: int
    candidates: int


class GateEvidence(Record):
    """Evidence of a gate: summary statistics (no bootstrap replicates), each required to be finite.

    Attributes
    ----------
    difference, low, high
        Challenger minus champion in the metric, oriented so that greater is better, with the
        paired bootstrap interval.
    baseline_difference, baseline_low, baseline_high
        The same against the trivial baseline.
    rows
        Rows that neither model was trained on.
    detectable
        The smallest difference that the interval could have distinguished from zero.
    blocks, blocks_of
        How many units were drawn together, and what they are.
    equal_age
        Whether the champion was fitted again up to the challenger's newest row, since the
        registered one was trained on newer rows.
    recipes
        What the folds of the training show of the two recipes; None where they do not.
    log_loss
        By how much a refit's log loss is lower than the champion's, with its interval; None where
        there are no probabilities, or where the log loss is the metric.
    """

    metric: str
    rows: int
    challenger_score: float | None
    champion_score: float | None
    baseline_score: float | None
    difference: float | None
    low: float | None
    high: float | None
    baseline_difference: float | None
    baseline_low: float | None
    baseline_high: float | None
    detectable: float | None = None
    latency_ms_per_1k: float | None = None
    model_bytes: int | None = None
    blocks: int | None = None
    blocks_of: str = "blocks of time"
    challenger: str = ""
    equal_age: bool = False
    recipes: RecipeGain | None = None
    log_loss: tuple[float, float, float] | None = None


class RefitGain(Record):
    """Result of a judged refit: its gain over the champion, in units of the metric.

    Attributes
    ----------
    error
        Standard error of the gain.
    until
        Time of the newest row that it was judged on; None where it is not known.
    """

    gain: float
    error: float
    until: datetime | None = None


class Verdict(Record):
    """The gate's decision and reasons; ``sentence`` states it for a reader.

    Attributes
    ----------
    skipped
        Candidates that were not compared because the time budget was used up.
    margin
        How much worse than the champion the challenger may be, in units of the metric; None where
        it has to be better.
    """

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
    skipped: tuple[str, ...] = ()
    margin: float | None = None

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
        text = self.tags.get(TRAINED_UNTIL_TAG, "").partition(" ")[0]
        return as_utc(datetime.fromisoformat(text)) if text else None

    @property
    def roles(self) -> Schema:
        """Roles of the columns in its training."""
        return Schema.model_validate_json(self.tags[SCHEMA_TAG]).running(None)
