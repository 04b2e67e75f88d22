"""Performance where no label is known: what the model's own answers lead to expect.

An estimate rests on the reference: rows over the training span, with labels, that the model had
not learned from. It sees what a shift of the answers does to the metric, and can't see a change
in how the target depends on the features. How far it misses is measured on the reference itself,
forward in time: what was learned on its older rows, on the parts that followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, sqrt

import numpy as np

from tasks.base.records import MetricValue, Schema
from tasks.metrics.bootstrap import Floats, whole
from tasks.metrics.plugin_metrics import is_own
from tasks.monitoring.answers import Answers
from tasks.monitoring.measuring import measure, plan_of
from tasks.monitoring.performance.expected_metrics import Learned, learned_from, thinned
from tasks.monitoring.performance.random_effects import RandomEffects, random_effects
from tasks.monitoring.scales import Scale, scale_of

CAUTION = "An estimate can't see a change in how the target depends on the features."
_OF_ERROR = ("mae", "mse", "rmse")
_NOT_EXPECTED = ("calibration_error",)
_REFITS = 20
_REFIT_ROWS = 50_000
_FEWEST_PARTS, _MOST_PARTS = 6, 12
_LEARNED_FIRST = 1 / 3
"""Share of the reference that is learned from to see how estimates of the rest miss."""
ERROR = 0.05
"""Scale of the half-Cauchy prior of an estimate's own error, in logits or logarithms."""
WORSE = 0.5
"""By how much the evidence (a natural logarithm) may speak for the reference's own value."""
_FARTHEST = 10.0


@dataclass(frozen=True)
class Missed:
    """How estimates of the reference's parts miss what came true there, forward in time.

    Attributes
    ----------
    estimates, constant
        Root mean square of the misses: of the estimates, and of the metric of the oldest rows
        taken for the part's.
    evidence
        Natural logarithm of how many times likelier the estimates' misses are than those of the
        oldest rows' metric, each with an own error beyond chance.
    """

    parts: int
    estimates: float
    constant: float
    evidence: float

    @property
    def misleads(self) -> bool:
        """Whether the reference's own value is the better estimate."""
        return self.evidence < -WORSE

    def sentence(self, metric: str) -> str:
        """Return why there is no estimate."""
        return (
            f"{metric} is not estimated without labels: on {self.parts} parts of the reference "
            f"the estimate missed by {self.estimates:.2g}, the metric of older rows by "
            f"{self.constant:.2g}."
        )


@dataclass(frozen=True)
class Estimate:
    """An estimated metric; without a value where it can't be had, and the sentence says why.

    Attributes
    ----------
    value
        With an interval for what comes true on the window's own rows: the chance of their
        labels, and how far estimates missed on the reference.
    spread
        Standard error of the window's expected metric: of which rows it has, and of what was
        learned on the reference.
    error
        By how much two estimates in three miss what their window's rows make likely; grows with
        the time since the reference.
    missed
        None where nothing could be estimated on parts of the reference.
    """

    value: MetricValue
    spread: float = float("nan")
    error: float = 0.0
    sentence: str = ""
    missed: Missed | None = None


@dataclass(frozen=True)
class _Own:
    """The misses of estimates on a scale, and how long after what they learned from."""

    scale: Scale
    effects: RandomEffects
    lag: float
    missed: Missed


