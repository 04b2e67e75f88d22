"""Summary of one column of the reference: its distribution, whole and by stretches of time.

Counts are exact whatever the size. Numbers with more than 65,536 distinct values are counted at
so many of their quantiles; stretches of time at 256 of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Kind
from tasks.monitoring.drift.column_values import is_numeric, levels_of, numbers_of
from tasks.monitoring.drift.distances import Counts, Floats

POINTS = 65_536
CUTS = 256
LEVELS = 20_000
CELL_COUNTS = 2_000_000
KNOWN = 100_000
ROWS_AT_ONCE = 1 << 20
_NO_FLOATS: Floats = np.zeros(0, dtype=np.float64)
_NO_COUNTS: Counts = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Summary:
    """One column of the reference."""

    kind: Kind
    rows: int  # rows, nulls: all rows, and those without a value
    nulls: int
    # points, at_most: ascending values and the rows at most each, (n_points,); empty for levels.
    points: Floats = field(default_factory=lambda: _NO_FLOATS)
    at_most: Counts = field(default_factory=lambda: _NO_COUNTS)
    exact: bool = True  # whether `points` are all values
    levels: tuple[str, ...] = ()  # levels, counts: the most frequent first; empty for numbers
    counts: Counts = field(default_factory=lambda: _NO_COUNTS)
    told: int = 0  # how many of the levels have counts of their own; the others are only known
    complete: bool = True  # whether `levels` are all levels
    # Rows per stretch of time and bin, shape (n_cells, n_bins): bins end at the quantiles, or are
    # levels, the last of which stands for all without counts of their own.
    cells: Counts = field(default_factory=lambda: _NO_COUNTS.reshape(0, 0))
    cell_nulls: Counts = field(default_factory=lambda: _NO_COUNTS)  # shape (n_cells,)

    @property
    def numeric(self) -> bool:
        """Whether the column is compared as numbers."""
        return is_numeric(self.kind)

    @property
    def valid(self) -> int:
        """Rows with a value."""
        return self.rows - self.nulls

    @property
    def rest(self) -> int:
        """Rows of levels without counts of their own."""
        return self.valid - int(self.counts[: self.told].sum())

    @property
    def singles(self) -> int:
        """Levels of one row."""
        return int((self.counts == 1).sum())


def summarise(
    column: pd.Series[Any], kind: Kind, cell_of: NDArray[np.int64] | None, n_cells: int
) -> Summary:
    """Return the summary of `column`; `cell_of`, (n_rows,): each row's stretch of time or -1."""
    if is_numeric(kind):
        return _of_numbers(numbers_of(column, kind).values, kind, cell_of, n_cells)
    codes, levels = levels_of(column, kind)
    return _of_levels(codes, levels, kind, cell_of, n_cells)


def cuts_of(summary: Summary) -> Floats:
    """Return the values at which the bins of a column of numbers end, shape (n_bins,)."""
    return summary.points[_quantile_places(summary.at_most, CUTS)]


def _of_numbers(
    values: Floats, kind: Kind, cell_of: NDArray[np.int64] | None, n_cells: int
) -> Summary:
    null = np.isnan(values)
    valid = values[~null]
    valid.sort()
    points, at_most, exact = _points(valid)
    del valid
    cuts = points[_quantile_places(at_most, CUTS)]
    cells, cell_nulls = _of_cells(
        lambda part: np.searchsorted(cuts, values[part]), null, cell_of, n_cells, len(cuts)
    )
    return Summary(
        kind, len(values), int(null.sum()), points, at_most, exact, cells=cells,
        cell_nulls=cell_nulls,
    )  # fmt: skip


def _points(ordered: Floats) -> tuple[Floats, Counts, bool]:
    """Return values and the rows at most each: all, or those at quantiles; and whether all."""
    # Of many distinct values no array of their number is made.
    if not len(ordered):
        return _NO_FLOATS, _NO_COUNTS, True
    differs = ordered[1:] != ordered[:-1]
    exact = int(np.count_nonzero(differs)) < POINTS
    if exact:
        at_most = np.append(np.flatnonzero(differs) + 1, len(ordered)).astype(np.int64)
    else:
        wanted = np.ceil(np.linspace(0, len(ordered), POINTS + 1)[1:]).astype(np.int64)
        at_most = np.unique(np.searchsorted(ordered, ordered[wanted - 1], side="right"))
    return ordered[at_most - 1], at_most, exact


def _quantile_places(at_most: Counts, most: int) -> NDArray[np.int64]:
    """Return the places of up to `most` points with about as many rows between each two."""
    if len(at_most) <= most:
        return np.arange(len(at_most))
    return np.unique(np.searchsorted(at_most, np.linspace(0, int(at_most[-1]), most + 1)[1:]))


def _of_levels(
    codes: NDArray[np.int64],
    levels: tuple[str, ...],
    kind: Kind,
    cell_of: NDArray[np.int64] | None,
    n_cells: int,
) -> Summary:
    null = codes < 0
    counts = np.bincount(codes[~null], minlength=len(levels)).astype(np.int64)
    order = np.argsort(-counts, kind="stable")
    told = min(len(levels), LEVELS, max(1_000, CELL_COUNTS // max(n_cells, 1)))
    place = np.empty(len(levels) + 1, dtype=np.int64)
    place[order] = np.minimum(np.arange(len(levels)), told)
    cells, cell_nulls = _of_cells(
        lambda part: place[codes[part]], null, cell_of, n_cells, min(len(levels), told + 1)
    )
    kept = order[:KNOWN]
    return Summary(
        kind,
        len(codes),
        int(null.sum()),
        levels=tuple(levels[k] for k in kept),
        counts=counts[kept],
        told=told,
        complete=len(kept) == len(order),
        cells=cells,
        cell_nulls=cell_nulls,
    )


def _of_cells(
    bins: Callable[[slice], NDArray[np.int64]],
    null: NDArray[np.bool_],
    cell_of: NDArray[np.int64] | None,
    n_cells: int,
    n_bins: int,
) -> tuple[Counts, Counts]:
    """Return rows per cell and bin, and nulls per cell; a part of the rows is looked at at once."""
    # `bins` returns the bin of each row of a part, whatever it is where there is no value.
    if cell_of is None:
        return _NO_COUNTS.reshape(0, 0), _NO_COUNTS
    cells, nulls = np.zeros(n_cells * n_bins, np.int64), np.zeros(n_cells, np.int64)
    for start in range(0, len(null), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        at, absent = cell_of[part], null[part]
        keep = (at >= 0) & ~absent
        cells += np.bincount(at[keep] * n_bins + bins(part)[keep], minlength=len(cells))
        nulls += np.bincount(at[(at >= 0) & absent], minlength=n_cells)
    return cells.reshape(n_cells, n_bins), nulls
