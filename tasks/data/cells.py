"""Rows of Python values, as database drivers give them, into columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

_TIME = pa.timestamp("us")
_BYTES = (bytes, bytearray, memoryview)


class Columns:
    """Columns that grow by chunks of rows; each chunk is turned into Arrow at once.

    Attributes
    ----------
    rows
        Rows taken so far.
    notes
        What was left out, one sentence each.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.rows = 0
        self.notes: list[str] = []
        self._chunks: list[list[Any]] = [[] for _ in self.names]

    def add(self, rows: Sequence[Any]) -> None:
        """Take more rows, each as long as there are names."""
        self.rows += len(rows)
        for chunks, cells in zip(self._chunks, zip(*rows, strict=True), strict=False):
            chunks.append(_array(cells))

    def table(self) -> Any:
        """Return all rows; a column of mixed types becomes text."""
        columns = {}
        for name, chunks in zip(self.names, self._chunks, strict=True):
            if any(chunk is None for chunk in chunks):
                self.notes.append(f"{name}: left out, because cells hold lists or structures")
                continue
            columns[name] = _joined(chunks)
        return pa.table(columns)


def _array(cells: Sequence[Any]) -> Any | None:
    """Return cells as an array; None for lists and structures."""
    types = {type(cell) for cell in cells} - {type(None)}
    if any(issubclass(kind, (list, dict, tuple, set)) for kind in types):
        return None
    if any(issubclass(kind, _BYTES) for kind in types):
        return None
    for convert in _conversions(types):
        try:
            return convert(cells)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            continue
    return pa.array([_text(cell) for cell in cells], pa.string())


def _conversions(types: set[type]) -> list[Callable[[Sequence[Any]], Any]]:
    if types and types <= {int, float, Decimal} and types != {int}:
        # Beyond 2**53 a whole number has no exact float: such a column is text.
        return [_floats] if types != {int, Decimal} else [_integers, _floats]
    if types == {datetime}:
        return [_times]
    if types == {date}:
        return [lambda cells: pa.array(cells, pa.date32())]
    if types and types <= {date, datetime}:
        return []
    if len(types) <= 1 and not types & {Decimal, time, timedelta}:
        return [pa.array]
    if types in ({time}, {timedelta}):
        return [pa.array]
    return []


def _floats(cells: Sequence[Any]) -> Any:
    return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())


def _integers(cells: Sequence[Any]) -> Any:
    whole = [None if cell is None else int(cell) for cell in cells]
    if any(a is not None and a != b for a, b in zip(whole, cells, strict=True)):
        raise pa.ArrowInvalid("not whole")
    return pa.array(whole, pa.int64())


def _times(cells: Sequence[Any]) -> Any:
    zoned = {cell.tzinfo is not None for cell in cells if cell is not None}
    if zoned == {True}:
        utc = [None if cell is None else cell.astimezone(UTC) for cell in cells]
        return pa.array(utc, pa.timestamp("us", "UTC"))
    return pa.array(cells, _TIME)


def _text(cell: Any) -> str | None:
    if cell is None:
        return None
    return cell.isoformat(" ") if isinstance(cell, datetime) else str(cell)


def _joined(chunks: list[Any]) -> Any:
    filled = [chunk for chunk in chunks if not pa.types.is_null(chunk.type)]
    if not filled:
        return pa.chunked_array([c.cast(pa.float64()) for c in chunks], pa.float64())
    types = {chunk.type for chunk in filled}
    if len(types) == 1:
        kind = types.pop()
    elif types <= {pa.int64(), pa.float64()}:
        kind = pa.float64()
    else:
        kind = pa.string()
    return pa.chunked_array([_cast(chunk, kind) for chunk in chunks], kind)


def _cast(chunk: Any, kind: Any) -> Any:
    if kind == pa.string() and pa.types.is_boolean(chunk.type):
        return pa.array([_text(cell) for cell in chunk.to_pylist()], kind)
    return chunk.cast(kind)
