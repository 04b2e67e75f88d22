"""Windows on a fixed grid in UTC, the latest of them that is complete, and `--window`.

The grid starts on Monday, 1970-01-05: windows of 7 days run from Monday to Monday, windows of one
day from midnight to midnight.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import numpy as np

from tasks.base.errors import UsageError
from tasks.base.monitoring_records import Decision, Window
from tasks.base.text.durations import parse_duration
from tasks.base.text.phrases import minute
from tasks.base.training_records import Record
from tasks.base.utc_times import as_utc, naive_utc
from tasks.registry.open_pipeline import OpenPipeline
from tasks.serving.answered_rows import monitored_times

ANCHOR = datetime(1970, 1, 5, tzinfo=UTC)
_MOST_TILES = 1_000
_SLACK = 14  # a window may lack the last 1/14 of its length: half a day of a week
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


def left_over(text: str, windows: Sequence[Window]) -> tuple[str, ...]:
    """Return a note on what the whole `windows` leave at the end of the window ``A..B``.

    >>> left_over("2013-03-04..2013-03-13", parse_windows("2013-03-04..2013-03-13", "7d"))[0][:39]
    'Rows from 2013-03-11 00:00 to 2013-03-1'
    """
    end, last = parse_window(text).end, windows[-1].end
    if last >= end:
        return ()
    return (
        f"Rows from {minute(last)} to {minute(end)} UTC were not looked at: --every leaves less "
        "than a whole window there.",
    )


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


class Backlog(Record):
    """The windows of one pass."""

    windows: tuple[Window, ...]  # oldest first; the newest complete one is always the last
    waiting: int = 0  # windows with rows that are left for the next pass
    empty: int = 0  # windows without any row between those looked at; they are not reported


def backlog_of(
    newest: Window,
    looked_at: Collection[Window],
    since: datetime | None,
    *,
    most: int,
    recent: int,
    occupied: Callable[[Sequence[Window]], Sequence[bool]],
) -> Backlog:
    """Return the windows of a pass."""
    # A window is due once: when it lies on the grid after `since` (None: the last one looked at),
    # has rows, and is part of none that was looked at. Of more than `most` the pass covers the last
    # `recent`, since the policy reads those together, and the oldest. So the `newest`, looked at in
    # any case, never waits. `occupied` is called only where several are due.
    length = newest.end - newest.start
    if since is None:
        since = max((w.end for w in looked_at), default=newest.start)
    done = sorted((w.start, w.end) for w in looked_at)
    starts, reached = [start for start, _ in done], [*accumulate((end for _, end in done), max)]
    due = [
        w
        for w in grid(since, newest.start, length)
        if not (before := bisect_right(starts, w.start)) or reached[before - 1] < w.end
    ]
    filled = [w for w, full in zip(due, occupied(due), strict=True) if full] if due else []
    room = max(most, 1) - 1
    kept = filled
    if len(filled) > room:
        last = min(max(recent, 1) - 1, room)
        kept = [*filled[: room - last], *filled[len(filled) - last :]]
    return Backlog(
        windows=(*kept, newest), waiting=len(filled) - len(kept), empty=len(due) - len(filled)
    )


def looked_at(earlier: Sequence[Decision], contract: str) -> frozenset[Window]:
    """Return the windows that were monitored, or broke the contract of this digest."""
    return frozenset(
        d.window
        for d in earlier
        if d.window is not None
        and _is_look(d)
        and (d.kind == "monitored" or d.contract_digest == contract)
    )


def watched_since(earlier: Sequence[Decision], until: datetime | None) -> datetime | None:
    """Return from when on windows are due."""
    # That is `until`, the newest row of the champion's training. Of windows before the oldest that
    # is remembered nothing is due: their records are older than the retention. A window that a
    # person named is no sign of that.
    starts = [
        d.window.start
        for d in earlier
        if d.window is not None and _is_look(d) and d.evidence.get("asked") is not True
    ]
    if until is None or not starts:
        return until
    return max(until, min(starts))


def _is_look(decision: Decision) -> bool:
    flow = decision.evidence.get("flow")
    return decision.kind == "monitored" or (decision.kind == "stopped" and flow == "monitoring")


def occupied_in(pipeline: OpenPipeline, windows: Sequence[Window]) -> tuple[bool, ...]:
    """Return for each of `windows`, of one length and in order, whether it has rows to score."""
    times = monitored_times(pipeline, Window(start=windows[0].start, end=windows[-1].end))
    starts = np.array([naive_utc(w.start) for w in windows], dtype="datetime64[us]")
    ends = np.array([naive_utc(w.end) for w in windows], dtype="datetime64[us]")
    rows = np.searchsorted(times, ends) - np.searchsorted(times, starts)
    return tuple(bool(count) for count in rows)
