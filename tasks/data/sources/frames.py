"""Rows that come as a pandas frame, typed as the same rows of a source are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.base.errors import DataError
from tasks.base.runtime.libraries import pa, pc, pd
from tasks.base.source_notes import ReadingNote, UnreadColumn
from tasks.base.training_records import Kind
from tasks.data.time_columns import declared_times
from tasks.data.typing import numbers as number_text
from tasks.data.typing import times as time_text
from tasks.data.typing.arrow_types import plain_table
from tasks.data.typing.inference import Typing
from tasks.data.typing.storage import ColumnForm, Storage, reading_kinds, storage_of, stored
from tasks.data.typing.text_rules import TextRules

_EXACT = 2**53
_PADDED = "^0[0-9]+$"
STORED: dict[Kind, Storage] = {
    "numeric": "number", "boolean": "boolean", "datetime": "time", "text": "text",
}  # fmt: skip
_WORDS: dict[Storage, str] = {
    "number": "numbers", "boolean": "true and false", "time": "times", "text": "text",
}  # fmt: skip


class LostDigitsError(DataError):
    """Whole numbers became floats on the way and lost digits."""


def forms_of_frame(frame: pd.DataFrame, kinds: Mapping[str, Kind]) -> dict[str, ColumnForm]:
    """Return the storage of the columns of a snapshot's frame; None for one without a value.

    >>> import pandas as pd
    >>> forms_of_frame(pd.DataFrame({"a": [1, 2]}), {"a": "categorical"})
    {'a': ColumnForm(kind='categorical', storage='number', written=None)}
    """
    table = plain_table(pa.table({n: pa.array(frame[n], from_pandas=True) for n in kinds}), [])
    known = {name: table[name].null_count < table.num_rows for name in kinds}
    return {
        name: ColumnForm(kind, storage_of(table[name]) if known[name] else None)
        for name, kind in kinds.items()
    }


def padded_codes(frame: pd.DataFrame, names: Iterable[str]) -> dict[str, str]:
    """Return the columns of text that hold codes with leading zeros, each with one of them.

    >>> import pandas as pd
    >>> padded_codes(pd.DataFrame({"zip": ["10115", "01067"], "n": ["7", "0"]}), ["zip", "n"])
    {'zip': '01067'}
    """
    found = {}
    for name in names:
        column = pa.array(frame[name], from_pandas=True)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            padded = column.filter(pc.match_substring_regex(column, _PADDED))
            if len(padded):
                found[name] = str(padded[0].as_py())
    return found


def typed_frame(
    frame: pd.DataFrame, forms: Mapping[str, ColumnForm], padded: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Return the columns of `frame` that `forms` names, with the types of a snapshot's frame."""
    # Text is read as it is in a typed source such as Parquet; nothing else is converted. `padded`
    # is as `padded_codes` gives it. A column that is absent or does not fit its form is a
    # DataError.
    absent = [name for name in forms if name not in frame]
    if absent:
        raise DataError(
            f"The rows lack {', '.join(map(repr, absent[:10]))}.",
            "Send every column, with null where a value is not known.",
        )
    plain = {name: _plain(frame[name], name, form) for name, form in forms.items()}
    for name, code in (padded or {}).items():
        _require_zeros(plain[name], name, code)
    kinds = reading_kinds(forms)
    table = declared_times(Typing(TextRules(loose=False), kinds).columns(plain), kinds)
    columns = {n: stored(table[n], form.kind, form.storage) for n, form in forms.items()}
    for name, form in forms.items():
        _require(columns[name], name, form)
    typed: pd.DataFrame = pa.table(columns).to_pandas()
    return typed


def _plain(values: Any, name: str, form: ColumnForm) -> Any:
    found: list[ReadingNote] = []
    try:
        table = plain_table(pa.table({name: pa.array(values, from_pandas=True)}), found)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        raise DataError(
            f"Column {name!r} mixes values of several types.", f"Send {_wanted(form)} and nulls."
        ) from None
    unread = next((note.stored for note in found if isinstance(note, UnreadColumn)), None)
    if unread is not None:
        raise DataError(f"Column {name!r} holds {unread}.", f"Send {_wanted(form)}.")
    plain = table[name]
    if form.kind not in ("numeric", "boolean", "datetime") and pa.types.is_floating(plain.type):
        largest = pc.max(pc.abs(plain)).as_py()
        if largest is not None and largest >= _EXACT:
            raise LostDigitsError(
                f"Column {name!r} holds whole numbers that lost digits on the way.",
                "Send them as text: beside a null, JSON's long numbers become floats.",
            )
    return plain


def _require_zeros(column: Any, name: str, code: str) -> None:
    if storage_of(column) == "number" and column.null_count < len(column):
        raise DataError(
            f"Column {name!r} needs codes such as {code!r}; it holds numbers, such as "
            f"{column.drop_null()[0].as_py()}, which have no leading zeros.",
            "Send the codes as text.",
        )


def _wanted(form: ColumnForm) -> str:
    storage = form.storage or STORED.get(form.kind)
    return "text, numbers or booleans" if storage is None else _WORDS[storage]


def _require(column: Any, name: str, form: ColumnForm) -> None:
    wanted = form.storage or STORED.get(form.kind)
    held = storage_of(column)
    if wanted in (None, held) or column.null_count == len(column):
        return
    found = f"{_WORDS[held]}, such as {_misfit(column, wanted)}"
    if wanted == "time" and held == "text" and _misfit(column, "time") is None:
        found = "times of which some have an offset from UTC and some have none"
    raise DataError(
        f"Column {name!r} needs {_wanted(form)}; it holds {found}.",
        "Send null where a value is not known.",
    )


def _misfit(column: Any, wanted: Storage | None) -> str | None:
    """Return the first cell that is not what is wanted, and its row; None where each one is."""
    number = number_text.PLAIN.pattern
    for row, cell in enumerate(column.to_pylist(), start=1):
        if cell is None:
            continue
        if isinstance(cell, str) and wanted == "time":
            fits = time_text.parse_times(pa.array([cell.strip()])) is not None
        elif isinstance(cell, str) and wanted == "number":
            fits = pc.match_substring_regex(pa.scalar(cell), number).as_py()
        else:
            fits = False
        if not fits:
            return f"{str(cell)[:40]!r} in row {row:,}"
    return None