def estimate(
    window: Answers,
    reference: Answers,
    roles: Schema,
    metric: str,
    *,
    seed: int = 0,
    min_rows: int = 200,
    confidence: float = 0.95,
) -> Estimate:
    """Return the metric to expect of `window`, whose labels are not looked at.

    Parameters
    ----------
    reference
        Answers of the same version on rows it had not learned from, with their labels.
    min_rows
        Fewest rows of either side.
    """
    known = _in_time(thinned(reference.of_labelled, _REFIT_ROWS))
    problem = _problem(window, known, roles, metric, min_rows)
    if problem:
        return Estimate(MetricValue(value=None), sentence=problem)
    own = _own_error(known, roles, metric, min(window.rows, _REFIT_ROWS), seed)
    if own is not None and own.missed.misleads:
        said = own.missed.sentence(metric)
        return Estimate(MetricValue(value=None), sentence=said, missed=own.missed)
    learned = learned_from(known, roles, metric, seed)
    plan = plan_of(window, roles, 200, seed)
    value, replicates = learned.expected(window, plan)
    if not np.isfinite(value):
        return Estimate(MetricValue(value=None), sentence=f"{metric} is not defined here.")
    fits = _learning_spread(window, known, roles, metric, seed)
    sampled = float(np.nanstd(replicates)) if plan.replicates else float("nan")
    spread = float(np.hypot(sampled, fits))
    if own is None:
        return Estimate(MetricValue(value=value), spread, sentence=CAUTION)
    chance = learned.chance(window, np.random.default_rng(seed))
    factor = max(1.0, min(_FARTHEST, _lag(known, window) / own.lag)) if own.lag else 1.0
    return Estimate(
        value=_between(value, chance, own, factor, confidence),
        spread=spread,
        error=_half_width(value, own, factor),
        sentence=CAUTION,
        missed=own.missed,
    )


def _problem(window: Answers, known: Answers, roles: Schema, metric: str, min_rows: int) -> str:
    """Return why there is no estimate; empty when there is one."""
    if roles.classes and (metric in _NOT_EXPECTED or is_own(metric, roles.own)):
        return f"{metric} can't be estimated without labels."
    if not roles.classes and metric not in _OF_ERROR:
        others = "" if roles.group else f"; {', '.join(_OF_ERROR)} can"
        return f"{metric} can't be estimated without labels{others}."
    if roles.classes and (window.probability is None or known.probability is None):
        return "Without probabilities nothing can be estimated."
    if known.rows < min_rows:
        return (
            f"The reference has {known.rows:,} labelled rows; {min_rows:,} are needed to estimate."
        )
    if window.rows < min_rows:
        return f"The window has {window.rows:,} rows; {min_rows:,} are needed to estimate."
    if roles.classes and len(np.unique(known.truth)) < 2:
        return "The reference has one class only; nothing can be estimated from it."
    return ""


@dataclass(frozen=True)
class _Part:
    """A part of the reference: what came true, and what the oldest rows led to expect."""

    true: float
    spread: float
    told: float
    chance: float
    lag: float


