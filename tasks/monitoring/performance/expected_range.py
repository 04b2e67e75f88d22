"""A metric of labelled predictions, and its ordinary range from window to window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite, sqrt

import numpy as np

from tasks.base.arrays import Floats, Mask
from tasks.base.runtime.libraries import scipy
from tasks.base.training_records import MetricValue, Schema
from tasks.metrics.bootstrap import Plan, interval, resampling, spread_of, time_blocks
from tasks.metrics.random_effects import RandomEffects, random_effects
from tasks.metrics.scorer import sampled
from tasks.monitoring.performance.labelled_predictions import Answers
from tasks.monitoring.performance.metric_scales import Scale, limits, scale_of

ROOM = 0.65
"""Of the share of ordinary windows that may count as worse.

Heavy tails and windows that resemble their neighbours cost up to a half more than independent
normal deviations. The share this needs is measured by ``tests/benchmarks/performance_alarms.py``.
"""
VARIATION = 0.2
"""Scale of the half-normal prior of the deviation between windows, in logits or logarithms.

With it a ROC AUC of 0.80 lies in 0.77 to 0.83 in two windows of three, an error in 82 % to 122 %.
"""
FARTHEST = 0.7
"""Greatest distance of a limit from the expected metric, beyond noise, in logits or logarithms.

