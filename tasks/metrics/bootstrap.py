"""Bootstrap weights over rows or blocks, and sums under them.

A replicate draws as many units (rows, or whole blocks of rows) as there are, with replacement. It
is kept as the number of times each unit was drawn, so no row is copied and nothing is sorted again:
a metric is a function of weighted sums.

Sources: Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapters 8 and 13. Künsch
(1989), The jackknife and the bootstrap for general stationary observations: rows in time are drawn
in blocks, because neighbours resemble each other. Hesterberg (2015), What teachers should know
about the bootstrap, section 3.3: the expanded percentile interval, for few units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Floats, Ints
from tasks.base.runtime.libraries import scipy

EXACT_WORK = 10_000_000
MERGED_UNITS = 1_000
SCORE_BINS = 1_000
_CELLS = 4_000_000
_FEWEST_BLOCKS = 20


@dataclass(frozen=True)
class Plan:
    """Resampling plan: rows drawn together, number of draws, and seed."""

    rows: int
    n_units: int
    units: Ints | None  # of each row, (rows,); None: each row is its own
    replicates: int  # 0: the sample itself, once, with weights of one
    seed: int
    bins: int | None = None  # most groups of scores in a replicate; None: every score

    def weights(self, widest: int) -> Iterator[Floats]:
        """Yield weights of shape (some replicates, n_units); `widest` bounds the memory."""
        # The same plan yields the same replicates whatever `widest` is.
        if self.replicates == 0:
            yield np.ones((1, self.n_units))
            return
        rng = np.random.default_rng(self.seed)
        step = max(1, _CELLS // max(1, widest, self.n_units))
        for start in range(0, self.replicates, step):
            count = min(step, self.replicates - start)
            chunk = np.empty((count, self.n_units))
            for row in chunk:
                drawn = rng.integers(0, self.n_units, self.n_units, dtype=np.int32)
                row[:] = np.bincount(drawn, minlength=self.n_units)
            yield chunk


def whole(rows: int) -> Plan:
    """Return the plan that is the sample itself."""
    return Plan(rows, rows, None, 0, 0)


def resampling(
    rows: int, blocks: ArrayLike | None, replicates: int, seed: int, *, curves: int = 1
) -> Plan:
    """Return a plan of `replicates` over rows, or over `blocks` (any integers, shape (rows,))."""
    # Above 10 million rows in all replicates (50,000 rows in 200 of them) replicates use an
    # aggregated form, whose cost does not grow with the rows: rows are merged at random into 1,000
    # units (blocks stay as they are up to 4,000), and scores into 1,000 bins of equal mass. Units
    # merged at random from independent ones stay independent, so intervals keep their level; the
    # metric itself is always computed on every row. `curves` are the ranked scores that the metrics
    # need: one, or one for each of many classes.
    large = rows * curves * replicates > EXACT_WORK
    units: Ints | None = None
    n_units = rows
    if blocks is not None:
        found, inverse = np.unique(np.asarray(blocks), return_inverse=True)
        units, n_units = inverse.astype(np.int64).ravel(), len(found)
    if large and n_units > 4 * MERGED_UNITS:
        merged = np.random.default_rng(seed).permutation(n_units) % MERGED_UNITS
        units = merged if units is None else merged[units]
        n_units = MERGED_UNITS
    if n_units < 2:
        replicates = 0
    if replicates == 0:
        return whole(rows)
    return Plan(rows, n_units, units, replicates, seed, SCORE_BINS if large else None)


class Sums:
    """Weighted sums of columns of row values, shape (rows, k)."""

    def __init__(self, values: Floats, plan: Plan) -> None:
        self._values = values
        self.width = values.shape[1]
        if plan.units is not None:
            self._values = np.column_stack(
                [np.bincount(plan.units, v, minlength=plan.n_units) for v in values.T]
            )

    def under(self, weights: Floats) -> Floats:
        """Return the sums, shape (replicates, k)."""
        return weights @ self._values


class Groups:
    """Weighted sums of a row value by group of rows; the value is 1 where none is given."""

    # Where units are few, the sums of each unit are kept and a replicate is one matrix product.

    def __init__(
        self, groups: Ints, n_groups: int, plan: Plan, values: Floats | None = None
    ) -> None:
        self.width = n_groups
        self._groups, self._values, self._units = groups, values, plan.units
        self._table: Floats | None = None
        if plan.units is not None and plan.n_units * n_groups <= _CELLS:
            cells = plan.units * n_groups + groups
            table = np.bincount(cells, values, minlength=plan.n_units * n_groups)
            self._table = table.reshape(plan.n_units, n_groups).astype(np.float64)

    def under(self, weights: Floats) -> Floats:
        """Return the sums, shape (replicates, n_groups)."""
        if self._table is not None:
            return weights @ self._table
        sums = np.empty((len(weights), self.width))
        for row, unit_weights in zip(sums, weights, strict=True):
            w = unit_weights if self._units is None else unit_weights[self._units]
            if self._values is not None:
                w = w * self._values
            row[:] = np.bincount(self._groups, w, minlength=self.width)
        return sums


def ranked(scores: Floats, bins: int | None) -> tuple[Ints, Floats]:
    """Return the group of each row by ascending score, equal scores together, and its score.

    At most `bins` groups have about equal mass; None: one for each distinct score.

    >>> ranked(np.array([0.5, 0.1, 0.5]), None)
    (array([1, 0, 1]), array([0.1, 0.5]))
    """
    distinct, group = np.unique(scores, return_inverse=True)
    group = group.astype(np.int64).ravel()
    if bins is None or len(distinct) <= bins:
        return group, distinct
    mass = np.cumsum(np.bincount(group, minlength=len(distinct)))
    coarse = np.minimum((mass - 1) * bins // mass[-1], bins - 1)
    _, coarse = np.unique(coarse, return_inverse=True)
    # The middle one stands for its bin.
    firsts = np.searchsorted(coarse, np.arange(coarse[-1] + 1))
    lasts = np.append(firsts[1:], len(distinct)) - 1
    return coarse.astype(np.int64)[group], distinct[(firsts + lasts) // 2]


def interval(replicates: Floats, confidence: float, n_units: int) -> tuple[float, float] | None:
    """Return the two-sided expanded percentile interval, or None where there is none.

    A replicate may be undefined (no row of a class was drawn); up to one in twenty such are left
    out, more make the interval undefined. Few units, rows or blocks, widen it.

    >>> low, high = interval(np.arange(1001.0), 0.95, 10_000)
    >>> round(low), round(high)
    (25, 975)
    """
    finite = replicates[np.isfinite(replicates)]
    if n_units < 2 or finite.size < max(20, 0.95 * replicates.size):
        return None
    spread = sqrt(n_units / (n_units - 1)) * scipy.special.stdtrit(
        n_units - 1, (1 - confidence) / 2
    )
    tail = float(scipy.special.ndtr(spread))
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def spread_of(replicates: Floats, n_units: int) -> float:
    """Return the standard error that replicates show, leaving out undefined ones; NaN for few."""
    # With few units a bootstrap draws too narrow (Hesterberg 2015, section 3.2).
    finite = replicates[np.isfinite(replicates)]
    if finite.size < 2 or n_units < 2:
        return float("nan")
    return float(finite.std(ddof=1)) * sqrt(n_units / (n_units - 1))


def independent(times: ArrayLike | None, groups: Ints | None) -> Ints | None:
    """Return the unit of each row that is drawn together; None where each row is its own.

    These are the groups that are named, or blocks of time; of both those that are fewer.

    >>> independent(None, np.array([0, 0, 1])).tolist()
    [0, 0, 1]
    """
    blocks = None if times is None else time_blocks(times)
    if blocks is None or groups is None:
        return groups if blocks is None else blocks
    return min(groups, blocks, key=lambda units: len(np.unique(units)))


def time_blocks(times: ArrayLike) -> Ints:
    """Return the block of each row, for rows with UTC times (datetime64); shape (rows,).

    A block is the longest of a week (from Monday on), day, hour, minute and second of which there
    are at least 20, if it holds about as many rows as neighbours that resemble each other: the cube
    root of their number (Künsch 1989). Else it is a run of so many neighbours. Rows without a time
    come first.

    >>> days = np.arange("2013-01-01", "2013-02-01", dtype="datetime64[D]")
    >>> int(time_blocks(np.repeat(days, 30)).max())
    30
    """
    moments = np.asarray(times).astype("datetime64[s]").astype(np.int64)
    run = max(1, round(len(moments) ** (1 / 3)))
    for seconds in (604_800, 86_400, 3_600, 60, 1):
        # The clock began on a Thursday.
        shifted = moments + 3 * 86_400 if seconds == 604_800 else moments
        found, blocks = np.unique(shifted // seconds, return_inverse=True)
        if _FEWEST_BLOCKS <= len(found) <= len(moments) / run:
            return blocks.astype(np.int64).ravel()
    place = np.empty(len(moments), dtype=np.int64)
    place[np.argsort(moments, kind="stable")] = np.arange(len(moments))
    runs: Ints = place // run
    return runs
