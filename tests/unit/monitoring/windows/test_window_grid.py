from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.base.errors import UsageError
from tasks.monitoring.windows.window_grid import (
    ANCHOR,
    latest_complete,
    left_over,
    parse_window,
    parse_windows,
)

MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)
LENGTHS = st.integers(60, 90 * 86_400).map(lambda seconds: timedelta(seconds=seconds))


@given(MOMENTS, MOMENTS, LENGTHS)
def test_a_complete_window_lies_on_the_grid_and_in_the_past(
    newest: datetime, now: datetime, length: timedelta
) -> None:
    window = latest_complete(newest, now, length)
    assert window.end - window.start == length
    assert (window.start - ANCHOR) % length == timedelta(0)
    assert window.end <= now
    last = min(newest, now)
    assert window.end - length / 14 <= last
    # The next one is not complete yet: no row at its end, and not nearly so, or not over.
    after = window.end + length
    assert last < after - length / 14 or after > now


@given(MOMENTS, MOMENTS, LENGTHS, st.integers(0, 10**7))
def test_more_rows_never_move_the_window_back(
    newest: datetime, now: datetime, length: timedelta, seconds: int
) -> None:
    later = newest + timedelta(seconds=seconds)
    assert latest_complete(newest, now, length).end <= latest_complete(later, now, length).end


def test_weeks_run_from_monday_and_days_from_midnight() -> None:
    newest = datetime(2013, 3, 13, 9, tzinfo=UTC)
    now = newest + timedelta(hours=1)
    assert str(latest_complete(newest, now, timedelta(days=7))) == "2013-03-04..2013-03-11"
    assert str(latest_complete(newest, now, timedelta(days=1))) == "2013-03-12..2013-03-13"


def test_a_week_whose_last_rows_come_late_in_it_is_complete_once_it_is_over() -> None:
    sunday = datetime(2013, 3, 10, 21, tzinfo=UTC)
    week = timedelta(days=7)
    monday = datetime(2013, 3, 11, tzinfo=UTC)
    assert latest_complete(sunday, monday, week).end == monday
    assert latest_complete(sunday, monday - timedelta(minutes=1), week).end < monday
    assert latest_complete(datetime(2013, 3, 10, 11, tzinfo=UTC), monday, week).end < monday


def test_a_row_in_the_future_completes_nothing() -> None:
    now = datetime(2013, 3, 13, tzinfo=UTC)
    window = latest_complete(datetime(2099, 1, 1, tzinfo=UTC), now, timedelta(days=7))
    assert str(window) == "2013-03-04..2013-03-11"


def test_a_time_without_zone_is_utc() -> None:
    window = latest_complete(datetime(2013, 3, 13), datetime(2013, 3, 14), timedelta(days=7))
    assert window.end == datetime(2013, 3, 11, tzinfo=UTC)


def test_a_window_is_parsed_in_utc() -> None:
    window = parse_window(" 2013-03-04T02:00+02:00 .. 2013-03-11 ")
    assert window.start == datetime(2013, 3, 4, tzinfo=UTC)
    assert window.end == datetime(2013, 3, 11, tzinfo=UTC)
    assert parse_window(str(window)) == window


@pytest.mark.parametrize(
    "text",
    ["", "..", "2013-03-04", "2013-03-04..", "..2013-03-04", "2013-03-11..2013-03-04",
     "2013-03-04..2013-03-04", "a..b", "2013-03-04...2013-03-11", "2013-13-01..2014-01-01",
     "2013-03-04..2013-03-11..2013-03-18", "0001-01-01T00:00+14:00..2013-01-01"],
)  # fmt: skip
def test_what_is_no_window_is_told_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_window(text)
    assert repr(text) in caught.value.message
    assert "--window 2013-03-04..2013-03-11" in caught.value.remedy


@pytest.mark.parametrize(
    ("end", "rest"),
    [("2024-02-05", ""), ("2024-02-07T12:30", "2024-02-05 00:00 to 2024-02-07 12:30")],
)
def test_rows_that_fill_no_whole_window_are_named(end: str, rest: str) -> None:
    text = f"2024-01-01..{end}"
    windows = parse_windows(text, "7d")

    assert len(windows) == 5
    notes = left_over(text, windows)
    assert len(notes) == bool(rest)
    assert all(rest in note for note in notes)
