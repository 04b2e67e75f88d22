"""Storage of cells, as distinct from the kind of their column.

A category may be stored as text or as numbers. What the first reading of a source decided is
declared to every later one, so that a part of a table has the types of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tasks.base.runtime.libraries import pa, pc
from tasks.base.training_records import Kind

Storage = Literal["number", "text", "boolean", "time"]

READ_AS: dict[Storage, Kind] = {
    "number": "numeric",
    "text": "categorical",
    "boolean": "boolean",
    "time": "datetime",
}
_FITTING: dict[Kind, tuple[Storage, ...]] = {
    "numeric": ("number", "boolean"),
    "boolean": ("boolean", "number"),
    "datetime": ("time",),
    "text": ("text",),
}


@dataclass(frozen=True)
class ColumnForm:
    """Types declared of a column before it is read; without a storage the cells decide."""

    # `written` is how its text is written: a time's format, a number's unit and style (`Writing`),
    # empty for plain numbers; None where that is not known.

    kind: Kind
    storage: Storage | None = None
    written: str | None = None


def declared_forms(
    kinds: Mapping[str, Kind], earlier: Mapping[str, ColumnForm]
) -> dict[str, ColumnForm]:
    """Return the forms of an earlier reading, with `kinds` deciding over its kinds.

    A storage that does not suit the kind is left out.
    >>> declared_forms({"a": "categorical"}, {"a": ColumnForm("numeric", "number")})
    {'a': ColumnForm(kind='categorical', storage='number', written=None)}
    """
    forms = dict(earlier)
    for name, kind in kinds.items():
        known = forms.get(name)
        suits = known is not None and known.storage in _FITTING.get(kind, (known.storage,))
        forms[name] = replace(known, kind=kind) if known and suits else ColumnForm(kind)
    return forms


def reading_kinds(forms: Mapping[str, ColumnForm]) -> dict[str, Kind]:
    """Return the kind as which the text of each column is read: its storage decides."""
    return {
        name: form.kind if form.storage is None else READ_AS[form.storage]
        for name, form in forms.items()
    }


def writings(forms: Mapping[str, ColumnForm]) -> dict[str, str]:
    """Return the format of the cells of each column, where that is known."""
    return {name: form.written for name, form in forms.items() if form.written is not None}


def storage_of(column: Any) -> Storage:
    """Return the storage of the cells of a plain column or field."""
    kind = column.type
    if pa.types.is_string(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "boolean"
    return "time" if pa.types.is_timestamp(kind) else "number"


def stored(column: Any, kind: Kind, storage: Storage | None = None) -> Any:
    """Return a plain column as its declared storage, or its kind where none is declared, wants."""
    # Only changes that keep every value are made: whole numbers become text for identifiers, and
    # for categories with nulls, so that 5 stays "5" and does not become 5.0 where a null makes it a
    # float. A column that the declared storage cannot hold stays as it is.
    if storage is not None:
        return _declared(column, storage)
    if kind == "text":
        return _texts(column)
    whole = pa.types.is_integer(column.type)
    if kind not in ("identifier", "categorical") or not (
        whole or pa.types.is_floating(column.type)
    ):
        return column
    if not whole:
        integers = integers_of(column)
        if integers is None:
            return column.cast(pa.string()) if kind == "identifier" else column
        column = integers
    text = kind == "identifier" or column.null_count
    return column.cast(pa.string()) if text else column


def _declared(column: Any, storage: Storage) -> Any:
    held = storage_of(column)
    if held == storage:
        return column
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), _null_type(storage))])
    if storage == "text" and held == "number":
        return _texts(column)
    if storage == "number" and held == "boolean":
        return column.cast(pa.int64())
    if storage == "boolean" and held == "number":
        digits = pc.all(
            pc.is_in(column.drop_null().cast(pa.float64()), value_set=pa.array([0.0, 1.0]))
        )
        return column.cast(pa.bool_()) if digits.as_py() else column
    return column


def _null_type(storage: Storage) -> Any:
    if storage == "time":
        return pa.timestamp("us")
    return {"number": pa.float64, "text": pa.string, "boolean": pa.bool_}[storage]()


def _texts(column: Any) -> Any:
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_floating(column.type):
        integers = integers_of(column)
        column = column if integers is None else integers
    return column.cast(pa.string())


def integers_of(column: Any) -> Any | None:
    """Return floats as whole numbers; None where one of them is none."""
    if not pc.all(pc.equal(column, pc.floor(column))).as_py():
        return None
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
