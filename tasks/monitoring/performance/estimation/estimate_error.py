"""Errors of estimates without labels, measured on the reference's own parts, forward in time.

What was learned on the oldest rows is applied to the parts that followed, as in production. There
the estimate is compared with "as on the older rows": a window's interval averages over the
two by how likely they make what came true (Hoeting, Madigan, Raftery and Volinsky 1999,
Bayesian model averaging, Statistical Science 14). Misses grow with the time since the rows that
were learned from, as a random walk's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from math import isfinite, log, sqrt

import numpy as np

from tasks.base.arrays import Floats
from tasks.base.runtime.libraries import scipy
from tasks.base.training_records import Kind, Schema
from tasks.metrics.bootstrap import whole
from tasks.metrics.random_effects import RandomEffects, random_effects
from tasks.monitoring.performance.estimation.covariate_shift import thinned, weights_of
from tasks.monitoring.performance.estimation.expected_metrics import learned_from
from tasks.monitoring.performance.expected_range import Measured, measure, plan_of
from tasks.monitoring.performance.labelled_predictions import Answers
from tasks.monitoring.performance.metric_scales import Scale, place_on, scale_of

ERROR = 0.05  # scale of the half-Cauchy prior of an estimate's own error, in logits or logarithms
BELIEVED = log(10)
"""Logarithm of the odds, before any evidence, that estimates beat the metric of older rows.

An estimate stands until the evidence against it is stronger than ten to one (Jeffreys 1961, Theory
of probability, appendix B): parts of an unchanged reference favour either by chance.
"""
_REFITS = 20
_FEWEST_PARTS, _MOST_PARTS = 6, 12
_LEARNED_FIRST = 1 / 3  # of the reference: to see how estimates of the rest miss
_KEPT = 8


@dataclass(frozen=True)
class Missed:
    """Errors of estimates on the reference's parts, forward in time."""

    parts: int
    estimates: float  # root mean square error of the estimates; `constant`: of old rows' metric
    constant: float
    # Natural logarithm of how many times likelier the estimates' misses are than those of the
    # oldest rows' metric, each with an own error beyond chance.
    evidence: float

    @property
    def share(self) -> float:
        """The probability that the estimate is the better one of the two."""
        return float(scipy.special.expit(self.evidence + BELIEVED))

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
class OwnError:
    """Distributions of errors on a scale, and their distance in time from the rows learned from."""

    scale: Scale
    effects: RandomEffects  # effects, constant: of the estimates; of older rows' metric
    constant: RandomEffects
    lag: float  # seconds, on average; 0 without times
    missed: Missed


@dataclass(frozen=True, eq=False)
class Learner:
    """Labelled rows of the reference in time, and what they teach; equal if their answers are."""

    known: Answers
    roles: Schema
    metric: str
    kinds: Mapping[str, Kind] | None  # of the columns by which rows are weighted, if any
    seed: int

    @cached_property
    def _digest(self) -> str:
        known = self.known
        made = hashlib.blake2b(repr([self.metric, self.kinds, self.seed]).encode())
        for values in (known.truth, known.predicted, known.probability, known.times):
            if values is not None:
                made.update(np.ascontiguousarray(values).view(np.uint8).data)
        return made.hexdigest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Learner) and self._digest == other._digest

    def ratio(self, window: Answers) -> Floats | None:
        """Return the density ratio of each reference row in a window."""
        return None if self.kinds is None else weights_of(self.known, window, self.kinds)

    def spread(self, window: Answers, ratio: Floats | None) -> float:
        """Return the spread of the estimate over other draws of reference rows."""
        few, known = thinned(window), self.known
        plan, one = plan_of(known, self.roles, _REFITS, self.seed), whole(few.rows)
        if not plan.replicates:
            return float("nan")
        values = []
        for chunk in plan.weights(known.rows):
            for units in chunk:
                weights = units if plan.units is None else units[plan.units]
                weights = weights if ratio is None else weights * ratio
                if len(np.unique(known.truth[weights > 0])) > 1:
                    learned = learned_from(known, self.roles, self.metric, self.seed, weights)
                    values.append(learned.expected(few, one)[0])
        return float(np.nanstd(values))


