"""Windows of a monitoring pass: all that have come since, as far as one pass goes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

import numpy as np

from tasks.base.monitoring_records import Decision, Window
from tasks.base.training_records import Record
from tasks.monitoring.windows.window_grid import grid
from tasks.registry.open_pipeline import OpenPipeline
from tasks.serving.answered_rows import monitored_times


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
    # has rows, and is part of none that was looked at. Where more are due than `most`, the pass
    # covers the last `recent`, since the policy reads those together, and the oldest of the rest.
    # So the `newest` window, looked at in any case, never waits. `occupied` is called only where
    # several are due.
    length = newest.end - newest.start
    if since is None:
        since = max((w.end for w in looked_at), default=newest.start)
    done = sorted((w.start, w.end) for w in looked_at)
    due = [
        w
        for w in grid(since, newest.start, length)
        if not any(start <= w.start and w.end <= end for start, end in done)
    ]
    filled = [w for w, full in zip(due, occupied(due), strict=True) if full] if due else []
    room = max(most, 1) - 1
    kept = filled
    if len(filled) > room:
        last = min(max(recent, 1) - 1, room)
        kept = [*filled[: room - last], *filled[len(filled) - last :]]
    return Backlog(
        windows=(*kept, newest),
        waiting=len(filled) - len(kept),
        empty=len(due) - len(filled),
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
    starts = np.array([_naive(w.start) for w in windows], dtype="datetime64[us]")
    ends = np.array([_naive(w.end) for w in windows], dtype="datetime64[us]")
    rows = np.searchsorted(times, ends) - np.searchsorted(times, starts)
    return tuple(bool(count) for count in rows)


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None) - (moment.utcoffset() or timedelta(0))
