"""The few Arrow types that keepfit works with, and the way of all others to them."""

from __future__ import annotations

from typing import Any

from tasks.base.errors import DataError
from tasks.base.runtime.libraries import pa, pc
from tasks.base.source_notes import DecodedBytes, LostDigits, ReadingNote, UnreadColumn
from tasks.data.typing.byte_values import look_like_uuids, text_of, uuids_of
from tasks.data.typing.precision import plain_decimals

_MAX_INT64 = 2**63 - 1
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def plain_table(table: Any, findings: list[ReadingNote]) -> Any:
    """Return `table` with numbers, booleans, strings and timestamps[us] only."""
    # Times get the zone UTC where they had one. Dates become timestamps, times of day and durations
    # seconds, whole decimals integers, other decimals floats, UUIDs and bytes that are UTF-8 text.
    # What has no plain type is left out; `findings` gets a note on it, and on digits lost.
    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            plain = _plain(column, name, findings)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"column {name!r} ({column.type}) holds a value that cannot be kept: "
                f"{str(error).splitlines()[0]}.",
                "Fix the cell, or `exclude` the column.",
            ) from None
        if plain is None:
            findings.append(UnreadColumn(column=name, stored=type_name(column.type)))
        else:
            columns[name] = plain
    return pa.table(columns)


def type_name(kind: Any) -> str:
    """Return an Arrow type as people write it.

    >>> type_name(pa.list_(pa.int64())), type_name(pa.binary(4))
    ('list<int64>', 'bytes')
    """
    if _is_bytes(kind):
        return "bytes"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    return str(kind)[:80]


def _plain(column: Any, name: str, findings: list[ReadingNote]) -> Any | None:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            return uuids_of(column.cast(kind.storage_type))
        column = column.cast(kind.storage_type)
        kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if kind == pa.string() or pa.types.is_boolean(kind):
        return column
    if pa.types.is_integer(kind):
        return _unsigned(column) if kind == pa.uint64() else column
    if pa.types.is_decimal(kind):
        numbers, lost = plain_decimals(column)
        if lost:
            findings.append(LostDigits(column=name, stored=str(kind), kept="about 16"))
        return numbers
    if pa.types.is_temporal(kind):
        return _temporal(column, name, findings)
    return _bytes(column, name, findings) if _is_bytes(kind) else _other(column, kind)


def _unsigned(column: Any) -> Any:
    highest = pc.max(column).as_py()
    # Beyond 64 signed bits it is a label: as a float it would lose digits.
    return column.cast(pa.string() if (highest or 0) > _MAX_INT64 else pa.int64())


def _temporal(column: Any, name: str, findings: list[ReadingNote]) -> Any | None:
    kind = column.type
    if pa.types.is_timestamp(kind):
        wanted = pa.timestamp("us", "UTC") if kind.tz is not None else pa.timestamp("us")
        if kind == wanted:
            return column
        plain = column.cast(wanted, safe=kind.unit != "ns")
        if kind.unit == "ns" and _fractions(column.cast(pa.int64()), 1000):
            findings.append(LostDigits(column=name, stored=str(kind), kept="microseconds"))
        return plain
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms")).cast(pa.timestamp("us"))
    if pa.types.is_time(kind):
        whole = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        return _seconds(column.cast(whole).cast(pa.int64()), _PER_SECOND[kind.unit])
    if pa.types.is_duration(kind):
        return pc.divide(column.cast(pa.int64()).cast(pa.float64()), float(_PER_SECOND[kind.unit]))
    return None


def _seconds(ticks: Any, scale: int) -> Any:
    """Return whole seconds where all are, else floats."""
    if _fractions(ticks, scale):
        return pc.divide(ticks.cast(pa.float64()), float(scale))
    return pc.divide(ticks, scale)


def _fractions(ticks: Any, scale: int) -> bool:
    whole = pc.multiply(pc.divide(ticks, scale), scale)
    return bool(pc.any(pc.not_equal(whole, ticks)).as_py())


def _is_bytes(kind: Any) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _bytes(column: Any, name: str, findings: list[ReadingNote]) -> Any | None:
    if column.null_count == len(column):
        return column.cast(pa.string())
    texts = text_of(column)
    if texts is None:
        return uuids_of(column) if look_like_uuids(column) else None
    findings.append(DecodedBytes(column=name, as_what="text"))
    return texts


def _other(column: Any, kind: Any) -> Any | None:
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_null(kind):
        return column.cast(pa.float64())
    if pa.types.is_floating(kind):
        return _without_nan(column.cast(pa.float32()) if kind == pa.float16() else column)
    return None


def _without_nan(column: Any) -> Any:
    """Return a float column with null for NaN: both mean that there is no value."""
    absent = pc.is_nan(column)
    if not pc.any(absent).as_py():
        return column
    return pc.if_else(absent, pa.scalar(None, column.type), column)
