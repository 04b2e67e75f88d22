"""The rows of a request, column by column, with a fault for each cell that does not fit.

A cell of the type that its column has is taken as it is. Any other is read by the code that types
the rows of a source, so that numbers as text, or times with an offset, get the predictions that
``keepfit score`` gives them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from operator import itemgetter
from typing import Any, Literal

import numpy as np

from expectations.text.phrases import say_value, shorten
from tasks.base.errors import DataError
from tasks.base.runtime.libraries import pd
from tasks.data.sources.frames import STORED, LostDigitsError, typed_frame
from tasks.data.typing.storage import ColumnForm, Storage

Cells = list[Any]  # of one column, None where there is none; times: us since 1970, UTC
CellType = Storage | Literal["any"]

_MOST_READ_ALONE = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?")
_TYPES: dict[CellType, str] = {
    "number": "a number",
    "boolean": "true or false",
    "time": "a time such as 2026-01-31T08:00:00Z",
    "text": "text",
    "any": "text, a number, true or false",
}


@dataclass(frozen=True)
class Fault:
    """Why one row of a request has no prediction."""

    column: str | None  # None for a rule on the whole row
    rule: str  # `present`, `kind`, or a rule of the contract
    message: str
    remedy: str = ""


@dataclass
class RequestColumns:
    """The cells of a request and what is wrong with them."""

    rows: int
    cells: dict[str, Cells]  # column to its values, None where there is none or it is at fault
    faults: dict[int, list[Fault]] = field(default_factory=dict)  # row to its faults
    ignored: tuple[str, ...] = ()  # names in the request that no column has
    # Column that a row may lack to the rows that lack it; a null is there.
    absent: dict[str, Sequence[int]] = field(default_factory=dict)

    def add(self, row: int, fault: Fault) -> None:
        """Record a fault of a row."""
        self.faults.setdefault(row, []).append(fault)

    def good(self) -> list[int]:
        """Return the rows without a fault."""
        if not self.faults:
            return list(range(self.rows))
        return [row for row in range(self.rows) if row not in self.faults]

    def taken(self, rows: Sequence[int]) -> RequestColumns:
        """Return some of the rows."""
        if len(rows) == self.rows:
            return self
        cells = {name: [values[row] for row in rows] for name, values in self.cells.items()}
        return RequestColumns(len(rows), cells)


@dataclass(frozen=True)
class Column:
    """One column that requests may hold."""

    name: str
    form: ColumnForm  # how a source stores it
    needed: bool = True  # whether a row without it is at fault; else its cell is null
    padded: str | None = None  # a code with leading zeros that the column has, if any

    @cached_property
    def type(self) -> CellType:
        """The type of its cells."""
        if self.form.kind == "datetime":
            return "time"
        storage = self.form.storage or STORED.get(self.form.kind)
        return "any" if storage is None else storage

    def cells(self, values: Cells, out: RequestColumns) -> Cells:
        """Return `values` as the column's cells; what it cannot take becomes a fault in `out`."""
        if _PLAIN[self.type].issuperset(map(type, values)):
            return values
        convert = _CONVERSIONS[self.type]
        found: Cells = []
        odd: list[int] = []
        for place, value in enumerate(values):
            cell = None if value is None else convert(value)
            if cell is _ODD or (self.padded and type(value) is int):
                odd.append(place)
                cell = None
            found.append(cell)
        if odd:
            self._read([values[place] for place in odd], odd, found, out)
        return found

    def _read(self, values: Cells, places: list[int], found: Cells, out: RequestColumns) -> None:
        """Read cells as the cells of a source are; together, else one by one."""
        try:
            read = self._typed(values)
        except DataError as error:
            if len(values) == 1:
                out.add(places[0], self._fault(values[0], error))
                return
            if len(values) > _MOST_READ_ALONE:
                for place, value in zip(places, values, strict=True):
                    out.add(place, self._fault(value, error))
                return
            for place, value in zip(places, values, strict=True):
                self._read([value], [place], found, out)
            return
        for place, cell in zip(places, read, strict=True):
            found[place] = cell

    def _typed(self, values: Cells) -> Cells:
        if any(isinstance(value, dict | list) for value in values):
            raise DataError("Objects and lists are no cells.")
        padded = {self.name: self.padded} if self.padded else {}
        frame = pd.DataFrame({self.name: pd.Series(values, dtype=object)})
        try:
            typed = typed_frame(frame, {self.name: self.form}, padded)[self.name]
        except (OverflowError, ValueError, TypeError) as error:
            raise DataError(str(error)[:200]) from None
        return cells_of(typed, self.type)

    def _fault(self, value: object, error: DataError) -> Fault:
        shown = "an object or a list" if isinstance(value, dict | list) else repr(say_value(value))
        remedy = f"Send {_TYPES[self.type]}, or null where the value is not known."
        if self.padded and isinstance(value, int | float):
            remedy = f"Send the code as text, such as {self.padded!r}: numbers lose leading zeros."
        if isinstance(error, LostDigitsError):
            shown += f" ({shorten(error.message, 120)})"
        message = f"{shorten(self.name, 60)} needs {_TYPES[self.type]}; got {shown}."
        return Fault(self.name, "kind", message, remedy)


