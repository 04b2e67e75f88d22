"""One window that a monitoring pass looks at, and all of a pass."""

from __future__ import annotations

from tasks.base.monitoring_records import Cause, Window
from tasks.base.training_records import ModelVersion, Record


class Look(Record):
    """One window that a pass looks at, and why."""

    champion: ModelVersion
    window: Window | None  # None for a pipeline without a time column: all rows to score
    cause: Cause
    notes: tuple[str, ...] = ()  # what a person should know about the choice
    last: bool = True  # whether the pass ends with it: it restates windows and decides
    asked: bool = False  # whether a person named the window


class Watch(Record):
    """The windows of one pass, oldest first."""

    looks: tuple[Look, ...]
    waiting: int = 0  # Windows that are left for the next pass
    empty: int = 0  # windows without rows that were passed over
