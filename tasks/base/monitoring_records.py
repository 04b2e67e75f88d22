"""Values of the closed loop, passed between rooms and flows and, as JSON, into the ledger."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Literal, TypeVar
from uuid import NAMESPACE_URL, uuid4, uuid5

from pydantic import Field, JsonValue, ValidationError, model_validator

from tasks.base.training_records import Kind, MetricValue, Record, TrainingKind

_R = TypeVar("_R", bound=Record)
_OWN_RUN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-5")

CauseKind = Literal["manual", "schedule", "alarm", "probe"]
DecisionKind = Literal[
    "scored",  # predictions of a batch were written
    "monitored",  # a window was looked at; its evidence holds the result
    "alarmed",  # a window called for action
    "stopped",  # rows broke their contract, nothing was made of them
    "quarantined",  # rows broke their contract and were set aside, the rest was scored
    "trained",  # a training ended; evidence holds the leaderboard's best and the verdict
    "skipped",  # a requested training was not done: cooldown, duplicate, another one runs
    "promoted",  # the alias moved to a new version
    "refused",  # the gate kept the champion
    "rolled_back",  # the alias moved back to the former champion
    "confirmed",  # a promoted version passed its probation
    "failed",  # a flow run failed, crashed, or did not end in time
    "cancelled",  # a person, or the end of the stack, stopped a run
    "reaped",  # a run whose process had died was ended, and perhaps requested again
    "collected",  # an old version was removed with its runs and files
    "alerted",  # a message was sent
    "unheard",  # a message could not be sent
]


class Window(Record):
    """Rows whose time lies in [start, end), both in UTC."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        """Return the window in the format of `--window`."""
        return f"{_moment(self.start)}..{_moment(self.end)}"


def _moment(moment: datetime) -> str:
    midnight = (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0)
    return moment.strftime("%Y-%m-%d" if midnight else "%Y-%m-%dT%H:%M:%S")


class Cause(Record):
    """Why something is done, and the one id that all that follows from it carries."""

    kind: CauseKind
    correlation: str  # from the alarm's event through run, verdict and alias to the alert
    key: str = ""  # idempotency key: what has one is done once; empty: always done
    reasons: tuple[str, ...] = ()
    window: Window | None = None
    at: datetime


class Decision(Record):
    """One thing that keepfit decided or did, with its evidence; never changed once written."""

    id: str  # deterministic where the same thing must not be recorded twice: see `decision_id`
    pipeline: str
    kind: DecisionKind
    at: datetime
    correlation: str
    sentence: str  # what happened and why, for a person
    version: str | None = None
    window: Window | None = None
    data_digest: str = ""
    contract_digest: str = ""
    config_digest: str = ""
    prefect_run: str = ""
    mlflow_run: str = ""
    evidence: dict[str, JsonValue] = Field({})  # numbers and names that it rests on, as JSON values
    links: dict[str, str] = Field({})  # what to open, by name: `report`, `prefect`, `mlflow`

    def read(self, kind: type[_R], name: str) -> _R | None:
        """Return evidence as a record; None where it is absent or of another shape."""
        return _record(kind, self.evidence.get(name))

    def read_all(self, kind: type[_R], name: str) -> tuple[_R, ...]:
        """Return a list of the evidence as records, without those of another shape."""
        value = self.evidence.get(name)
        found = (_record(kind, one) for one in value) if isinstance(value, list) else ()
        return tuple(one for one in found if one is not None)

    def part(self, name: str) -> dict[str, JsonValue]:
        """Return a mapping of the evidence as it is; empty when it is absent."""
        value = self.evidence.get(name)
        return value if isinstance(value, dict) else {}

    def text(self, name: str) -> str:
        """Return a text of the evidence; empty when it is absent."""
        value = self.evidence.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the texts of a list of the evidence."""
        value = self.evidence.get(name)
        return tuple(str(v) for v in value) if isinstance(value, list) else ()

    def number(self, name: str) -> float | None:
        """Return a finite number of the evidence; None where it is absent."""
        value = self.evidence.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            return None
        return float(value)

    def interval(self) -> tuple[float, float] | None:
        """Return the two finite ends of an interval of the evidence; None where it is absent."""
        value = self.evidence.get("interval")
        ends = (
            [float(v) for v in value if isinstance(v, int | float)]
            if isinstance(value, list)
            else []
        )
        return (ends[0], ends[1]) if len(ends) == 2 and all(map(isfinite, ends)) else None


def _record(kind: type[_R], value: JsonValue) -> _R | None:
    try:
        return kind.model_validate(_finite(value)) if isinstance(value, dict) else None
    except ValidationError:
        return None


