"""The few Arrow types that keepfit works with, and the way of all others to them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.tables import listed

_TIME = pa.timestamp("us")
_MAX_INT64 = 2**63 - 1


def plain_table(table: Any, notes: list[str]) -> Any:
    """Return `table` with numbers, booleans, strings and timestamps[us] only.

    Times get the zone UTC where they had one. Dates become timestamps, decimals float64, times of
    day and durations seconds. Columns of lists, structures or bytes are left out and said.
    """
    columns: dict[str, Any] = {}
    dropped = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        plain = plain_column(column)
        if plain is None:
            dropped.append(name)
        else:
            columns[name] = plain
    if dropped:
        notes.append(f"{listed(dropped)}: left out, because cells hold lists, structures or bytes")
    return pa.table(columns)


def plain_column(column: Any) -> Any | None:
    """Return one column in a plain type; None where there is none for it."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        column = column.cast(kind.storage_type)
        kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if kind == pa.string() or pa.types.is_boolean(kind):
        return column
    if pa.types.is_integer(kind):
        return _unsigned(column) if kind == pa.uint64() else column
    if pa.types.is_temporal(kind):
        return _temporal(column, kind)
    return _other(column, kind)


def _unsigned(column: Any) -> Any:
    highest = pc.max(column).as_py()
    # Beyond 64 signed bits it is a label: as a float it would lose digits.
    return column.cast(pa.string() if (highest or 0) > _MAX_INT64 else pa.int64())


def _temporal(column: Any, kind: Any) -> Any | None:
    if pa.types.is_timestamp(kind):
        wanted = pa.timestamp("us", "UTC") if kind.tz is not None else _TIME
        return column if kind == wanted else column.cast(wanted, safe=kind.unit != "ns")
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms")).cast(_TIME)
    if pa.types.is_time(kind):
        scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        whole = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        return pc.divide(column.cast(whole).cast(pa.int64()), scale)
    if pa.types.is_duration(kind):
        micro = column.cast(pa.duration("us"), safe=False).cast(pa.int64())
        return pc.divide(micro.cast(pa.float64()), 1e6)
    return None


def _other(column: Any, kind: Any) -> Any | None:
    if pa.types.is_large_string(kind) or str(kind) == "string_view":
        return column.cast(pa.string())
    if pa.types.is_null(kind) or pa.types.is_decimal(kind):
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
