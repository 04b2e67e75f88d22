"""Windows on a fixed grid in UTC, the latest of them that is complete, and `--window`.

The grid starts on Monday, 1970-01-05: windows of 7 days run from Monday to Monday, windows of one
day from midnight to midnight.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasks.base.errors import UsageError
from tasks.base.monitoring_records import Window
from tasks.base.text.durations import parse_duration
from tasks.base.utc_times import as_utc

ANCHOR = datetime(1970, 1, 5, tzinfo=UTC)
_MOST_TILES = 1_000
_SLACK = 14
"""A window may lack the last 1/14 of its length: half a day of a week."""
_EXAMPLE = "Write it as --window 2013-03-04..2013-03-11: days or ISO times in UTC, the end open."


def latest_complete(newest: datetime, now: datetime, length: timedelta) -> Window:
    """Return the latest window of the grid, of `length` above zero, whose rows are all there."""
    # It is complete when a row at its end or later exists, or when its end is not in the future and
    # the `newest` row lies within 1/14 of `length` before it. Rows in the future complete nothing.
    # A time without a zone is in UTC.
    current = as_utc(now)
    last = min(as_utc(newest), current)
    start = ANCHOR + (last - ANCHOR) // length * length
    end = start + length
    if end <= current and last >= end - length / _SLACK:
        return Window(start=start, end=end)
    return Window(start=start - length, end=start)


def mostly_before(moment: datetime, length: timedelta) -> datetime:
    """Return the moment by which windows end of which nearly all rows lie before `moment`."""
    # Nearly all are all but the last 1/14 of a window's `length`.
    return as_utc(moment) + length / _SLACK


def grid(start: datetime, end: datetime, length: timedelta) -> tuple[Window, ...]:
    """Return the windows of the grid that end after `start` and, whole, by `end`, oldest first.

    >>> day = datetime(2013, 3, 6, tzinfo=UTC)
    >>> [str(w) for w in grid(day, day + timedelta(days=6), timedelta(days=7))]
    ['2013-03-04..2013-03-11']
    """
    first = ANCHOR + (as_utc(start) - ANCHOR) // length * length
    return tiles(Window(start=first, end=max(first, as_utc(end))), length)


def tiles(span: Window, length: timedelta) -> tuple[Window, ...]:
    """Return the whole windows of `length` that lie side by side from the start of `span` on."""
    starts = (span.start + place * length for place in range((span.end - span.start) // length))
    return tuple(Window(start=start, end=start + length) for start in starts)


def parse_windows(text: str, every: str | None = None) -> tuple[Window, ...]:
    """Return the window that ``A..B`` writes, cut into windows of the length `every` if given."""
    # Raises UsageError when `every` is longer than the window, or cuts it into more than 1,000.
    span = parse_window(text)
    if every is None:
        return (span,)
    try:
        length = parse_duration(every)
    except ValueError as error:
        raise UsageError(f"--every {every}: {error}.") from None
    count = (span.end - span.start) // length
    if not 1 <= count <= _MOST_TILES:
        raise UsageError(
            f"--every {every} cuts {text!r} into {count:,} whole windows; 1 to {_MOST_TILES:,} "
            "are possible.",
            "Write a shorter or a longer --every, such as 7d, or another --window.",
        )
    return tiles(span, length)


def parse_window(text: str) -> Window:
    """Return the window that ``A..B`` writes.

    Raises UsageError when it is not two days or times with the earlier first; the message has an
    example.

    >>> parse_window("2013-03-04..2013-03-11").end.isoformat()
    '2013-03-11T00:00:00+00:00'
    """
    start, dots, end = text.strip().partition("..")
    if not dots or ".." in end:
        raise UsageError(f"{text!r} is no window: it has two ends and two dots between.", _EXAMPLE)
    window = Window(start=_moment(start, text), end=_moment(end, text))
    if window.start >= window.end:
        raise UsageError(f"{text!r} is no window: its start must lie before its end.", _EXAMPLE)
    return window


def _moment(part: str, text: str) -> datetime:
    try:
        return as_utc(datetime.fromisoformat(part.strip()))
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no window: {part.strip()!r} is no day and no time.", _EXAMPLE
        ) from None