def _finite(value: JsonValue) -> JsonValue:
    """Return `value` with None for numbers that are none."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def own_run_id() -> str:
    """Return an id for a flow run of this process alone: a UUID of version 5."""
    # Prefect's own are of version 4 or 7.
    return str(uuid5(NAMESPACE_URL, uuid4().hex))


def is_of_prefect(run: str) -> bool:
    """Return whether `run` is the id of a flow run that Prefect keeps, with a page and a log.

    >>> is_of_prefect("9a4bd996-bd71-4651-aed2-7e8702bfefd5"), is_of_prefect(own_run_id())
    (True, False)
    """
    return bool(run) and not _OWN_RUN.match(run)


def new_correlation() -> str:
    """Return a correlation id: 32 hex digits."""
    return uuid4().hex


def decision_id(*parts: str) -> str:
    """Return the id of what `parts` name, the same for the same parts.

    >>> decision_id("flights", "promoted", "3") == decision_id("flights", "promoted", "3")
    True
    """
    return uuid5(NAMESPACE_URL, "keepfit:" + "\x1f".join(parts)).hex


HarmMeasure = Literal[
    "outside",  # share of rows that hold what the champion did not learn from
    "unseen",  # share of rows with a level of one column that is new, beyond the expected share
    "sparse",  # share of rows ten times as frequent as in the reference
    "predictions",  # how far the predictions moved, in standard deviations
    "joint",  # area under the ROC curve of a classifier of window against reference
    "columns",  # greatest effect on the predictions of a column that must move
]


class HarmFinding(Record):
    """One measure of whether a window could hurt."""

    measure: HarmMeasure
    value: float  # value, limit: in the measure's unit; beyond it, it counts if not by chance
    limit: float
    p_value: float | None = None  # None where it is not tested
    found: bool = False  # whether it counts
    columns: tuple[str, ...] = ()  # columns that it rests on, the strongest first


class Segment(Record):
    """The rows of a window that have one value of a column."""

    column: str
    value: str
    rows: int

    @property
    def name(self) -> str:
        """The segment as a person writes it."""
        return f"{self.column} = {self.value}"


class SegmentDrift(Segment):
    """Whether the rows of a segment could hurt."""

    harmful: bool = False
    harm: tuple[HarmFinding, ...] = ()


class SegmentPerformance(Segment):
    """The champion's performance on a segment."""

    # loss, reference: mean loss of the labelled rows, and of those that the model had not seen in
    # training: log loss, or the absolute error of a regression, or the share of wrong classes.
    loss: float
    reference: float
    p_value: float  # of its being no greater than in the reference, corrected over all segments
    worse: bool = False  # whether it is


class ColumnFinding(Record):
    """Findings of monitoring for one column, or for the predictions."""

    column: str
    kind: Kind | None = None
    # `new` is a column that was not there at the training: it is named, not judged.
    role: Literal["feature", "prediction", "new"] = "feature"
    method: str = ""  # the statistic's name; fixed per kind of column, whatever the sample's size
    statistic: float | None = None  # distance of reference and window, 0 to 1; None if undefined
    threshold: float | None = None  # the statistic's operating one for windows of this size
    p_value: float | None = None  # of the two-sample test, Benjamini–Hochberg over columns
    drifted: bool = False  # statistic above its threshold, and the corrected test rejects
    missing: float | None = None  # missing, missing_reference: share of nulls, a fraction
    missing_reference: float | None = None
    unseen: int = 0  # rows whose category the reference does not have
    importance: float | None = None  # the metric's loss when it is shuffled; None if not known
    effect: float | None = None  # mean change of predictions by it alone, in their deviations
    moving: bool = False  # whether time itself moves it, as a date: judged by its effect
    notes: tuple[str, ...] = ()  # what is odd about it (all null, constant, new), for a person


class DriftResult(Record):
    """All columns of one window against the champion's training rows."""

    rows: int
    reference_rows: int
    enough: bool  # whether the rows are enough for a judgement; without, no drift
    alarm: bool  # whether the window as a whole is unusual, at the stated false-alarm rate
    score: float | None = None  # score, limit: the family's statistic; beyond it, unusual
    limit: float | None = None
    false_alarms: float
    columns: tuple[ColumnFinding, ...] = ()
    harmful: bool = False  # whether what moved could hurt: that calls for a training
    harm: tuple[HarmFinding, ...] = ()  # what that rests on
    segments: tuple[SegmentDrift, ...] = ()  # the same question of each segment that the file names
    restless: bool = False  # whether a classifier tells each reference block from earlier ones
    sentence: str = ""
    harm_sentence: str = ""  # the result in a sentence
    seconds: float = 0.0

    @model_validator(mode="before")
    @classmethod
    def _of_old(cls, values: Any) -> Any:
        if isinstance(values, dict) and "harmful" not in values:
            return {**values, "harmful": values.get("alarm", False)}
        return values

    @property
    def drifted(self) -> tuple[ColumnFinding, ...]:
        """The columns that drifted, the most important first."""
        found = (c for c in self.columns if c.drifted)
        return tuple(sorted(found, key=lambda c: -(c.importance or 0.0)))


