"""Length of a monitored window that the rows of a table can fill."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.settings.monitoring import MonitoringConfig
from tasks.base.training_records import Record

_USUAL = MonitoringConfig()
# Whole weeks, so that each window holds every weekday as often.
_DAYS = (7, 14, 28, 56, 91, 182, 364)
_LEAST_WINDOWS = 8
_LEAST_ROWS = 20
_FILLED = 0.1


class WindowLength(Record):
    """The monitoring of a pipeline file that suits a table."""

    days: int  # length of one window
    min_rows: int  # rows below which a window is not judged
    rows: int  # rows that nine windows of ten hold at least
    usual: int  # rows that nine of ten windows of the default length hold at least

    @property
    def values(self) -> dict[str, Any]:
        """The section `monitoring` of the file."""
        stated: dict[str, Any] = {"window": f"{self.days}d"}
        return stated if self.min_rows == _USUAL.min_rows else stated | {"min_rows": self.min_rows}

    @property
    def assumption(self) -> str:
        """A note; empty where the defaults suit."""
        if self.days == _DAYS[0] and self.min_rows == _USUAL.min_rows:
            return ""
        why = f"a week often holds {self.usual:,} rows only, and {_USUAL.min_rows} are needed"
        if self.min_rows == _USUAL.min_rows:
            return f"windows of {self.days} days are monitored: {why} (`monitoring: {{window: …}}`)"
        return (
            f"windows of {self.days} days are monitored, from {self.min_rows} rows on: {why}; so "
            "few rows show large changes only (`monitoring: {window: …, min_rows: …}`)"
        )


def window_length(times: NDArray[np.datetime64]) -> WindowLength:
    """Return the shortest length of which nine windows in ten hold the rows that are needed."""
    # A window is not judged below `monitoring.min_rows` rows. The table has to hold eight windows
    # at least, of which limits can be calibrated; where those are too short, fewer rows are
    # required. `times` come in any order; missing ones do not count.
    known = np.sort(times[~np.isnat(times)]).astype("datetime64[s]")
    if not len(known):
        return WindowLength(days=_DAYS[0], min_rows=_USUAL.min_rows, rows=0, usual=0)
    span = (known[-1] - known[0]).astype(timedelta)
    fitting = [d for d in _DAYS if _LEAST_WINDOWS * timedelta(days=d) <= span] or [_DAYS[0]]
    held = {days: _rows_held(known, days) for days in fitting}
    enough = [days for days in fitting if held[days] >= _USUAL.min_rows]
    days = enough[0] if enough else fitting[-1]
    # A window that lacks a few of its rows is judged too.
    least = _USUAL.min_rows if enough else max(_LEAST_ROWS, held[days] * 3 // 4)
    return WindowLength(days=days, min_rows=least, rows=held[days], usual=held[fitting[0]])


def _rows_held(known: NDArray[np.datetime64], days: int) -> int:
    """Return how many rows nine of ten windows hold that end with the newest row."""
    length = np.timedelta64(days, "D")
    number = int((known[-1] - known[0]) / length)
    if number < 1:
        return len(known)
    place = ((known[-1] - known) / length).astype(np.int64)
    counts = np.bincount(place[place < number], minlength=number)
    return int(np.quantile(counts, _FILLED, method="lower"))
