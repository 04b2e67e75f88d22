"""A table as a source gave it: typed columns, and what was assumed to get there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from tasks.base.errors import ConfigError, SourceError
from tasks.base.runtime.libraries import pa, pc
from tasks.base.source_notes import ReadingNote
from tasks.base.text.phrases import listed
from tasks.base.text.terminal import know_names
from tasks.base.utc_times import as_utc as as_utc

MAX_COLUMNS = 20_000
"""At about 4 ms of processor time a column, a minute and a half before the first fit."""


@dataclass(frozen=True)
class SourceTable:
    """Rows read from a source."""

    table: Any  # pyarrow.Table of numbers, booleans, timestamps, strings
    assumptions: tuple[str, ...] = ()  # sentences, with where to change it
    latest: datetime | None = None  # greatest time, in UTC
    detected: Mapping[str, Any] = field(default_factory=dict)  # options of the source
    findings: tuple[ReadingNote, ...] = ()
    rewritten: frozenset[str] = frozenset()  # whole numbers; see `Typing`
    written: Mapping[str, str] = field(default_factory=dict)  # as in `ColumnForm`

    def __post_init__(self) -> None:
        know_names(self.table.column_names)
        require_few_columns(len(self.table.column_names))


def require_few_columns(number: int) -> None:
    """Refuse a table of more columns than can be typed, checked and fitted in reasonable time."""
    if number > MAX_COLUMNS:
        raise SourceError(
            f"The source has {number:,} columns; keepfit reads {MAX_COLUMNS:,} at most.",
            "Select fewer: with `source.query` of a database, or in the file itself.",
        )


def time_range(column: Any) -> tuple[datetime | None, datetime | None]:
    """Return least and greatest time of a timestamp column, in UTC; None without any."""
    ends = pc.min_max(column)
    low, high = (ends[name].cast(pa.timestamp("us", column.type.tz)).as_py() for name in ends)
    return (None if low is None else as_utc(low), None if high is None else as_utc(high))


def within(table: Any, time_column: str, start: datetime | None, end: datetime | None) -> Any:
    """Return the rows whose time lies in [start, end); without both ends, all rows."""
    if start is None and end is None:
        return table
    column = table[time_column]
    keep = pc.is_valid(column)
    for moment, compare in ((start, pc.greater_equal), (end, pc.less)):
        if moment is not None:
            keep = pc.and_kleene(keep, compare(column, moment_scalar(moment, column.type)))
    # A table that is mapped from disk stays so.
    return table if pc.all(keep, skip_nulls=False).as_py() else table.filter(keep)


def moment_scalar(moment: datetime, kind: Any) -> Any:
    """Return `moment` as a scalar that compares with a timestamp column of type `kind`."""
    scalar = pa.scalar(as_utc(moment), pa.timestamp("us", "UTC"))
    return scalar if kind.tz is not None else scalar.cast(pa.timestamp("us"))


def absent_column(role: str, column: str, names: Sequence[str], where: str) -> ConfigError:
    """Return the error for a column that the file names and the table or source lacks."""
    near = nearest(column, tuple(names))
    hint = f"; nearest: {near}" if near else ""
    return ConfigError(
        f"`{role}` names {column!r}, which the {where} lacks{hint}.",
        f"The columns: {listed(list(names), 12)}.",
    )


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return the known name closest to `name`, or an empty text.

    >>> nearest("arr_lat", ["carrier", "arr_late"])
    'arr_late'
    """
    folded = {candidate.casefold(): candidate for candidate in reversed(known)}
    near = get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.5)
    return folded[near[0]] if near else ""
