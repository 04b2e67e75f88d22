"""Limits of ordinary distances from the reference, learned from its own history.

Weeks are not exchangeable: their weather and schedules differ though nothing drifted. So each
contiguous block of the monitored length is compared with the reference outside it, and where at
least a third of the reference lies before it, or after it, with these parts alone: a later window
too lies on one side. The greatest of the three is the block's distance. Blocks start at every
cell, a seventh of their length, and overlap; they count for as many as fit side by side.

On the scale of log odds the distances of a column have a centre and a spread. A spread from few
blocks is itself uncertain and is drawn towards that of the other columns, as Smyth (2004) does
for genes. A window's excess is how many spreads it lies above the centre; the greatest excess
over all columns is the family's statistic. The same statistic of each block, judged by the blocks
that do not overlap it, gives the limit: the prediction limit of one more block (Hahn 1970), not
below the greatest that was seen. So the false alarms are those of a whole window, not of a column.

A column that trends within the reference, such as a counter, has blocks at a distance of 1: its
limit is 1 and it never drifts by its values, only by its nulls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.base.runtime.libraries import scipy
from tasks.monitoring.drift.column_summary import Summary
from tasks.monitoring.drift.distances import (
    Counts,
    Floats,
    ks_noise,
    level_distance,
    merged,
    share_noise,
    tv_noise,
)
from tasks.monitoring.drift.reference_summary import Reference
from tasks.monitoring.drift.seasons import Season

MIN_BLOCKS = 3.0
LEAST_DISTANCE = {"value": 0.05, "peak": 0.05, "unseen": 0.02, "nulls": 0.02}
"""Below it a difference is of no account, however certain."""
_MOST_DISTANCE = 0.999
_LEAST_SPREAD = 0.15
_LEAST_LIMIT = 2.0
_PRIOR = 4.0
_SHIFT = 0.5
_MIN_BLOCK_ROWS = 20
_FEW = 0.5  # share of the usual rows below which chance is taken out of a block's distance
_NOISES = 2.0  # chance moves the distance of a small sample by up to so many of its mean

Key = tuple[str, str]


@dataclass(frozen=True)
class Limit:
    """The ordinary distances of one part of a column: `value`, `peak`, `unseen` or `nulls`."""

    part: str
    centre: float  # centre, spread: of its blocks, in log odds; of one more block
    spread: float
    noise: float  # mean distance that chance alone gives a block

    def excess(self, distance: float, noise: float) -> float:
        """Return how many spreads `distance` lies above the centre, `noise` being its chance."""
        less = _extra(noise, self.noise)
        seen = math.sqrt(max(distance**2 - less, 0.0))
        return float((_log_odds(np.array(seen), self.part) - self.centre) / self.spread)

    def threshold(self, limit: float, noise: float) -> float:
        """Return the distance whose excess is `limit`."""
        odds = self.centre + self.spread * limit
        distance = 1.0 / (1.0 + math.exp(-odds))
        if distance >= _MOST_DISTANCE:
            return 1.0
        return min(1.0, math.sqrt(distance**2 + _extra(noise, self.noise)))


def _extra(noise: float, usual: float) -> float:
    return max((_NOISES * noise) ** 2 - (_NOISES * usual) ** 2, 0.0)


@dataclass(frozen=True)
class Calibration:
    """Ordinary windows as the reference's own history shows them."""

    limits: dict[Key, Limit]  # (column, part) to its ordinary distances
    limit: float  # of the family's statistic, the greatest weighted excess
    blocks: float  # how many blocks fit into the reference side by side


@dataclass(frozen=True)
class _Blocks:
    """Contiguous blocks of cells that hold enough rows."""

    starts: NDArray[np.int64]
    size: int
    n_cells: int
    season: Season | None = None

    @property
    def independent(self) -> float:
        return (len(self.starts) + self.size - 1) / self.size

    def sides(self, cumulative: Counts) -> list[tuple[Counts, Counts, NDArray[np.bool_]]]:
        """Return block, other rows, and whether to compare, for the three sides."""
        # Within a season there is one side: other years.
        block = cumulative[self.starts + self.size] - cumulative[self.starts]
        if self.season is not None:
            other = self._alike(cumulative, self.season)
            return [(block, other, np.ones(len(self.starts), dtype=bool))]
        before = cumulative[self.starts]
        after = cumulative[-1] - cumulative[self.starts + self.size]
        third = self.n_cells / 3
        return [
            (block, before + after, np.ones(len(self.starts), dtype=bool)),
            (block, before, self.starts >= third),
            (block, after, self.n_cells - self.starts - self.size >= third),
        ]

    def _alike(self, cumulative: Counts, season: Season) -> Counts:
        """Return the rows of the same season in other periods, as `cumulative` has them."""
        found = np.zeros_like(cumulative[self.starts])
        for k in range(1, int(self.n_cells / season.period) + 1):
            for sign in (-1, 1):
                first = self.starts + round(sign * k * season.period) - season.reach
                last = first + self.size + 2 * season.reach
                edges = np.clip(first, 0, self.n_cells), np.clip(last, 0, self.n_cells)
                found = found + cumulative[edges[1]] - cumulative[edges[0]]
        return found