@dataclass(frozen=True)
class _Part:
    """A part of the reference: what came true, and what the oldest rows led to expect."""

    true: float
    spread: float
    expected: float
    chance: float
    lag: float


def own_error(learner: Learner, rows: int) -> OwnError | None:
    """Return how estimates of the reference's newer parts of about `rows` miss what came true."""
    left = learner.known.rows - _first(learner.known)
    return _measured(learner, int(np.clip(left // max(1, rows), _FEWEST_PARTS, _MOST_PARTS)))


def _first(known: Answers) -> int:
    return int(known.rows * _LEARNED_FIRST)


@lru_cache(maxsize=_KEPT)
def _measured(learner: Learner, count: int) -> OwnError | None:
    known, roles, metric, seed = learner.known, learner.roles, learner.metric, learner.seed
    first = _first(known)
    past = known.only(np.arange(first))
    usual = measure(past, roles, metric, seed=seed, replicates=50)
    if usual is None or not isfinite(usual.spread):
        return None
    older = Learner(past, roles, metric, learner.kinds, seed)
    fits = older.spread(known.only(np.arange(first, known.rows)), None)
    edges = np.linspace(first, known.rows, count + 1).astype(np.int64)
    parts = []
    for start, end in pairwise(edges):
        there = known.only(np.arange(start, end))
        learned = learned_from(past, roles, metric, seed, older.ratio(there))
        true = measure(there, roles, metric, seed=seed, replicates=50)
        expected = learned.expected(there, whole(there.rows))[0]
        chance = learned.chance(there, np.random.default_rng(seed))
        if true is not None and all(isfinite(n) for n in (expected, chance, true.spread)):
            parts.append(_Part(true.value, true.spread, expected, chance, lag_of(past, there)))
    return _own_of(parts, usual, fits, metric) if parts and isfinite(fits) else None


def _own_of(parts: Sequence[_Part], usual: Measured, fits: float, metric: str) -> OwnError:
    """Return the misses' distribution, held against that of the oldest rows' metric."""
    # `fits`: standard error of estimates from which oldest rows there were, which all share.
    true, expected = (np.array([getattr(p, name) for p in parts]) for name in ("true", "expected"))
    scale = scale_of(metric, [*true, *expected, usual.value])
    prior = ERROR if scale.name != "plain" else ERROR * abs(float(true.mean())) or ERROR
    lags = np.array([part.lag for part in parts])
    lag = float(lags.mean())
    factors = np.maximum(lags / lag, 0.1) if lag else None
    slopes = np.array([scale.slope(value) for value in true])

    def missed(values: Floats, noise: Sequence[float], shared: float) -> RandomEffects:
        at, came = ([place_on(scale, v, usual.value) for v in many] for many in (values, true))
        off = np.array(at) - np.array(came)
        return random_effects(
            off,
            (slopes * np.asarray(noise)) ** 2,
            prior,
            freedom=1,
            centre=0.0,
            shared=float(slopes.mean() * shared) ** 2,
            factors=factors,
        )

    effects = missed(expected, [part.chance for part in parts], fits)
    constants = np.full(len(parts), usual.value)
    constant = missed(constants, [part.spread for part in parts], usual.spread)
    summary = Missed(
        parts=len(parts),
        estimates=sqrt(float(np.mean((expected - true) ** 2))),
        constant=sqrt(float(np.mean((constants - true) ** 2))),
        evidence=effects.log_evidence - constant.log_evidence,
    )
    return OwnError(scale, effects, constant, lag, summary)


def lag_of(past: Answers, later: Answers) -> float:
    """Return the seconds from the middle of earlier rows to that of later ones; 0 without times."""
    if past.times is None or later.times is None:
        return 0.0
    middle = [
        times[~np.isnat(times)].astype("datetime64[us]").astype(np.float64)
        for times in (past.times, later.times)
    ]
    return max(0.0, float(middle[1].mean() - middle[0].mean()) / 1e6)
