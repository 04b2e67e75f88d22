"""Performance where no label is known: what the model's own predictions lead to expect.

An estimate rests on the reference: rows over the training span, with labels, that the model had
not learned from, weighted by how frequent rows like them are in the window. It sees what a shift
of the covariates does to the metric, and can't see a change in how the target depends on them. How
far it misses is measured on the reference itself, see `estimate_error`; where it is clearly worse
than the metric of older rows there, there is no estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np

from tasks.base.training_records import Kind, MetricValue, Schema
from tasks.metrics.plugin_metrics import is_own
from tasks.metrics.random_effects import mixed
from tasks.monitoring.performance.estimation.covariate_shift import in_time, thinned
from tasks.monitoring.performance.estimation.estimate_error import (
    Learner,
    Missed,
    OwnError,
    lag_of,
    own_error,
)
from tasks.monitoring.performance.estimation.expected_metrics import learned_from
from tasks.monitoring.performance.expected_range import measure, plan_of
from tasks.monitoring.performance.labelled_predictions import Answers
from tasks.monitoring.performance.metric_scales import place_on

CAUTION = "An estimate can't see a change in how the target depends on the features."
_OF_ERROR = ("mae", "mse", "rmse")
_NOT_EXPECTED = ("calibration_error",)
_REFERENCE_ROWS, _WEIGHTED_ROWS = 50_000, 20_000
_FARTHEST = 10.0


@dataclass(frozen=True)
class Estimate:
    """An estimated metric; without a value where none can be had, as the sentence explains."""

    # With an interval for what comes true on the window's own rows: the chance of their labels,
    # what was learned, and how far estimates missed on the reference.
    value: MetricValue
    spread: float = float("nan")  # standard error, of its rows and of what was learned
    error: float = 0.0  # by how much two estimates in three miss; grows with time
    sentence: str = ""
    missed: Missed | None = None  # None where nothing could be estimated on parts of the reference


def estimate(
    window: Answers,
    reference: Answers,
    roles: Schema,
    metric: str,
    *,
    kinds: Mapping[str, Kind] | None = None,
    seed: int = 0,
    min_rows: int = 200,
) -> Estimate:
    """Return the metric to expect of `window`, whose labels are not looked at."""
    # `reference`: labelled predictions of the same version on rows it had not learned from,
    # weighted by the columns of `kinds` where both sides have features; `min_rows`: fewest of
    # either side.
    weighted = kinds is not None and reference.features is not None
    most = _WEIGHTED_ROWS if weighted else _REFERENCE_ROWS
    known = in_time(thinned(reference.of_labelled, most))
    problem = _problem(window, known, roles, metric, min_rows)
    if problem:
        return Estimate(MetricValue(value=None), sentence=problem)
    learner = Learner(known, roles, metric, kinds, seed)
    own = own_error(learner, min(window.rows, most))
    if own is not None and own.missed.misleads:
        sentence = own.missed.sentence(metric)
        return Estimate(MetricValue(value=None), sentence=sentence, missed=own.missed)
    ratio = learner.ratio(window)
    learned = learned_from(known, roles, metric, seed, ratio)
    plan = plan_of(window, roles, 200, seed)
    value, replicates = learned.expected(window, plan)
    if not np.isfinite(value):
        return Estimate(MetricValue(value=None), sentence=f"{metric} is not defined here.")
    fits = learner.spread(window, ratio)
    sampled = float(np.nanstd(replicates)) if plan.replicates else float("nan")
    spread = float(np.hypot(sampled, fits))
    usual = measure(known, roles, metric, seed=seed, replicates=50)
    if own is None or usual is None or not isfinite(spread) or not isfinite(usual.spread):
        return Estimate(MetricValue(value=value), spread, sentence=CAUTION)
    chance = learned.chance(window, np.random.default_rng(seed))
    factor = max(1.0, min(_FARTHEST, lag_of(known, window) / own.lag)) if own.lag else 1.0
    expected = (value, float(np.hypot(chance, fits)))
    older = (usual.value, float(np.hypot(np.hypot(chance, sampled), usual.spread)))
    stated, error = _stated(expected, older, own, factor)
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


def _stated(
    expected: tuple[float, float], usual: tuple[float, float], own: OwnError, factor: float
) -> tuple[MetricValue, float]:
    """Return the estimate with an interval for what comes true, and its own error."""
    # The interval averages over the window's expected metric and the reference's own, each with its
    # standard error.
    scale, share, value = own.scale, own.missed.share, expected[0]
    places = [place_on(scale, one, usual[0]) for one, _ in (expected, usual)]
    slopes = [scale.slope(scale.back(place)) for place in places]
    noise = [(s * error) ** 2 for s, (_, error) in zip(slopes, (expected, usual), strict=True)]
    drawn = mixed(
        own.effects.around(places[0], noise[0]), own.constant.around(places[1], noise[1]), share
    )
    exact = mixed(own.effects.around(places[0], 0.0), own.constant.around(places[1], 0.0), share)
    low, high = (scale.back(drawn.quantile(tail, 0.0, factor)) for tail in (0.025, 0.975))
    ends = [scale.back(exact.quantile(tail, 0.0, factor)) for tail in (0.1585, 0.8415)]
    stated = MetricValue(value=value, low=min(low, value), high=max(high, value))
    return stated, (ends[1] - ends[0]) / 2
