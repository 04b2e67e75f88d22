"""Windows in the order of their time, each with its latest result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from tasks.base.monitoring_records import ColumnFinding, Decision, DriftResult, Performance, Window
from tasks.base.training_records import Record
from tasks.history.evidence import MOVES, flow_of


class Point(Record):
    """One window as the charts show it."""

    decision: str  # id of the decision that looked at it last, or stopped it
    at: datetime
    window: Window | None
    version: str | None
    stopped: bool = False  # whether its rows broke their contract
    rows: int | None = None
    drift: DriftResult | None = None
    performance: Performance | None = None
    report: str = ""

    @property
    def starts(self) -> datetime:
        """Start of its rows; without a window, when it was looked at."""
        return self.window.start if self.window else self.at

    @property
    def ratio(self) -> float | None:
        """The family's statistic relative to its limit; None where it was not judged."""
        return None if self.drift is None else relative(self.drift.score, self.drift.limit)


class Mark(Record):
    """Time from which another version scores."""

    place: int  # number of windows before it
    version: str
    back: bool  # whether it was a rollback
    at: datetime


def relative(value: float | None, limit: float | None) -> float | None:
    """Return a statistic as a multiple of its threshold; None where either is absent or zero.

    >>> relative(3.0, 2.0), relative(0.3, 0.0), relative(None, 1.0)
    (1.5, None, None)
    """
    if value is None or limit is None or not limit > 0:
        return None
    return value / limit


def points(decisions: Iterable[Decision]) -> tuple[Point, ...]:
    """Return the windows that were monitored or stopped, in the order of their time."""
    # Of a window looked at several times the last look counts, and of its performance the last
    # statement, which a later window's monitoring may have made when labels had arrived. A stop of
    # a window is an entry of its own beside what was found before, until the window is judged
    # again; a stopped training is about no window.
    looked: dict[str, Point] = {}
    stopped: dict[str, Point] = {}
    latest: dict[str, Performance] = {}
    for decision in sorted(decisions, key=lambda d: d.at):
        key = _key(decision.window, decision.id)
        if decision.kind == "stopped" and decision.window and flow_of(decision) == "monitoring":
            stopped[key] = _point(decision)
        if decision.kind == "monitored":
            stopped.pop(key, None)
            looked[key] = _point(decision)
            for performance in decision.read_all(Performance, "performance"):
                latest[_key(performance.window, decision.id)] = performance
    placed = [p.model_copy(update={"performance": latest.get(key)}) for key, p in looked.items()]
    return tuple(sorted([*placed, *stopped.values()], key=lambda p: (p.starts, p.at)))


def _key(window: Window | None, otherwise: str) -> str:
    return f"{window.start.isoformat()} {window.end.isoformat()}" if window else otherwise


def _point(decision: Decision) -> Point:
    rows = decision.evidence.get("rows")
    return Point(
        decision=decision.id,
        at=decision.at,
        window=decision.window,
        version=decision.version,
        stopped=decision.kind == "stopped",
        rows=rows if isinstance(rows, int) else None,
        drift=decision.read(DriftResult, "drift"),
        report=decision.links.get("report", ""),
    )


def marks(shown: Sequence[Point], decisions: Iterable[Decision]) -> tuple[Mark, ...]:
    """Return where the version changed among the `shown` windows, the first version included."""
    # A move, of the clock's time, stands before the first window that was looked at after it.
    found = []
    moves = sorted((d for d in decisions if d.kind in MOVES and d.version), key=lambda d: d.at)
    for move in moves:
        place = sum(point.at <= move.at for point in shown)
        found.append(
            Mark(
                place=place, version=move.version or "", back=move.kind == "rolled_back", at=move.at
            )
        )
    latest = {mark.place: mark for mark in found}
    return tuple(latest[place] for place in sorted(latest))


def moving_columns(shown: Sequence[Point], most: int) -> tuple[str, ...]:
    """Return the columns to look at: those that drifted in most windows, then the important."""
    counts: dict[str, int] = {}
    weight: dict[str, float] = {}
    for point in shown:
        columns = point.drift.columns if point.drift else ()
        for found in (c for c in columns if c.role != "new"):
            counts[found.column] = counts.get(found.column, 0) + found.drifted
            weight[found.column] = max(weight.get(found.column, 0.0), found.importance or 0.0)
    ordered = sorted(counts, key=lambda c: (-counts[c], -weight[c], c))
    return tuple(ordered[:most])


def finding(point: Point, column: str) -> ColumnFinding | None:
    """Return the finding on a column in one window."""
    columns = point.drift.columns if point.drift else ()
    return next((c for c in columns if c.column == column), None)