def _own_error(known: Answers, roles: Schema, metric: str, rows: int, seed: int) -> _Own | None:
    """Return by how much estimates of the reference's newer parts miss what came true there.

    As in production, what was learned once, here on the oldest third, is applied to all that
    follows; each part has about the window's `rows`.
    """
    first = int(known.rows * _LEARNED_FIRST)
    past = known.only(np.arange(first))
    usual = measure(past, roles, metric, seed=seed, replicates=0)
    if usual is None:
        return None
    learned = learned_from(past, roles, metric, seed)
    count = int(np.clip((known.rows - first) // max(1, rows), _FEWEST_PARTS, _MOST_PARTS))
    edges = np.linspace(first, known.rows, count + 1).astype(np.int64)
    parts = []
    for start, end in pairwise(edges):
        there = known.only(np.arange(start, end))
        true = measure(there, roles, metric, seed=seed, replicates=50)
        told = learned.expected(there, whole(there.rows))[0]
        chance = learned.chance(there, np.random.default_rng(seed))
        if true is not None and all(isfinite(n) for n in (told, chance, true.spread)):
            parts.append(_Part(true.value, true.spread, told, chance, _lag(past, there)))
    return _own_of(parts, usual.value, metric) if parts else None


def _own_of(parts: Sequence[_Part], usual: float, metric: str) -> _Own:
    """Return the misses' distribution, held against that of the oldest rows' metric."""
    true, told = (np.array([getattr(part, name) for part in parts]) for name in ("true", "told"))
    scale = scale_of(metric, [*true, *told, usual])
    prior = ERROR if scale.name != "plain" else ERROR * abs(float(true.mean())) or ERROR
    lags = np.array([part.lag for part in parts])
    lag = float(lags.mean())
    factors = np.maximum(lags / lag, 0.1) if lag else None

    def missed(values: Floats, noise: Sequence[float]) -> RandomEffects:
        off = np.array([scale.of(v) - scale.of(t) for v, t in zip(values, true, strict=True)])
        slopes = np.array([scale.slope(t) for t in true])
        variances = (slopes * np.asarray(noise)) ** 2
        return random_effects(off, variances, prior, freedom=1, centre=0.0, factors=factors)

    effects = missed(told, [part.chance for part in parts])
    constant = missed(np.full(len(parts), usual), [part.spread for part in parts])
    summary = Missed(
        parts=len(parts),
        estimates=sqrt(float(np.mean((told - true) ** 2))),
        constant=sqrt(float(np.mean((usual - true) ** 2))),
        evidence=effects.log_evidence - constant.log_evidence,
    )
    return _Own(scale, effects, lag, summary)


def _lag(past: Answers, later: Answers) -> float:
    """Return the seconds from the middle of earlier rows to that of later ones; 0 without times."""
    if past.times is None or later.times is None:
        return 0.0
    middle = [
        times[~np.isnat(times)].astype("datetime64[us]").astype(np.float64)
        for times in (past.times, later.times)
    ]
    return max(0.0, float(middle[1].mean() - middle[0].mean()) / 1e6)


def _in_time(answers: Answers) -> Answers:
    """Return the rows in the order of their times."""
    if answers.times is None:
        return answers
    return answers.only(np.argsort(answers.times, kind="stable"))


def _learning_spread(
    window: Answers, known: Answers, roles: Schema, metric: str, seed: int
) -> float:
    """Return how much the estimate would move, had other rows of the reference been drawn."""
    few = thinned(window, _REFIT_ROWS)
    plan, one = plan_of(known, roles, _REFITS, seed), whole(few.rows)
    if not plan.replicates:
        return float("nan")
    values = []
    for chunk in plan.weights(known.rows):
        for units in chunk:
            weights = units if plan.units is None else units[plan.units]
            if len(np.unique(known.truth[weights > 0])) > 1:
                learned: Learned = learned_from(known, roles, metric, seed, weights)
                values.append(learned.expected(few, one)[0])
    return float(np.nanstd(values))


def _place(scale: Scale, value: float) -> float:
    """Return a value's place on a scale that may have none for the ends of what it can be."""
    tiny = 1e-9
    if scale.name == "logit":
        return scale.of(min(max(value, tiny), 1 - tiny))
    return scale.of(max(value, tiny)) if scale.name == "log" else scale.of(value)


def _between(
    value: float, chance: float, own: _Own, factor: float, confidence: float
) -> MetricValue:
    """Return `value` with an interval for what comes true, inside what the metric can be."""
    if not isfinite(chance):
        return MetricValue(value=value)
    scale, place = own.scale, _place(own.scale, value)
    noise = (scale.slope(scale.back(place)) * chance) ** 2
    low, high = (
        scale.back(place + own.effects.quantile(share, noise, factor))
        for share in ((1 - confidence) / 2, (1 + confidence) / 2)
    )
    return MetricValue(value=value, low=min(low, value), high=max(high, value))


def _half_width(value: float, own: _Own, factor: float) -> float:
    """Return by how much two of three estimates miss, beyond chance, in the metric's own units."""
    place = _place(own.scale, value)
    reach = own.effects.quantile((1 + 0.683) / 2, 0.0, factor)
    return abs(own.scale.back(place + reach) - own.scale.back(place - reach)) / 2
