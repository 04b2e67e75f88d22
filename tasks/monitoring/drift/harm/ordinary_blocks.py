"""Measures of harm in blocks of the reference: the limits of ordinary windows.

Up to six contiguous blocks of the monitored length, spread over the reference, are each taken for
a window and compared with the rows before them, or, where less than a third of the reference lies
there, with those after them; where seasons are known, with the same season of other periods.
Columns that time itself moves are recognised here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.base.runtime.libraries import pd, scipy
from tasks.monitoring.drift.column_summary import CUTS, Summary
from tasks.monitoring.drift.compared_rows import MOST_ROWS, Side
from tasks.monitoring.drift.distances import Counts, Floats
from tasks.monitoring.drift.harm.domain_classifier import separate
from tasks.monitoring.drift.harm.impact import bounds_of, outside_rows
from tasks.monitoring.drift.reference_summary import Reference, cells_of
from tasks.monitoring.drift.seasons import Season, season_of

Read = Callable[[NDArray[np.int64]], "pd.DataFrame"]

_BLOCKS = 6
_LEAST_ROWS = 50
_RULED = 0.9
_MONOTONE = 0.97
_GROUP_ROWS = 10.0
_RESTLESS = 0.8


@dataclass(frozen=True)
class OrdinaryBlocks:
    """The measures of harm of each block, the oldest first, shape (n_blocks,) each."""

    auc: tuple[float, ...] = ()  # of the domain classifier
    sparse: tuple[float, ...] = ()  # sparse, outside: shares of rows
    outside: tuple[float, ...] = ()

    @property
    def restless(self) -> bool:
        """Whether every block is easily separated from the rows before it: none is ordinary."""
        return len(self.auc) >= 3 and min(self.auc) >= _RESTLESS


def ordinary_blocks(
    reference: Reference,
    read: Read,
    times: NDArray[np.datetime64] | None,
    watched: Mapping[str, float],
) -> OrdinaryBlocks:
    """Return the measures of harm in blocks of the reference, which `read` gives by places."""
    # `times`: of all its rows, shape (n_rows,); `watched`: column that the champion depends on to
    # its weight, without those that must move.
    cells = cells_of(times, reference.length)
    if times is None or cells.of_row is None or cells.n < 3 * cells.per_block:
        return OrdinaryBlocks()
    features = {n: c.kind for n, c in reference.columns.items() if n in watched}
    found: list[tuple[float, float, float]] = []
    known = cells.of_row >= 0
    for start, kept in _chosen(cells.n, cells.per_block, season_of(reference)):
        own = (cells.of_row >= start) & (cells.of_row < start + cells.per_block)
        rows = _drawn(np.flatnonzero(own))
        before = _drawn(np.flatnonzero(kept[cells.of_row] & known))
        if min(len(rows), len(before)) < _LEAST_ROWS:
            continue
        block, rest = Side(read(rows), times[rows]), Side(read(before), times[before])
        apart = separate(rest, block, features, watched)
        bounds = {n: bounds_of(reference.columns[n], kept) for n in features}
        if apart is not None:
            found.append((apart.auc, apart.sparse, outside_rows(block.frame, bounds)[0]))
    return OrdinaryBlocks(*(tuple(map(float, side)) for side in zip(*found, strict=True)))


def _chosen(n: int, size: int, season: Season | None) -> list[tuple[int, NDArray[np.bool_]]]:
    """Return starts of blocks that do not overlap, with the cells that each is compared with."""
    starts = np.arange(n - size, -1, -size)[::-1]
    picked = starts[np.unique(np.linspace(0, len(starts) - 1, _BLOCKS).round().astype(np.int64))]
    return [(int(start), _others(int(start), n, size, season)) for start in picked]


def _others(start: int, n: int, size: int, season: Season | None) -> NDArray[np.bool_]:
    cell = np.arange(n)
    if season is not None:
        near = (cell >= start - season.reach) & (cell < start + size + season.reach)
        return np.asarray(season.alike(n, start, size) & ~near)
    return np.asarray(cell < start if start >= n / 3 else cell >= start + size)


def _drawn(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(rows) <= MOST_ROWS:
        return np.sort(rows)
    return np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))


def moving_columns(reference: Reference) -> frozenset[str]:
    """Return the columns that time itself moves: dates, counters, the name of a month."""
    # Either a column's values rise or fall with time and hardly overlap between stretches of it, or
    # which value a row has is known from its stretch of time (Goodman and Kruskal's tau).
    return frozenset(n for n, c in reference.columns.items() if c.cells.size and _moves(c))


def _moves(column: Summary) -> bool:
    cells = _grouped(column.cells)
    if len(cells) < 4:
        return False
    total = cells.sum(axis=0)
    exact = not column.numeric or len(column.points) <= CUTS
    if exact and np.count_nonzero(total) > 1 and _tau(cells, total) >= _RULED:
        return True
    return column.numeric and _trend(cells, total)


def _grouped(cells: Counts) -> Counts:
    """Return stretches of time that hold ten rows at the mean, without empty ones."""
    filled: Counts = cells[cells.sum(axis=1) > 0]
    if not len(filled):
        return filled
    size = max(1, int(np.ceil(_GROUP_ROWS / float(filled.sum(axis=1).mean()))))
    return np.asarray(np.add.reduceat(filled, np.arange(0, len(filled), size), axis=0))


def _tau(cells: Counts, total: Counts) -> float:
    within = float((cells * (cells - 1.0)).sum())
    pairs = float((cells.sum(axis=1) * (cells.sum(axis=1) - 1.0)).sum())
    overall = float((total * (total - 1.0)).sum() / max(total.sum() * (total.sum() - 1.0), 1.0))
    if not pairs or overall >= 1.0:
        return 0.0
    return (within / pairs - overall) / (1.0 - overall)


def _trend(cells: Counts, total: Counts) -> bool:
    rank: Floats = np.cumsum(total) - total / 2.0
    rows = cells.sum(axis=1)
    means = (cells @ rank) / rows
    overall = float((total @ rank) / total.sum())
    spread = float(total @ (rank - overall) ** 2)
    if spread <= 0:
        return False
    between = float(rows @ (means - overall) ** 2) / spread
    if between < _RULED:
        return False
    return abs(float(scipy.stats.spearmanr(np.arange(len(means)), means).statistic)) >= _MONOTONE
