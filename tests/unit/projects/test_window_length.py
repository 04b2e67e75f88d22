"""The windows that `keepfit init` proposes hold enough rows to be judged."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.base.settings.monitoring import MonitoringConfig
from tasks.projects.window_length import window_length


def times(every: str, days: int) -> np.ndarray:
    start = np.datetime64("2024-01-01", "s")
    number, unit = every.split()
    step = np.timedelta64(int(number), unit)
    return np.arange(start, start + np.timedelta64(days, "D"), step)


@pytest.mark.parametrize(
    ("every", "days", "length"),
    [("10 m", 365, 7), ("1 h", 365, 14), ("4 h", 730, 56), ("10 m", 20, 7)],
)
def test_windows_are_as_long_as_their_rows_need(every: str, days: int, length: int) -> None:
    found = window_length(times(every, days))
    assert found.values == {"window": f"{length}d"}
    assert found.rows >= MonitoringConfig().min_rows
    assert bool(found.assumption) == (length != 7)


def test_a_daily_table_is_judged_on_fewer_rows_and_this_is_stated() -> None:
    found = window_length(times("24 h", 3 * 365))
    assert found.days == 91
    assert 20 <= found.min_rows < found.rows == 91
    assert f"from {found.min_rows} rows" in found.assumption


def test_gaps_and_missing_times_are_no_rows() -> None:
    rows = times("1 h", 365)
    rows[::2] = np.datetime64("NaT")
    assert window_length(rows).days == 28
    assert window_length(np.full(3, np.datetime64("NaT"), "datetime64[s]")).days == 7
