"""SQL conditions evaluated on the rows of a frame, in an in-memory SQLite that can only read.

Great Expectations has row conditions in SQL for databases only. Rows that agree in all columns of a
condition are evaluated once, which keeps most tables small; over a million differing rows take
seconds.
"""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expectations.engine.libraries import pd
from expectations.facts.column_facts import facts_of
from expectations.sql_condition import Condition
from expectations.text.phrases import MAX_SAMPLE, say_value

CHUNK = 200_000
_MAX_TEXT = 1_000_000
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}


@dataclass(frozen=True)
class RowsFound:
    """Rows that break a condition, a sample of them, or why it could not be evaluated."""

    failed_rows: int = 0
    sample: tuple[str, ...] = ()
    problem: str = ""


def broken_rows(frame: pd.DataFrame, condition: Condition) -> RowsFound:
    """Count the rows of `frame` on which `condition` is false, not those where it is unknown."""
    columns, problem = _resolve(condition, [str(name) for name in frame.columns])
    if problem:
        return RowsFound(problem=problem)
    names = list(columns.values())
    try:
        with _loaded(len(names), _rows(frame[names])) as (connection, fields):
            return _query(connection, condition.sql(_aliases(columns)), names, fields)
    except (sqlite3.Error, OverflowError) as error:
        return RowsFound(problem=f"SQLite could not evaluate it: {error}")


def broken_mask(frame: pd.DataFrame, condition: Condition) -> NDArray[np.bool_] | None:
    """Return the rows on which `condition` is false, not unknown; None where it fails."""
    columns, problem = _resolve(condition, [str(name) for name in frame.columns])
    if problem or not columns:
        return None
    query = f"SELECT n FROM t WHERE NOT ({condition.sql(_aliases(columns))})"  # noqa: S608 - parsed
    mask = np.zeros(len(frame), dtype=bool)
    try:
        values = [_for_sqlite(frame[name]) for name in columns.values()]
        rows = [zip(*values, range(len(frame)), strict=True)]
        with _loaded(len(columns), rows) as (connection, _):
            mask[[int(n) for (n,) in connection.execute(query)]] = True
    except (sqlite3.Error, OverflowError):
        return None
    return mask


def _aliases(columns: Iterable[str]) -> dict[str, str]:
    return {name: f"c{index}" for index, name in enumerate(columns)}


@contextmanager
def _loaded(
    width: int, parts: Iterable[Iterable[tuple[Any, ...]]]
) -> Iterator[tuple[sqlite3.Connection, list[str]]]:
    """Give a table of rows, each with a number last, that can only be read, and its columns."""
    fields = [f'"c{index}"' for index in range(width)]
    insert = f"INSERT INTO t VALUES ({', '.join('?' * (width + 1))})"  # noqa: S608
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE t ({', '.join([*fields, 'n'])})")
        for rows in parts:
            connection.executemany(insert, rows)
        connection.commit()
        _only_read(connection)
        yield connection, fields


def _resolve(condition: Condition, columns: list[str]) -> tuple[dict[str, str], str]:
    found: dict[str, str] = {}
    for name in condition.names:
        alike = [column for column in columns if column.casefold() == name.casefold()]
        if name in columns:
            found[name] = name
        elif len(alike) == 1:
            found[name] = alike[0]
        else:
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f"; the nearest is {say_value(near[0])}" if near else ""
            return {}, f"the table has no column {say_value(name)}{hint}"
    return found, ""


def _rows(frame: pd.DataFrame) -> Iterator[Iterator[tuple[Any, ...]]]:
    for start in range(0, len(frame), CHUNK):
        part = frame.iloc[start : start + CHUNK]
        columns, counts = _distinct(part)
        yield zip(*[_for_sqlite(columns[name]) for name in columns], counts, strict=True)


def _distinct(part: pd.DataFrame) -> tuple[pd.DataFrame, list[int]]:
    if part.shape[1] == 0:
        return part, [len(part)]
    try:
        grouped = part.groupby(list(part.columns), dropna=False, sort=False, observed=True).size()
    except TypeError:
        return part, [1] * len(part)
    return grouped.index.to_frame(index=False), [int(n) for n in grouped.to_numpy()]


def _for_sqlite(column: pd.Series[Any]) -> list[Any]:
    facts = facts_of(column)
    values = facts.values
    if facts.stored == "time":
        values = values.dt.strftime("%Y-%m-%d %H:%M:%S")
    missing = np.asarray(values.isna(), dtype=bool)
    return [
        None if absent else _plain(value)
        for value, absent in zip(values.tolist(), missing, strict=True)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, int) and abs(value) >= 2**63:
        return float(value)
    return value if isinstance(value, str | int | float) else str(value)


def _only_read(connection: sqlite3.Connection) -> None:
    def authorise(action: int, *_: object) -> int:
        return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY

    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_TEXT)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(authorise)


def _query(
    connection: sqlite3.Connection, condition: str, names: list[str], fields: list[str]
) -> RowsFound:
    where = f"FROM t WHERE NOT ({condition})"
    (failed,) = connection.execute(f"SELECT coalesce(sum(n), 0) {where}").fetchone()
    rows: list[tuple[Any, ...]] = []
    if failed and fields:
        listed = ", ".join(fields)
        rows = connection.execute(f"SELECT DISTINCT {listed} {where} LIMIT {MAX_SAMPLE}").fetchall()
    return RowsFound(int(failed), tuple(_say_row(names, row) for row in rows))


def _say_row(names: list[str], row: tuple[Any, ...]) -> str:
    texts = ("missing" if value is None else say_value(value) for value in row)
    return ", ".join(f"{say_value(n)} = {v}" for n, v in zip(names, texts, strict=True))
