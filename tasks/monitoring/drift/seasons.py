"""Seasons: the ordinary range at this time of the day, the week or the year.

Where the reference covers a season at least twice, a window is compared with the rows of the same
season only, and so is each block of the reference whose distances make the limits: a summer is no
drift where summers are known (Cobb and Van Looveren 2022, Context-aware drift detection, ICML).
The season is the shortest of day, week and year that is at least twice as long as a window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.monitoring.drift.column_summary import CUTS, Summary, cuts_of
from tasks.monitoring.drift.distances import Counts
from tasks.monitoring.drift.reference_summary import Reference

_DAY = 86_400.0
_SEASONS = ((_DAY, 0.0), (7 * _DAY, 0.0), (365.25 * _DAY, 21 * _DAY))
"""Length, and how far before and after a window its season reaches, in seconds."""
_LEAST_ROWS = 200


@dataclass(frozen=True)
class Season:
    """A season in cells of the reference."""

    period: float  # cells from one to the next
    reach: int  # cells before and after a window that belong to its season

    def alike(self, n_cells: int, start: float, size: int) -> NDArray[np.bool_]:
        """Return which cells lie in the season of `size` cells from `start` on, shape (n_cells,).

        >>> Season(7.0, 0).alike(10, 7.0, 2)
        array([ True,  True, False, False, False, False, False,  True,  True,
               False])
        """
        phase = (np.arange(n_cells) - start + self.reach + 1e-6) % self.period
        return np.asarray(phase < size + 2 * self.reach)


def season_of(reference: Reference) -> Season | None:
    """Return the season of a reference's windows; None where it is not covered twice."""
    n, step = len(reference.cell_rows), reference.length / reference.cells_per_block
    if reference.start is None or not n:
        return None
    for seconds, reach in _SEASONS:
        if 2 * reference.length <= seconds:
            period = seconds / step
            return Season(period, round(reach / step)) if n >= 2 * period - 1 else None
    return None


def in_season(reference: Reference, season: Season, moment: np.datetime64) -> Reference | None:
    """Return the part of a reference, without cells, in the season of `moment`, if large enough."""
    cells = cells_alike(reference, season, moment)
    rows = int(reference.cell_rows[cells].sum())
    if rows < _LEAST_ROWS:
        return None
    columns = {name: _part(column, cells, rows) for name, column in reference.columns.items()}
    return replace(reference, rows=rows, columns=columns)


def cells_alike(reference: Reference, season: Season, moment: np.datetime64) -> NDArray[np.bool_]:
    """Return which cells of a reference lie in the season of a window that starts at `moment`."""
    seconds = (moment - np.datetime64(0, "us")) / np.timedelta64(1, "s")
    step = reference.length / reference.cells_per_block
    at = np.round((float(seconds) - float(reference.start or 0.0)) / step)
    return season.alike(len(reference.cell_rows), float(at), reference.cells_per_block)


def _part(column: Summary, cells: NDArray[np.bool_], rows: int) -> Summary:
    if not column.cells.size:
        return column
    bins: Counts = column.cells[cells].sum(axis=0)
    nulls = int(column.cell_nulls[cells].sum())
    if column.numeric:
        points = cuts_of(column)
        exact = column.exact and len(column.points) <= CUTS
        return replace(
            column, rows=rows, nulls=nulls, points=points, at_most=np.cumsum(bins), exact=exact
        )
    counts = np.zeros_like(column.counts)
    counts[: column.told] = bins[: column.told]
    return replace(column, rows=rows, nulls=nulls, counts=counts)