def calibrate(
    reference: Reference,
    *,
    false_alarms: float,
    weights: dict[str, float] | None = None,
    season: Season | None = None,
    moving: Collection[str] = (),
) -> Calibration | None:
    """Return the limits from the reference's history; None where it has fewer than 3 blocks."""
    # `false_alarms`: share of ordinary windows that may exceed the limit; `weights`: of a column's
    # excess, 0 to 1; 1 where absent; `season`: compare with the same season of other periods only;
    # `moving`: columns judged by their nulls only, whose values would widen the limits of all.
    blocks = _blocks(reference, season)
    if blocks is None or blocks.independent < MIN_BLOCKS:
        return None
    keys: list[Key] = []
    distances, noises = [], []
    for name, column in reference.columns.items():
        for part, measured in _history(column, reference, blocks, values=name not in moving):
            keys.append((name, part))
            distances.append(measured[0])
            noises.append(measured[1])
    if not keys:
        return None
    parts = np.array([part for _, part in keys])
    odds = np.column_stack(
        [_log_odds(values, part) for values, part in zip(distances, parts, strict=True)]
    )
    weight = np.array([(weights or {}).get(name, 1.0) for name, _ in keys])
    centre, spread = _ordinary(odds, parts, blocks.independent)
    limits = {
        key: Limit(key[1], float(centre[k]), float(spread[k]), noises[k])
        for k, key in enumerate(keys)
    }
    limit = _family_limit(odds, parts, weight, blocks, false_alarms)
    return Calibration(limits, limit, blocks.independent)


def _blocks(reference: Reference, season: Season | None) -> _Blocks | None:
    size, n = reference.cells_per_block, len(reference.cell_rows)
    if n < size or not n:
        return None
    cumulative = np.concatenate([[0], np.cumsum(reference.cell_rows)])
    rows = cumulative[size:] - cumulative[:-size]
    full = rows >= max(_MIN_BLOCK_ROWS, 0.1 * float(np.median(rows)))
    return _Blocks(np.flatnonzero(full), size, n, season)


def _history(
    column: Summary, reference: Reference, blocks: _Blocks, *, values: bool
) -> list[tuple[str, tuple[Floats, float]]]:
    found = [("nulls", _null_history(column, reference, blocks))]
    if values and column.valid and column.cells.size:
        found.append(
            ("value", _value_history(column, blocks, _ks_rows if column.numeric else _tv_rows))
        )
        if column.numeric:
            found.append(("peak", _value_history(column, blocks, _peak_rows)))
        else:
            found.append(("unseen", _value_history(column, blocks, _unseen_rows)))
    return found


def _null_history(column: Summary, reference: Reference, blocks: _Blocks) -> tuple[Floats, float]:
    nulls = np.concatenate([[0], np.cumsum(column.cell_nulls)])
    rows = np.concatenate([[0], np.cumsum(reference.cell_rows)])
    greatest = np.zeros(len(blocks.starts))
    sides = zip(blocks.sides(nulls), blocks.sides(rows), strict=True)
    for (block, other, wanted), (block_rows, other_rows, _) in sides:
        wanted = wanted & (other_rows >= _MIN_BLOCK_ROWS)
        difference = np.abs(block / np.maximum(block_rows, 1) - other / np.maximum(other_rows, 1))
        greatest = np.where(wanted, np.maximum(greatest, difference), greatest)
    size, _, _ = blocks.sides(rows)[0]
    share = column.nulls / max(column.rows, 1)
    return greatest, share_noise(share, max(column.rows, 1), max(float(np.median(size)), 1))