class Performance(Record):
    """The champion's performance on one window."""

    window: Window | None
    version: str  # the version whose predictions these are
    metric: str
    rows: int
    labelled: int = 0  # rows of the window whose label is known
    mature: bool = False  # whether the label delay has passed: `realised` will hardly change
    realised: MetricValue | None = None  # of the predictions made, where labels have arrived
    estimated: MetricValue | None = None  # without labels; blind to a changed concept
    reference: MetricValue | None = None  # the same metric on the version's holdout
    worse: bool = False  # realised (else estimated) beyond both interval and usual variation
    limit: float | None = None  # beyond which the metric counts as worse; None if not judged
    segments: tuple[SegmentPerformance, ...] = ()  # of those the file names, if labelled
    sentence: str = ""


class WindowDifference(Record):
    """Gain of a refreshed model over the champion on one window."""

    window: Window
    rows: int
    gain: float  # difference of the metric, oriented so that greater is better
    spread: float  # its standard error, from blocks of time


class AgedGain(Record):
    """Result of one measurement of how the champion ages."""

    gain: float  # gain, error: of the refreshed model over the champion, standard error
    error: float
    ahead: timedelta  # how much newer the refreshed model's newest row was


GainSkipped = Literal[
    "", "no recipe", "changed", "nothing newer", "too few rows", "undefined", "failed"
]
"""Why a gain was not measured; empty where it was."""


class Gain(Record):
    """The gain of retraining: a fit before `boundary` and the champion, on the same rows after."""

    version: str
    metric: str
    # gain, low, high: the refreshed model's metric minus the champion's, oriented so that greater
    # is better, and its interval at `confidence`; None where it was not measured.
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.9
    refreshed: float | None = None  # refreshed, champion: the metric of either model
    champion: float | None = None
    matters: float | None = None  # least gain that would matter, in units of the metric
    rows: int = 0
    windows: tuple[Window, ...] = ()  # Windows whose rows were judged, oldest first
    differences: tuple[WindowDifference, ...] = ()  # what this one adds to the sequence
    # Log of the champion's e-value so far: retraining pays from log(2 / (1 − `confidence`)) on.
    evidence: float = 0.0
    mean: float | None = None  # mean gain over the windows of the sequence
    observed: int = 0  # number of these windows
    rows_expected: int = 0  # rows until the next look
    boundary: datetime | None = None
    family: str = ""
    rows_fitted: int = 0  # rows_fitted, rows_available: of training rows; fewer to bound cost
    rows_available: int = 0
    seconds: float = 0.0
    skipped: GainSkipped = ""  # why nothing was measured; empty where it was
    problem: str = ""  # message of a failed measurement
    until: datetime | None = None  # end of the newest window whose labels were mature
    newest: datetime | None = None  # time of the newest row that was judged
    aged: tuple[AgedGain, ...] = ()  # the newest measurements, of earlier champions too
    expected: float | None = None  # what a refit is to bring by them: see `tasks.policy.ageing`
    # The same in the other of the two metrics that were compared, the pipeline's and log loss.
    beside: Gain | None = None

    def within(self, metric: str) -> Gain | None:
        """Return the measurement in `metric`, this one or the one beside it; None without one."""
        return next((g for g in (self, self.beside) if g is not None and g.metric == metric), None)


GainAnswer = Literal["", "pays", "steady", "ages", "none", "unclear"]
"""Conclusion from a measured gain: it pays; it would over many windows; it is expected to,
as the champion ages; it does not; none of these. Empty where none was measured."""
CALLING: tuple[GainAnswer, ...] = ("pays", "steady", "ages")  # conclusions that call for a training


class WindowFlag(Record):
    """The policy's input from one monitored window."""

    window: Window | None
    drifted: bool = False
    worse: bool = False
    enough: bool = True
    settled: bool = False  # whether its labels are in, so that `worse` rests on realised ones
    gain: Gain | None = None  # the latest measurement that judged rows of it; None if none did


class PolicyDecision(Record):
    """The policy's decision, with its reasons."""

    retrain: bool
    # What calls for a training, or would.
    by: tuple[Literal["gain", "drift", "performance", "schedule", "manual"], ...] = ()
    reasons: tuple[str, ...] = ()
    # Why nothing is trained although something called for it: `cooldown`, `persistence`, `rows`,
    # `duplicate`, `running`, `no gain`, `not asked`, `superseded` or `unchanged`; empty when it
    # trains.
    withheld: str = ""
    sentence: str = ""
    gain: Gain | None = None  # what the decision rests on; None where it rests on none
    weighed: GainAnswer = ""  # the conclusion from that measurement
    training: TrainingKind = "search"  # training, training_reason: when it trains: which, and why
    training_reason: str = ""
