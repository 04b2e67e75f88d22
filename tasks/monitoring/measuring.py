"""A metric of answers whose labels are known, and what of it is ordinary from window to window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite, sqrt

import numpy as np

from tasks.base.records import MetricValue, Schema
from tasks.evaluation.bootstrap import Floats, Plan, interval, resampling, time_blocks
from tasks.evaluation.metrics import sampled
from tasks.monitoring.answers import Answers, Mask
from tasks.monitoring.scales import Scale, scale_of

ROOM = 0.7
"""Of the share of ordinary windows that may count as worse, where the holdout's windows vary.

A Student interval has its level where deviations are independent and normal; heavier tails and
windows that resemble their neighbours cost up to a half more. What room that takes is measured by
``tests/benchmarks/performance_alarms.py``.
"""
_REPLICATES = 200
_MOST_BLOCKS = 60
_FEW_BLOCKS = 3
_PARTS = 6


@dataclass(frozen=True)
class Measured:
    """A defined metric.

    Attributes
    ----------
    spread
        Standard error from the bootstrap; not a number where there is none.
    """

    value: float
    spread: float
    ends: MetricValue


@dataclass(frozen=True)
class Ordinary:
    """What a metric ordinarily is in a window, as the holdout shows it.

    Attributes
    ----------
    centre
        Mean over the holdout's blocks of the window's length, taken on `scale`; its own metric
        where they are few.
    variance
        On `scale`, of `centre` and of the variation from window to window together, without the
        sampling of the window that is to be judged.
    freedom
        Degrees of freedom of `variance`; infinite where the rows have no time.
    blocks
        Blocks of the window's length that the holdout holds.
    low, high
        Least and greatest metric of the blocks.
    """

    centre: float
    variance: float
    freedom: float
    blocks: int
    low: float
    high: float
    scale: Scale

    def limit(self, spread: float, false_alarms: float, *, greater: bool) -> float:
        """Return the value beyond which a window, itself known to `spread`, is not ordinary."""
        from scipy.special import ndtri, stdtrit

        # With two windows or fewer the limit is far off as it is, and lets hardly any pass.
        share = false_alarms * (ROOM if self.blocks >= _FEW_BLOCKS else 1.0)
        quantile = (
            float(stdtrit(self.freedom, 1 - share))
            if isfinite(self.freedom)
            else float(ndtri(1 - share))
        )
        of_window = (self.scale.slope(self.centre) * spread) ** 2
        reach = quantile * sqrt(self.variance + of_window)
        middle = self.scale.of(self.centre)
        return self.scale.back(middle - reach if greater else middle + reach)


def plan_of(answers: Answers, roles: Schema, replicates: int, seed: int) -> Plan:
    """Return a bootstrap plan over blocks in time, or over rows where there is no time.

    The blocks of a ranking are its groups.
    """
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
    confidence: float = 0.95,
) -> Measured | None:
    """Return the metric of labelled answers; None where it is not defined.

    Raises
    ------
    EvidenceError
        When the metric is not one of the task.
    """
    if not answers.rows or (roles.classes and len(np.unique(answers.truth)) < 2):
        return None
    plan = plan_of(answers, roles, replicates, seed)
    value, drawn = scored(answers, roles, metric, plan)
    if not isfinite(value):
        return None
    finite = drawn[np.isfinite(drawn)]
    if not plan.replicates or finite.size < 2:
        return Measured(value, float("nan"), MetricValue(value=value))
    # With few units a bootstrap draws too narrow (Hesterberg 2015, section 3.2).
    spread = float(finite.std(ddof=1)) * sqrt(plan.n_units / (plan.n_units - 1))
    ends = interval(drawn, confidence, plan.n_units)
    if ends is None or ends[0] == ends[1]:
        return Measured(value, spread, MetricValue(value=value))
    stated = MetricValue(value=value, low=min(ends[0], value), high=max(ends[1], value))
    return Measured(value, spread, stated)


def scored(answers: Answers, roles: Schema, metric: str, plan: Plan) -> tuple[float, Floats]:
    """Return the metric of labelled answers and of every replicate of `plan`."""
    truth, predicted = answers.truth, answers.predicted
    if roles.classes:
        names = np.asarray([*roles.classes, None], dtype=object)
        truth, predicted = names[truth], names[predicted]
    return sampled(metric, truth, predicted, answers.probability, roles, plan, answers.queries)


def ordinary(
    holdout: Answers,
    roles: Schema,
    metric: str,
    *,
    length: timedelta,
    min_rows: int,
    seed: int = 0,
) -> Ordinary | None:
    """Return what the holdout, all of it labelled, shows to be ordinary; None without a metric.

    The holdout is cut into contiguous blocks of the window's length, back from its newest row. A
    block's metric is taken as the sum of a common mean, the block's own deviation and sampling
    noise; the deviations' variance is what the blocks vary by beyond their noise, never below
    zero (DerSimonian and Laird 1986). A new window then lies within a Student interval of
    blocks − 1 degrees of freedom about the mean (Higgins, Thompson and Spiegelhalter 2009): few
    blocks give a wide one. With one block or two, deviations are taken from six shorter parts of
    the holdout where these vary more, undiminished although a whole window averages over them,
    and one degree of freedom is left. Rows without a time leave sampling noise alone. All of it is
    reckoned on the metric's own scale, see `tasks.monitoring.scales`.
    """
    blocks = _blocks(holdout, length)
    found = _measured_each(holdout, blocks, roles, metric, min_rows, seed)
    if len(found) >= _FEW_BLOCKS:
        return combined(None, found, [], metric)
    all_of_it = measure(holdout, roles, metric, seed=seed)
    if all_of_it is None or not isfinite(all_of_it.spread):
        return None
    fewest = min(min_rows, holdout.rows // (2 * _PARTS))
    parts = _measured_each(holdout, _parts(holdout), roles, metric, fewest, seed)
    return combined(all_of_it, found, parts, metric, timed=holdout.times is not None)


def combined(
    all_of_it: Measured | None,
    found: Sequence[Measured],
    parts: Sequence[Measured],
    metric: str,
    *,
    timed: bool = True,
) -> Ordinary:
    """Return what is ordinary, from the metric of the holdout and of its blocks.

    Parameters
    ----------
    all_of_it
        Of the whole holdout; three blocks or more do without it.
    found
        Of the blocks of the window's length.
    parts
        Of shorter parts, where there are few blocks.
    """
    centres = [all_of_it] if all_of_it is not None and len(found) < _FEW_BLOCKS else found
    scale = scale_of(metric, [m.value for m in (*centres, *found, *parts)])
    (placed, noise), (middle, of_middle) = _on(scale, found), _on(scale, centres)
    centre, blocks = float(middle.mean()), len(found)
    deviation = max(_between(placed, noise), _between(*_on(scale, parts)))
    values = [m.value for m in found or centres]
    return Ordinary(
        centre=scale.back(centre),
        variance=of_middle / len(centres) + deviation * (1 + 1 / max(1, blocks)),
        freedom=float(max(1, blocks - 1)) if timed else float("inf"),
        blocks=blocks,
        low=min(values),
        high=max(values),
        scale=scale,
    )


def _on(scale: Scale, found: Sequence[Measured]) -> tuple[Floats, float]:
    """Return metrics on a scale and the mean of their variances there."""
    placed = np.asarray([scale.of(m.value) for m in found])
    noise = [(scale.slope(m.value) * m.spread) ** 2 for m in found]
    return placed, float(np.mean(noise)) if noise else 0.0


def _measured_each(
    holdout: Answers, masks: list[Mask], roles: Schema, metric: str, fewest: int, seed: int
) -> list[Measured]:
    usable = [holdout.only(mask) for mask in masks if mask.sum() >= max(2, fewest)]
    found = [measure(part, roles, metric, seed=seed, replicates=100) for part in usable]
    return [m for m in found if m is not None and isfinite(m.spread)]


def _between(placed: Floats, noise: float) -> float:
    """Return the variance of the deviations, from what was measured of each block."""
    if len(placed) < 2:
        return 0.0
    return max(0.0, float(placed.var(ddof=1)) - noise)


def _blocks(holdout: Answers, length: timedelta) -> list[Mask]:
    """Return the whole blocks of `length`, the newest first; the oldest may lack a tenth."""
    if holdout.times is None:
        return []
    back = (np.nanmax(holdout.times) - holdout.times) / np.timedelta64(length)
    back = np.where(np.isnat(holdout.times), np.inf, back)
    span = float(back[np.isfinite(back)].max())
    whole = min(int(span + 0.1), _MOST_BLOCKS)
    return [np.asarray((back >= n) & (back < n + 1)) for n in range(whole)]


def _parts(holdout: Answers) -> list[Mask]:
    """Return six parts with as many rows each, in time order."""
    if holdout.times is None:
        return []
    order = np.argsort(holdout.times, kind="stable")
    masks = []
    for rows in np.array_split(order, _PARTS):
        mask = np.zeros(holdout.rows, dtype=bool)
        mask[rows] = True
        masks.append(mask)
    return masks
