"""Performance where no label is known: what the model's own answers lead to expect.

An estimate rests on the reference: rows over the training span, with labels, that the model had
not learned from. It sees what a shift of the answers does to the metric, and can't see a change
in how the target depends on the features. How far it misses is measured on the reference itself,
forward in time: what was learned on its older rows, on the parts that followed. There it is held
against saying "as on the older rows": the interval averages over the two by how likely they make
what came true (Hoeting, Madigan, Raftery and Volinsky 1999, Bayesian model averaging, Statistical
Science 14), and where the estimate is clearly the worse there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, log, sqrt

import numpy as np
from scipy.special import expit

from tasks.base.records import MetricValue, Schema
from tasks.metrics.bootstrap import Floats, whole
from tasks.metrics.plugin_metrics import is_own
from tasks.metrics.random_effects import RandomEffects, mixed, random_effects
from tasks.monitoring.performance.expected_metrics import Learned, learned_from, thinned
from tasks.monitoring.performance.expected_range import Measured, measure, plan_of
from tasks.monitoring.performance.labelled_predictions import Answers
from tasks.monitoring.performance.metric_scales import Scale, scale_of

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
BELIEVED = log(10)
"""Logarithm of the odds, before any evidence, that estimates beat the metric of older rows.

An estimate stands until the evidence against it is stronger than ten to one (Jeffreys 1961, Theory
of probability, appendix B): parts of an unchanged reference favour either by chance.
"""
_LATER_ROWS = 5_000
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
    def share(self) -> float:
        """The probability that the estimate is the better one of the two."""
        return float(expit(self.evidence + BELIEVED))

    @property
    def misleads(self) -> bool:
        """Whether the reference's own metric is clearly the better estimate."""
        return self.share < 0.5

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
        labels, what was learned, and how far estimates missed on the reference.
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
    """Distributions of misses on a scale, and how long after what was learned from they are.

    Attributes
    ----------
    effects, constant
        Of the estimates, and of the metric of older rows.
    lag
        Seconds, on average; 0 without times.
    usual_error
        Standard error of the metric of older rows.
    """

    scale: Scale
    effects: RandomEffects
    constant: RandomEffects
    lag: float
    missed: Missed
    usual_error: float


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
    usual = measure(known, roles, metric, seed=seed, replicates=0)
    if own is None or usual is None or not isfinite(spread):
        return Estimate(MetricValue(value=value), spread, sentence=CAUTION)
    chance = learned.chance(window, np.random.default_rng(seed))
    factor = max(1.0, min(_FARTHEST, _lag(known, window) / own.lag)) if own.lag else 1.0
    at_window = _Both(
        value,
        float(np.hypot(chance, fits)),
        usual.value,
        float(np.hypot(np.hypot(chance, sampled), own.usual_error)),
    )
    stated, error = _stated(at_window, own, factor, confidence)
    return Estimate(stated, spread, error, CAUTION, own.missed)


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
    usual = measure(past, roles, metric, seed=seed, replicates=50)
    if usual is None or not isfinite(usual.spread):
        return None
    learned = learned_from(past, roles, metric, seed)
    later = thinned(known.only(np.arange(first, known.rows)), _LATER_ROWS)
    fits = _learning_spread(later, past, roles, metric, seed)
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
    return _own_of(parts, usual, fits, metric) if parts and isfinite(fits) else None


def _own_of(parts: Sequence[_Part], usual: Measured, fits: float, metric: str) -> _Own:
    """Return the misses' distribution, held against that of the oldest rows' metric.

    Parameters
    ----------
    fits
        Standard error of the estimates from which of the oldest rows there were, which all share.
    """
    true, told = (np.array([getattr(part, name) for part in parts]) for name in ("true", "told"))
    scale = scale_of(metric, [*true, *told, usual.value])
    prior = ERROR if scale.name != "plain" else ERROR * abs(float(true.mean())) or ERROR
    lags = np.array([part.lag for part in parts])
    lag = float(lags.mean())
    factors = np.maximum(lags / lag, 0.1) if lag else None

    slopes = np.array([scale.slope(value) for value in true])

    def missed(values: Floats, noise: Sequence[float], shared: float) -> RandomEffects:
        off = np.array([scale.of(v) - scale.of(t) for v, t in zip(values, true, strict=True)])
        return random_effects(
            off,
            (slopes * np.asarray(noise)) ** 2,
            prior,
            freedom=1,
            centre=0.0,
            shared=float(slopes.mean() * shared) ** 2,
            factors=factors,
        )

    effects = missed(told, [part.chance for part in parts], fits)
    constants = np.full(len(parts), usual.value)
    constant = missed(constants, [part.spread for part in parts], usual.spread)
    summary = Missed(
        parts=len(parts),
        estimates=sqrt(float(np.mean((told - true) ** 2))),
        constant=sqrt(float(np.mean((constants - true) ** 2))),
        evidence=effects.log_evidence - constant.log_evidence,
    )
    return _Own(scale, effects, constant, lag, summary, usual.spread)


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


@dataclass(frozen=True)
class _Both:
    """A window's estimate and the reference's own metric, each with its standard error."""

    told: float
    told_error: float
    usual: float
    usual_error: float


def _stated(both: _Both, own: _Own, factor: float, confidence: float) -> tuple[MetricValue, float]:
    """Return the estimate with an interval for what comes true, and its own error.

    The interval averages over the estimate and the reference's own metric.
    """
    scale, share = own.scale, own.missed.share
    places = [_place(scale, value) for value in (both.told, both.usual)]
    slopes = [scale.slope(scale.back(place)) for place in places]
    errors = (both.told_error, both.usual_error)
    noise = [(slope * error) ** 2 for slope, error in zip(slopes, errors, strict=True)]
    drawn = mixed(
        own.effects.around(places[0], noise[0]), own.constant.around(places[1], noise[1]), share
    )
    exact = mixed(own.effects.around(places[0], 0.0), own.constant.around(places[1], 0.0), share)
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    low, high = (scale.back(drawn.quantile(tail, 0.0, factor)) for tail in tails)
    value = both.told
    ends = [scale.back(exact.quantile(tail, 0.0, factor)) for tail in (0.1585, 0.8415)]
    stated = MetricValue(value=value, low=min(low, value), high=max(high, value))
    return stated, (ends[1] - ends[0]) / 2