def _value_history(
    column: Summary, blocks: _Blocks, distance: Callable[[Counts, Counts], Floats]
) -> tuple[Floats, float]:
    cumulative = np.concatenate(
        [np.zeros((1, column.cells.shape[1]), np.int64), np.cumsum(column.cells, axis=0)]
    )
    greatest = np.full(len(blocks.starts), np.nan)
    for block, other, wanted in blocks.sides(cumulative):
        few = np.minimum(block.sum(axis=1), other.sum(axis=1)) < _MIN_BLOCK_ROWS
        chosen = np.flatnonzero(wanted & ~few)
        greatest[chosen] = np.fmax(greatest[chosen], distance(block[chosen], other[chosen]))
    known = greatest[~np.isnan(greatest)]
    greatest[np.isnan(greatest)] = float(np.median(known)) if len(known) else 0.0
    sizes = np.maximum(blocks.sides(cumulative)[0][0].sum(axis=1), 1)
    usual = _chance(column, float(np.median(sizes)))
    # As a window's: a block beside a gap lies further away by chance, and says nothing of others.
    few = np.flatnonzero(sizes < _FEW * np.median(sizes))
    extra = np.array([_extra(_chance(column, float(sizes[k])), usual) for k in few])
    greatest[few] = np.sqrt(np.maximum(greatest[few] ** 2 - extra, 0.0))
    return greatest, usual


def _chance(column: Summary, size: float) -> float:
    """Return the mean distance of `size` rows from the column's by chance."""
    return ks_noise(column.valid, size) if column.numeric else tv_noise(column.counts, size)


def _ks_rows(block: Counts, other: Counts) -> Floats:
    if not len(block):
        return np.zeros(0)
    first = np.cumsum(block, axis=1) / block.sum(axis=1, keepdims=True)
    second = np.cumsum(other, axis=1) / other.sum(axis=1, keepdims=True)
    return np.asarray(np.abs(first - second).max(axis=1), dtype=np.float64)


def _peak_rows(block: Counts, other: Counts) -> Floats:
    if not len(block):
        return np.zeros(0)
    ours = block / block.sum(axis=1, keepdims=True)
    theirs = other / other.sum(axis=1, keepdims=True)
    return np.asarray((ours - theirs).max(axis=1), dtype=np.float64)


def _unseen_rows(block: Counts, other: Counts) -> Floats:
    """Return the share of levels that the other rows have not, beyond what is expected of them."""
    if not len(block):
        return np.zeros(0)
    seen = np.where(other == 0, block, 0).sum(axis=1) / block.sum(axis=1)
    usual = (other == 1).sum(axis=1) / other.sum(axis=1)
    return np.asarray(np.maximum(seen - usual, 0.0), dtype=np.float64)


def _tv_rows(block: Counts, other: Counts) -> Floats:
    pairs = zip(other, block, strict=True)
    return np.array([level_distance(merged(theirs, ours)) for theirs, ours in pairs])


def _log_odds(distance: Floats, part: str) -> Floats:
    bounded = np.clip(distance, LEAST_DISTANCE[part], _MOST_DISTANCE)
    return np.asarray(np.log(bounded / (1 - bounded)), dtype=np.float64)


def _ordinary(odds: Floats, parts: NDArray[np.str_], blocks: float) -> tuple[Floats, Floats]:
    """Return centre and spread per column of `odds`, shape (n_blocks, n_keys)."""
    centre = odds.mean(axis=0)
    variance = odds.var(axis=0) * blocks / max(blocks - 1, 1.0)
    spread = np.sqrt(variance)
    for part in LEAST_DISTANCE:
        least = math.log(LEAST_DISTANCE[part] / (1 - LEAST_DISTANCE[part])) + 1e-9
        moving = (parts == part) & ~(odds <= least).all(axis=0)
        if moving.any():
            common = float(variance[moving].mean())
            own = max(blocks - 1, 0.0)
            drawn = (_PRIOR * common + own * variance[moving]) / (_PRIOR + own)
            spread[moving] = np.sqrt(drawn)
    return centre, np.maximum(spread, _LEAST_SPREAD) * math.sqrt(1 + 1 / blocks)


def _family_limit(
    odds: Floats, parts: NDArray[np.str_], weight: Floats, blocks: _Blocks, false_alarms: float
) -> float:
    """Return the limit of the greatest excess, from blocks judged by those that do not overlap."""
    left = blocks.independent - 1
    excesses = []
    for k, start in enumerate(blocks.starts):
        apart = np.abs(blocks.starts - start) >= blocks.size
        if not apart.any():
            continue
        centre, spread = _ordinary(odds[apart], parts, left)
        excesses.append(max(float((weight * (odds[k] - centre) / spread).max()), 0.0))
    seen = np.log(np.array(excesses) + _SHIFT)
    n = blocks.independent
    deviation = float(seen.std()) * math.sqrt(n / (n - 1))
    wide = float(scipy.stats.t.isf(false_alarms, n - 1)) * math.sqrt(1 + 1 / n)
    # Where there are blocks enough to see the rare ones, not the rarest of all decides.
    rare = false_alarms / 2
    floor = float(np.quantile(seen, 1 - rare)) if n * rare >= 1 else float(seen.max())
    return max(math.exp(max(float(seen.mean()) + deviation * wide, floor)) - _SHIFT, _LEAST_LIMIT)
