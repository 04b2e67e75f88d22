"""One window that a monitoring pass looks at, and all of a pass."""

from __future__ import annotations

from tasks.base.monitoring_records import Cause, Window
from tasks.base.training_records import ModelVersion, Record


class Look(Record):
    """One window that a pass looks at, and why.

    Attributes
    ----------
    window
        None for a pipeline without a time column: all rows to score are looked at.
    notes
        What a person should know about the choice.
    last
        Whether the pass ends with it: then earlier windows are restated where labels have arrived
        since, and the policy decides.
    asked
        Whether a person named the window.
    """

    champion: ModelVersion
    window: Window | None
    cause: Cause
    notes: tuple[str, ...] = ()
    last: bool = True
    asked: bool = False


class Watch(Record):
    """The windows of one pass, oldest first.

    Attributes
    ----------
    waiting
        Windows that are left for the next pass.
    empty
        Windows without rows that were passed over.
    """

    looks: tuple[Look, ...]
    waiting: int = 0
    empty: int = 0
