"""Rows of Python values, as database drivers give them, into columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from tasks.base.runtime.libraries import pa, pc
from tasks.base.source_notes import DecodedBytes, LostDigits, ReadingNote, UnreadColumn
from tasks.data.typing import byte_values
from tasks.data.typing.precision import loses_digits

_BYTES = (bytes, bytearray, memoryview)
_NESTED: tuple[tuple[type, str], ...] = (
    (list, "lists"), (tuple, "lists"), (dict, "structures"), (set, "sets"),
)  # fmt: skip
_EXACT = 2**53


class Columns:
    """Columns that grow by chunks of rows; each chunk is turned into Arrow at once."""

    # Columns with bytes wait for all their rows: what bytes mean, a few of them cannot show.

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.rows = 0
        self._chunks: list[list[Any]] = [[] for _ in self.names]
        self._found: list[dict[str, ReadingNote]] = [{} for _ in self.names]

    @property
    def findings(self) -> tuple[ReadingNote, ...]:
        """Notes on values left out, decoded or shortened; complete once there is a table."""
        return tuple(note for found in self._found for note in found.values())

    def add(self, rows: Sequence[Any]) -> None:
        """Take more rows, each as long as there are names."""
        self.rows += len(rows)
        for place, cells in enumerate(zip(*rows, strict=True)):
            raw = any(isinstance(cell, _BYTES) for cell in cells)
            self._chunks[place].append(list(cells) if raw else self._array(cells, place))

    def table(self) -> Any:
        """Return all rows; a column of mixed types becomes text."""
        columns = {}
        for place, (name, chunks) in enumerate(zip(self.names, self._chunks, strict=True)):
            joined = self._joined(chunks, place)
            if "unread_column" not in self._found[place]:
                columns[name] = joined
        return pa.table(columns)

    def _joined(self, chunks: list[Any], place: int) -> Any:
        if not any(isinstance(chunk, list) for chunk in chunks):
            return _joined(chunks)
        cells = [
            c for chunk in chunks for c in (chunk if isinstance(chunk, list) else chunk.to_pylist())
        ]
        decoded = _decoded(cells)
        name, found = self.names[place], self._found[place]
        if decoded is None:
            found.setdefault("unread_column", UnreadColumn(column=name, stored="bytes (BLOB)"))
            return None
        found["decoded_bytes"] = DecodedBytes(column=name, as_what=decoded[1])
        return _joined([self._array(decoded[0], place)])

    def _array(self, cells: Sequence[Any], place: int) -> Any:
        """Return cells as an array; nulls for lists and structures."""
        name, found = self.names[place], self._found[place]
        types: set[type] = {type(cell) for cell in cells} - {type(None)}
        nested = [word for kind, word in _NESTED if kind in types]
        if nested:
            found["unread_column"] = UnreadColumn(column=name, stored=nested[0])
            return pa.nulls(len(cells))
        for convert in _conversions(types):
            try:
                array = convert(cells)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
                continue
            exact = (c for c in cells if isinstance(c, Decimal) and c.is_finite())
            if Decimal in types and convert is _floats and loses_digits(exact):
                found["lost_digits"] = LostDigits(column=name, stored="numeric", kept="about 16")
            return array
        return pa.array([_text(cell) for cell in cells], pa.string())


def _decoded(cells: Sequence[Any]) -> tuple[Sequence[Any], str] | None:
    """Return cells with their bytes as text or numbers, and as which; None where they are none."""
    raw = [bytes(cell) for cell in cells if isinstance(cell, _BYTES)]
    column = pa.chunked_array([pa.array(raw, pa.binary())])
    texts, what = byte_values.text_of(column), "text"
    if texts is None and byte_values.look_like_uuids(column):
        texts, what = byte_values.uuids_of(column), "UUIDs"
    if texts is not None:
        of = dict(zip(raw, texts.to_pylist(), strict=True))
        return [of[bytes(c)] if isinstance(c, _BYTES) else c for c in cells], what
    found = byte_values.numbers_of(cells)
    return None if found is None else found


def _conversions(types: set[type]) -> list[Callable[[Sequence[Any]], Any]]:
    if types and types <= {int, float, Decimal} and types != {int}:
        # A whole number that no 64 bits hold, or no float beside fractions, makes a column text.
        return [_integers, _floats] if float not in types else [_floats]
    if types == {datetime}:
        return [_times]
    if types == {date}:
        return [lambda cells: pa.array(cells, pa.date32())]
    one = len(types) <= 1 and not types & {Decimal, UUID}
    return [pa.array] if one else []


def _floats(cells: Sequence[Any]) -> Any:
    if any(_has_no_float(cell) for cell in cells):
        raise pa.ArrowInvalid("a whole number has no float")
    numbers = [None if cell is None else float(cell) for cell in cells]
    return pa.array(numbers, pa.float64(), from_pandas=True)


def _has_no_float(cell: Any) -> bool:
    """Return whether a cell is a whole number that a float would change."""
    if isinstance(cell, Decimal):
        if not cell.is_finite() or cell != cell.to_integral_value():
            return False
        cell = int(cell)
    return isinstance(cell, int) and abs(cell) > _EXACT and int(float(cell)) != cell


def _integers(cells: Sequence[Any]) -> Any:
    if any(isinstance(cell, Decimal) and not cell.is_finite() for cell in cells):
        raise pa.ArrowInvalid("not finite")
    whole = [None if cell is None else int(cell) for cell in cells]
    if any(a is not None and a != b for a, b in zip(whole, cells, strict=True)):
        raise pa.ArrowInvalid("not whole")
    return pa.array(whole, pa.int64())


def _times(cells: Sequence[Any]) -> Any:
    zoned = {cell.tzinfo is not None for cell in cells if cell is not None}
    if zoned == {True}:
        utc = [None if cell is None else cell.astimezone(UTC) for cell in cells]
        return pa.array(utc, pa.timestamp("us", "UTC"))
    return pa.array(cells, pa.timestamp("us"))


def _text(cell: Any) -> str | None:
    if cell is None:
        return None
    if isinstance(cell, Decimal) and cell == cell.to_integral_value() and cell.is_finite():
        return str(int(cell))
    return cell.isoformat(" ") if isinstance(cell, datetime) else str(cell)


def _joined(chunks: list[Any]) -> Any:
    filled = [chunk for chunk in chunks if not pa.types.is_null(chunk.type)]
    if not filled:
        return pa.chunked_array([c.cast(pa.float64()) for c in chunks], pa.float64())
    types = {chunk.type for chunk in filled}
    if len(types) == 1:
        kind = types.pop()
    elif types <= {pa.int64(), pa.float64()} and all(map(_has_floats, filled)):
        kind = pa.float64()
    else:
        kind = pa.string()
    return pa.chunked_array([_cast(chunk, kind) for chunk in chunks], kind)


def _has_floats(chunk: Any) -> bool:
    """Return whether every number of a chunk has an exact float."""
    if not pa.types.is_integer(chunk.type):
        return True
    return all(abs(end or 0) <= _EXACT for end in pc.min_max(chunk).as_py().values())


def _cast(chunk: Any, kind: Any) -> Any:
    if kind == pa.string() and pa.types.is_boolean(chunk.type):
        return pa.array([_text(cell) for cell in chunk.to_pylist()], kind)
    return chunk.cast(kind)