def cells_of(typed: pd.Series[Any], kind: CellType) -> Cells:
    """Return a column of a snapshot's frame as cells."""
    if kind == "time":
        plain = pd.to_datetime(typed, utc=True).dt.tz_localize(None).to_numpy("datetime64[us]")
        return [
            None if null else int(moment)
            for moment, null in zip(plain.astype(np.int64), np.isnat(plain), strict=True)
        ]
    return [None if null else v for v, null in zip(typed.tolist(), typed.isna(), strict=True)]


class _Odd:
    """Marks a cell that is no plain value of its column."""


_ODD = _Odd()
_NONE = type(None)
_PLAIN: dict[CellType, frozenset[type]] = {
    "number": frozenset({float, int, _NONE}),
    "boolean": frozenset({bool, _NONE}),
    "time": frozenset({_NONE}),
    "text": frozenset({str, _NONE}),
    "any": frozenset({str, bool, float, _NONE}),
}


def _number(value: Any) -> Any:
    return value if type(value) in (float, int, bool) else _ODD


def _truth(value: Any) -> Any:
    if type(value) is bool:
        return value
    return bool(value) if type(value) in (int, float) and value in (0, 1) else _ODD


def _text(value: Any) -> Any:
    if type(value) is str:
        return value
    return str(value) if type(value) is int else _ODD


def _any(value: Any) -> Any:
    return value if type(value) in (str, bool, int, float) else _ODD


def _time(value: Any) -> Any:
    if type(value) is not str or not _TIME.fullmatch(value):
        return _ODD
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return _ODD
    since = moment - (_EPOCH if moment.tzinfo is not None else _NAIVE_EPOCH)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_CONVERSIONS: dict[CellType, Callable[[Any], Any]] = {
    "number": _number, "boolean": _truth, "time": _time, "text": _text, "any": _any,
}  # fmt: skip


def columns_of_records(
    records: Sequence[Mapping[str, Any]], columns: Sequence[Column]
) -> RequestColumns:
    """Return rows that come as objects, one a row, as columns."""
    names = [column.name for column in columns]
    if len(names) < 2:
        return _columns_one_by_one(records, columns)
    try:
        lists = list(map(list, zip(*map(itemgetter(*names), records), strict=True)))
    except KeyError:
        return _columns_one_by_one(records, columns)
    out = RequestColumns(len(records), {})
    for column, values in zip(columns, lists, strict=True):
        out.cells[column.name] = column.cells(values, out)
    _note_strangers(records, names, out)
    return out


def _columns_one_by_one(
    records: Sequence[Mapping[str, Any]], columns: Sequence[Column]
) -> RequestColumns:
    out = RequestColumns(len(records), {})
    for column in columns:
        _require(column, [n for n, record in enumerate(records) if column.name not in record], out)
        out.cells[column.name] = column.cells([record.get(column.name) for record in records], out)
    _note_strangers(records, out.cells, out)
    return out


def _note_strangers(
    records: Sequence[Mapping[str, Any]], known: Collection[str], out: RequestColumns
) -> None:
    if any(len(record) != len(known) for record in records):
        strange = dict.fromkeys(name for record in records for name in record)
        out.ignored = tuple(name for name in strange if name not in known)


def columns_of_lists(
    lists: Mapping[str, Cells], rows: int, columns: Iterable[Column]
) -> RequestColumns:
    """Return rows that come as a list for each column."""
    out = RequestColumns(rows, {})
    known = set()
    for column in columns:
        known.add(column.name)
        values = lists.get(column.name)
        if values is None:
            _require(column, range(rows), out)
            values = [None] * rows
        out.cells[column.name] = column.cells(values, out)
    out.ignored = tuple(name for name in lists if name not in known)
    return out


def _require(column: Column, absent: Sequence[int], out: RequestColumns) -> None:
    if not column.needed:
        out.absent[column.name] = absent
    else:
        message = f"The row lacks {shorten(column.name, 60)!r}."
        remedy = "Send every column of the model, with null where the value is not known."
        for row in absent:
            out.add(row, Fault(column.name, "present", message, remedy))


def frame_of(columns: RequestColumns, forms: Iterable[Column]) -> pd.DataFrame:
    """Return the cells as the frame that a snapshot of the same rows would give."""
    return pd.DataFrame(
        {column.name: _series(columns.cells[column.name], column.type) for column in forms},
        copy=False,
    )


def _series(cells: Cells, kind: CellType) -> pd.Series[Any]:
    if kind == "number":
        whole = set(map(type, cells)) == {int}
        return pd.Series(np.array(cells) if whole else np.array(cells, dtype=np.float64))
    if kind == "time":
        moments = [np.iinfo(np.int64).min if cell is None else cell for cell in cells]
        return pd.Series(np.array(moments, dtype=np.int64).view("datetime64[us]"))
    if kind == "text":
        return pd.Series(cells, dtype="str")
    return pd.Series(cells, dtype=bool if kind == "boolean" and None not in cells else object)
