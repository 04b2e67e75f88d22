"""The summary of training rows that later windows are compared with, built column by column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Kind
from tasks.base.utc_times import naive_utc
from tasks.data.snapshots import open_table, read_frame
from tasks.monitoring.drift.column_summary import ROWS_AT_ONCE, Summary, summarise
from tasks.monitoring.drift.column_values import column_of, naive_times
from tasks.monitoring.drift.distances import Counts

_FINE = 7  # cells of a block, so that blocks of a week start on any day
_MOST_FINE_BLOCKS = 60
_MOST_CELLS = 2_000


@dataclass(frozen=True)
class Reference:
    """A summary of the training rows of a version; features only."""

    rows: int
    columns: dict[str, Summary]  # feature to its summary, in the order of the features
    # Rows per cell, shape (n_cells,); empty without times. Cells divide the time of the rows from
    # its start in steps of one length; older than the newest 2,000, they are left out.
    cell_rows: Counts
    cells_per_block: int  # how many cells make a block of the monitored length
    length: float  # the monitored length in seconds
    source: str = ""  # what it was made of, so that another training's is not taken for it
    start: float | None = None  # of the first cell, seconds since 1970 in UTC; None: no times


@dataclass(frozen=True)
class Cells:
    """Stretch of time of each row."""

    of_row: NDArray[np.int64] | None
    n: int
    per_block: int
    start: float | None = None


def build_reference(
    frame: pd.DataFrame,
    features: Mapping[str, Kind],
    times: NDArray[np.datetime64] | None,
    length: timedelta,
    *,
    source: str = "",
) -> Reference:
    """Return the reference of the rows of `frame` for windows of `length`; `times` in UTC."""
    present = {name: kind for name, kind in features.items() if name in frame.columns}
    return _build(
        lambda name: column_of(frame, name), present, times, length, len(frame), source=source
    )


def build_from_file(
    path: str | Path,
    features: Mapping[str, Kind],
    time_column: str | None,
    length: timedelta,
    *,
    until: str = "",
    source: str = "",
) -> Reference:
    """Return the reference of a snapshot's rows; one column at a time is in memory."""
    # Rows up to `until` belong to the reference: an ISO time, with ` included` behind it when rows
    # at that time do; empty for all rows.
    table = open_table(path)
    names = set(table.column_names)
    times = times_in(path, time_column)
    rows = rows_up_to(times, until)
    if times is not None and rows is not None:
        times = times[rows]
    count = table.num_rows if rows is None else len(rows)

    def read(name: str) -> pd.Series[Any]:
        return read_frame(path, [name], rows)[name]

    present = {name: kind for name, kind in features.items() if name in names}
    return _build(read, present, times, length, count, source=source)


def times_in(path: str | Path, time_column: str | None) -> NDArray[np.datetime64] | None:
    """Return the times of a snapshot's rows in UTC; None without a time column."""
    if time_column is None or time_column not in open_table(path).column_names:
        return None
    return naive_times(read_frame(path, [time_column])[time_column])


def rows_up_to(times: NDArray[np.datetime64] | None, until: str) -> NDArray[np.int64] | None:
    """Return the places of the rows up to `until`, as in `build_from_file`; None for all."""
    if times is None or not until:
        return None
    text, _, included = until.partition(" ")
    end = np.datetime64(naive_utc(datetime.fromisoformat(text)), "us")
    before = times <= end if included else times < end
    return None if before.all() else np.flatnonzero(before)


def _build(
    read: Callable[[str], pd.Series[Any]],
    features: Mapping[str, Kind],
    times: NDArray[np.datetime64] | None,
    length: timedelta,
    rows: int,
    *,
    source: str,
) -> Reference:
    cells = cells_of(times, length.total_seconds())
    columns = {
        name: summarise(read(name), kind, cells.of_row, cells.n) for name, kind in features.items()
    }
    inside = np.zeros(0, np.int64) if cells.of_row is None else cells.of_row[cells.of_row >= 0]
    return Reference(
        rows=rows,
        columns=columns,
        cell_rows=np.bincount(inside, minlength=cells.n).astype(np.int64),
        cells_per_block=cells.per_block,
        length=length.total_seconds(),
        source=source,
        start=cells.start,
    )


def cells_of(times: NDArray[np.datetime64] | None, length: float) -> Cells:
    """Return the stretch of time of each row, for blocks of `length` seconds."""
    if times is None:
        return Cells(None, 0, 1)
    if times.dtype.kind != "M":
        times = naive_times(pd.to_datetime(pd.Series(times), utc=True))
    stamps = np.asarray(times, "datetime64[us]")
    known = ~np.isnat(stamps)
    if not known.any():
        return Cells(None, 0, 1)
    first, last = np.fmin.reduce(stamps), np.fmax.reduce(stamps)
    whole = np.timedelta64(max(1, round(length * 1e6)), "us")
    per_block = _FINE if int((last - first) // whole) <= _MOST_FINE_BLOCKS else 1
    step = max(np.timedelta64(1, "us"), whole // per_block)
    start = first
    if per_block == _FINE:
        start = first - (first - np.datetime64(0, "us")) % step
    n = int((last - start) // step) + 1
    of_row = np.full(len(stamps), -1, dtype=np.int64)
    for begin in range(0, len(stamps), ROWS_AT_ONCE):
        part = slice(begin, begin + ROWS_AT_ONCE)
        of_row[part][known[part]] = ((stamps[part][known[part]] - start) // step).astype(np.int64)
    if n > _MOST_CELLS:
        of_row = np.maximum(of_row - (n - _MOST_CELLS), -1)
        start = start + (n - _MOST_CELLS) * step
        n = _MOST_CELLS
    seconds = float((start - np.datetime64(0, "us")) / np.timedelta64(1, "s"))
    return Cells(of_row, n, per_block, seconds)