However much the reference varied, a ROC AUC that fell from 0.94 to 0.84 and an error that
doubled matter.
"""
_REPLICATES = 200
_MOST_BLOCKS = 60
_FEW_BLOCKS = 3
_PARTS = 6


@dataclass(frozen=True)
class Measured:
    """A defined metric."""

    value: float
    spread: float  # standard error from the bootstrap; not a number where there is none
    ends: MetricValue


@dataclass(frozen=True)
class Ordinary:
    """The ordinary range of a metric in a window, as the reference shows it."""

    effects: RandomEffects  # of a new window's metric on `scale`, without sampling noise
    blocks: int  # blocks of the window's length that the reference holds
    low: float  # low, high: least and greatest metric of the blocks
    high: float
    scale: Scale

    @property
    def centre(self) -> float:
        """The expected metric of a new window."""
        return self.scale.back(self.effects.centre)

    def limit(self, spread: float, false_alarms: float, *, greater: bool) -> float:
        """Return the value beyond which a window of standard error `spread` is not ordinary."""
        of_window = (self.scale.slope(self.centre) * spread) ** 2
        share = ROOM * false_alarms if greater else 1 - ROOM * false_alarms
        place = self.effects.quantile(share, of_window)
        if self.scale.name != "plain":
            farthest = FARTHEST + abs(float(scipy.special.ndtri(share))) * sqrt(of_window)
            least, most = self.effects.centre - farthest, self.effects.centre + farthest
            place = min(max(place, least), most)
        return self.scale.back(place)


def plan_of(answers: Answers, roles: Schema, replicates: int, seed: int) -> Plan:
    """Return a bootstrap plan over blocks in time, or over rows where there is no time."""
    # The blocks of a ranking are its groups.
    blocks = None if answers.times is None else time_blocks(answers.times)
    if answers.queries is not None:
        blocks = answers.queries.groups
    curves = len(roles.classes) if len(roles.classes) > 2 else 1
    return resampling(answers.rows, blocks, replicates, seed, curves=curves)


def measure(
    answers: Answers,
    roles: Schema,
    metric: str,
    *,
    seed: int = 0,
    replicates: int = _REPLICATES,
) -> Measured | None:
    """Return the metric of labelled predictions; None where undefined, or EvidenceError."""
    if not answers.rows or (roles.classes and len(np.unique(answers.truth)) < 2):
        return None
    plan = plan_of(answers, roles, replicates, seed)
    value, drawn = scored(answers, roles, metric, plan)
    if not isfinite(value):
        return None
    spread, ends = spread_of(drawn, plan.n_units), interval(drawn, 0.95, plan.n_units)
    if ends is None or ends[0] == ends[1]:
        return Measured(value, spread, MetricValue(value=value))
    stated = MetricValue(value=value, low=min(ends[0], value), high=max(ends[1], value))
    return Measured(value, spread, stated)


def scored(answers: Answers, roles: Schema, metric: str, plan: Plan) -> tuple[float, Floats]:
    """Return the metric of labelled predictions and of every replicate of `plan`."""
    truth, predicted = answers.truth, answers.predicted
    if roles.classes:
        names = np.asarray([*roles.classes, None], dtype=object)
        truth, predicted = names[truth], names[predicted]
    return sampled(metric, truth, predicted, answers.probability, roles, plan, answers.queries)


def ordinary(
    reference: Answers,
    roles: Schema,
    metric: str,
    *,
    length: timedelta,
    min_rows: int,
    seed: int = 0,
) -> Ordinary | None:
    """Return the ordinary range by the reference, all of it labelled; None without a metric.

    The reference is cut into contiguous blocks of the window's length, back from its newest row. A
    block's metric is taken as the sum of a common mean, the block's own deviation and sampling
    noise. The standard deviation between blocks has a weakly informative half-normal prior (Gelman
    2006, Bayesian Analysis 1; Röver et al. 2021, Research Synthesis Methods 12), so that one block
    or two leave a range that is neither nothing nor everything, and the data decide where there are
    many. A new window's metric follows the posterior predictive distribution (Gelman et al. 2013,
    Bayesian data analysis, section 5.4). With one block or two, six shorter parts of the reference
    widen the prior where these vary more. Rows without a time leave sampling noise alone. All of it
    is computed on the metric's own scale, see `tasks.monitoring.performance.metric_scales`.
    """
    blocks = _blocks(reference, length)
    found = _measured_each(reference, blocks, roles, metric, min_rows, seed)
    if len(found) >= _FEW_BLOCKS:
        return combined(None, found, [], metric)
    all_of_it = measure(reference, roles, metric, seed=seed)
    if all_of_it is None or not isfinite(all_of_it.spread):
        return None
    fewest = min(min_rows, reference.rows // (2 * _PARTS))
    parts = _measured_each(reference, _parts(reference), roles, metric, fewest, seed)
    return combined(all_of_it, found, parts, metric, timed=reference.times is not None)


def combined(
    all_of_it: Measured | None,
    found: Sequence[Measured],
    parts: Sequence[Measured],
    metric: str,
    *,
    timed: bool = True,
) -> Ordinary:
    """Return the ordinary range from the metric of the reference and of its blocks."""
    # Two blocks or more do without `all_of_it`; shorter `parts` are for few blocks.
    centres = [all_of_it] if all_of_it is not None and len(found) < 2 else found
    scale = scale_of(metric, [m.value for m in (*centres, *found, *parts)])
    placed, noise = _on(scale, centres)
    values = [m.value for m in found or centres]
    prior = _prior(metric, scale, placed, noise, _on(scale, parts)) if timed else 0.0
    return Ordinary(
        effects=random_effects(placed, noise, prior),
        blocks=len(found),
        low=min(values),
        high=max(values),
        scale=scale,
    )


def _prior(
    metric: str, scale: Scale, placed: Floats, noise: Floats, parts: tuple[Floats, Floats]
) -> float:
    """Return the scale of the prior: what shorter parts vary by, where that is more."""
    # A metric that has no scale of its own varies in proportion to its size; a share of exactly 0
    # or 1, which has no logit, by no more than its noise.
    usual = VARIATION
    if scale.name == "plain":
        size = 0.0 if limits(metric) == (0.0, 1.0) else VARIATION * abs(float(placed.mean()))
        usual = max(size, float(np.sqrt(noise.mean())))
    few, of_few = parts
    if len(few) < 2:
        return usual
    return max(usual, sqrt(max(0.0, float(few.var(ddof=1)) - float(of_few.mean()))))


def _on(scale: Scale, found: Sequence[Measured]) -> tuple[Floats, Floats]:
    """Return metrics and their sampling variances on a scale, shape (n_found,) each."""
    placed = np.asarray([scale.of(m.value) for m in found])
    noise = np.asarray([(scale.slope(m.value) * m.spread) ** 2 for m in found])
    return placed, noise


def _measured_each(
    reference: Answers, masks: list[Mask], roles: Schema, metric: str, fewest: int, seed: int
) -> list[Measured]:
    usable = [reference.only(mask) for mask in masks if mask.sum() >= max(2, fewest)]
    found = [measure(part, roles, metric, seed=seed, replicates=100) for part in usable]
    return [m for m in found if m is not None and isfinite(m.spread)]


def _blocks(reference: Answers, length: timedelta) -> list[Mask]:
    """Return the whole blocks of `length`, the newest first; the oldest may lack a tenth."""
    if reference.times is None:
        return []
    back = (np.nanmax(reference.times) - reference.times) / np.timedelta64(length)
    back = np.where(np.isnat(reference.times), np.inf, back)
    span = float(back[np.isfinite(back)].max())
    whole = min(int(span + 0.1), _MOST_BLOCKS)
    return [np.asarray((back >= n) & (back < n + 1)) for n in range(whole)]


def _parts(reference: Answers) -> list[Mask]:
    """Return six parts with as many rows each, in time order."""
    if reference.times is None:
        return []
    order = np.argsort(reference.times, kind="stable")
    masks = []
    for rows in np.array_split(order, _PARTS):
        mask = np.zeros(reference.rows, dtype=bool)
        mask[rows] = True
        masks.append(mask)
    return masks
