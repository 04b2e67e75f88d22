"""The time column of a source, whatever it is written as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.base.errors import DataError
from tasks.base.runtime.libraries import pa
from tasks.base.source_notes import ReadingNote, UnreadColumn
from tasks.base.training_records import Kind
from tasks.data.typing import numbers as number_text
from tasks.data.typing import times as time_text
from tasks.data.typing.distinct_values import Distinct
from tasks.data.typing.text_rules import NULL_TOKENS


def require_times(table: Any, time_column: str | None, notes: list[str]) -> Any:
    """Return `table` with its time column as timestamps."""
    if time_column is None or time_column not in table.column_names:
        return table
    position = table.column_names.index(time_column)
    column = table[position]
    if pa.types.is_timestamp(column.type):
        return table
    if not len(column):
        return table.set_column(position, time_column, pa.array([], pa.timestamp("us")))
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        found = _from_numbers(column)
    else:
        found = _from_text(column) if pa.types.is_string(column.type) else None
    if found is None:
        raise _no_time(column, time_column)
    if found[1]:
        notes.append(f"{time_column}: {found[1]}")
    return table.set_column(position, time_column, found[0])


def require_readable(time_column: str | None, table: Any, findings: Iterable[ReadingNote]) -> None:
    """Refuse a time column that was left out of `table` because of how it is stored."""
    stored = {note.column: note.stored for note in findings if isinstance(note, UnreadColumn)}
    if time_column in stored and time_column not in table.column_names:
        raise DataError(
            f"column {time_column!r}, which `time_column` names, is {stored[time_column]}: no "
            "times.",
            "Name another column, or write it as times before.",
        )


def _from_numbers(column: Any) -> tuple[Any, str] | None:
    found = time_text.numbers_as_times(column)
    return None if found is None else (found[0], f"numbers taken as {found[1]}")


def _from_text(column: Any) -> tuple[Any, str] | None:
    """Return text as times, and what was assumed of it; None where it is no time."""
    distinct = Distinct(column, NULL_TOKENS)
    if not len(distinct.values):
        return None
    times = time_text.parse_times(distinct.values)
    if times is not None:
        either = times.order == "ambiguous"
        note = "dates can be read two ways; read with the day before month" if either else ""
        return distinct.spread(times.values), note
    numbers = number_text.plain_numbers(distinct.values)
    found = None if numbers is None else _from_numbers(numbers)
    return None if found is None else (distinct.spread(found[0]), found[1])


def declared_times(table: Any, kinds: Mapping[str, Kind]) -> Any:
    """Return `table` with the columns declared as times made into times, where they can be."""
    for name, kind in kinds.items():
        if kind == "datetime" and name in table.column_names:
            try:
                table = require_times(table, name, [])
            except DataError:
                # The contract names what a later file broke; build_schema what never was a time.
                continue
    return table


def _no_time(column: Any, time_column: str) -> DataError:
    present = column.drop_null()
    example = repr(str(present[0].as_py())[:40]) if len(present) else "no value"
    if pa.types.is_string(column.type):
        for row, cell in enumerate(column[:100_000].to_pylist()):
            if cell and time_text.parse_times(pa.array([cell.strip()])) is None:
                example = f"{cell[:40]!r} in row {row + 1:,}"
                break
    return DataError(
        f"the time column {time_column!r} holds {example}, which is not a time.",
        "Name another time_column, fix the cell, or state source.date_formats.",
    )
