"""Windows on a fixed grid in UTC, and the latest of them that is complete.

The grid starts on Monday, 1970-01-05: windows of 7 days run from Monday to Monday, windows of one
day from midnight to midnight.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasks.base.errors import UsageError
from tasks.base.loop import Window
from tasks.data.tables import as_utc

ANCHOR = datetime(1970, 1, 5, tzinfo=UTC)
_SLACK = 14
"""A window may lack the last 1/14 of its length: half a day of a week."""
_EXAMPLE = "Write it as --window 2013-03-04..2013-03-11: days or ISO times in UTC, the end open."


def latest_complete(newest: datetime, now: datetime, length: timedelta) -> Window:
    """Return the latest window of the grid whose rows are all there.

    It is complete when a row at its end or later exists, or when its end is not in the future and
    the newest row lies within 1/14 of `length` before it. Rows in the future complete nothing.

    Parameters
    ----------
    newest
        Greatest time of the rows; without a zone it is taken as UTC, as `now` is.
    length
        Of one window, above zero.
    """
    current = as_utc(now)
    last = min(as_utc(newest), current)
    start = ANCHOR + (last - ANCHOR) // length * length
    end = start + length
    if end <= current and last >= end - length / _SLACK:
        return Window(start=start, end=end)
    return Window(start=start - length, end=start)


def parse_window(text: str) -> Window:
    """Return the window that ``A..B`` writes.

    Raises
    ------
    UsageError
        When it is not two days or times with the earlier first; the message has an example.

    Examples
    --------
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
