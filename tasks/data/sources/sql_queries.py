"""Rows of a database: read only, bound values, quoted names, in chunks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.base.errors import DataError, SourceError
from tasks.base.runtime.libraries import sa
from tasks.base.settings.sources import SqlSource
from tasks.base.text.phrases import listed
from tasks.base.training_records import Kind
from tasks.data.source_table import SourceTable, as_utc, nearest, time_range
from tasks.data.sources.driver_rows import Columns
from tasks.data.sources.sql_connections import connected
from tasks.data.time_columns import require_readable, require_times
from tasks.data.typing.arrow_types import plain_table
from tasks.data.typing.inference import Typing
from tasks.data.typing.text_rules import TextRules

CHUNK_ROWS = 50_000
_EARLIEST, _LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
_BINDS = re.compile(r"(?<![:\w\\]):([A-Za-z_]\w*)")
_LITERAL = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_ISO = re.compile(r"^\d{4}-\d{2}-\d{2}(?:(?P<mark>[ T])\d{2}:\d{2}.*)?$")


def sql_columns(source: SqlSource, base: Path) -> tuple[str, ...]:
    """Return the column names of the query or table."""
    with connected(source, base) as connection:
        return _Query(source, connection).names()


def newest_in_sql(source: SqlSource, base: Path, time_column: str) -> datetime | None:
    """Return the greatest time, in UTC; the database finds it, where it can order its times."""
    with connected(source, base) as connection:
        query = _Query(source, connection)
        query.require(time_column)
        if not query.orders(time_column):
            return None
        column = query.quoted(time_column)
        text = f"SELECT max({column}) AS newest FROM ({query.text}) q"  # noqa: S608 (the user's own query)
        cells = Columns((time_column,))
        cells.add([tuple(row) for row in connection.execute(*query.bound(text))])
    table = cells.table()
    found = list(cells.findings)
    table = plain_table(table, found)
    require_readable(time_column, table, found)
    if table[time_column].null_count:
        return None
    return time_range(require_times(table, time_column, [])[time_column])[1]


def read_sql(
    source: SqlSource,
    base: Path,
    *,
    columns: Sequence[str] | None = None,
    time_column: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    expected: Mapping[str, Kind] | None = None,
    written: Mapping[str, str] | None = None,
    may_be_empty: bool = False,
) -> SourceTable:
    """Read the rows whose time lies in [start, end); see `read_source`."""
    with connected(source, base) as connection:
        query = _Query(source, connection)
        names = [n for n in query.names() if columns is None or n in set(columns)]
        statement, values = query.window(names, time_column, start, end)
        cells = Columns(names)
        streaming = connection.execution_options(
            stream_results=True, max_row_buffer=CHUNK_ROWS, yield_per=CHUNK_ROWS
        )
        with streaming.execute(statement, values) as result:
            for rows in result.partitions():
                cells.add(rows)
                _check_rows(cells.rows, source)
    if not (cells.rows or may_be_empty or start or end):
        raise DataError("the query gives no row.", "Look at source.query and its table.")
    typing = Typing(TextRules(loose=False), expected, written)
    whole = cells.table()
    findings = list(cells.findings)
    plain = plain_table(whole, findings)
    del whole
    columns_read = dict(zip(plain.column_names, plain.columns, strict=True))
    del plain
    table = typing.columns(columns_read)
    require_readable(time_column, table, findings)
    return SourceTable(
        table,
        typing.notes.sentences(),
        findings=(*findings, *typing.findings),
        written=typing.written,
    )


def _check_rows(rows: int, source: SqlSource) -> None:
    if rows > source.max_rows:
        raise SourceError(
            f"the query gives more than {source.max_rows:,} rows, which is what source.max_rows "
            "allows.",
            "Raise source.max_rows, or narrow the query or training.window.",
        )


class _Query:
    """The user's query or table as a part of further queries."""

    def __init__(self, source: SqlSource, connection: sa.Connection) -> None:
        self._connection = connection
        self._quote = connection.dialect.identifier_preparer.quote_identifier
        self._sqlite = connection.dialect.name == "sqlite"
        if source.table is not None:
            parts = source.table.split(".")
            self.text = f"SELECT * FROM {'.'.join(self._quote(p) for p in parts)}"  # noqa: S608 (quoted)
            # A colon in a name is no bound value.
            self.text = self.text.replace(":", "\\:")
        else:
            self.text = (source.query or "").strip().rstrip(";").strip() + "\n"  # ends a comment
            self.text = _LITERAL.sub(lambda m: re.sub(r"(?<!\\):", r"\\:", m[0]), self.text)
        self._binds = set() if source.table else set(_BINDS.findall(_LITERAL.sub("", self.text)))
        unknown = sorted(self._binds - {"start", "end"})
        if unknown:
            raise SourceError(
                f"source.query binds {listed([f':{name}' for name in unknown])}; only :start and "
                ":end are known.",
                "Write the value into the query, or use :start and :end.",
            )

    def quoted(self, name: str) -> str:
        """Return a column name quoted for the database."""
        return self._quote(name).replace(":", "\\:")

    def bound(
        self,
        text: str,
        start: datetime | None = None,
        end: datetime | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Return a statement and the values of its binds; an open end is far away."""
        values: dict[str, Any] = dict(more or {})
        for name, moment, far in (("start", start, _EARLIEST), ("end", end, _LATEST)):
            if name in self._binds:
                values[name] = self._natural(as_utc(moment or far))
        return sa.text(text), values

    def _natural(self, moment: datetime) -> datetime | str:
        plain = moment.replace(tzinfo=None)
        return plain.isoformat(" ") if self._sqlite else plain

    def names(self) -> tuple[str, ...]:
        """Return the columns of the result."""
        text = f"SELECT * FROM ({self.text}) q WHERE 1 = 0"  # noqa: S608 (the user's own query)
        names = tuple(self._connection.execute(*self.bound(text)).keys())
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SourceError(
                f"the query gives columns that are called alike: {listed(twice)}.",
                "Name each with AS.",
            )
        return names

    def require(self, name: str) -> None:
        """Refuse a column that the query does not give."""
        names = self.names()
        if name not in names:
            near = nearest(name, names)
            raise SourceError(
                f"the query gives no column {name!r}{f'; nearest: {near}' if near else ''}.",
                f"It gives: {listed(list(names), 12)}.",
            )

    def window(
        self,
        names: Sequence[str],
        time_column: str | None,
        start: datetime | None,
        end: datetime | None,
    ) -> tuple[Any, dict[str, Any]]:
        """Return the statement that reads `names` in [start, end), or a little more."""
        picked = ", ".join(self.quoted(name) for name in names)
        text = f"SELECT {picked} FROM ({self.text}) q"  # noqa: S608 (quoted)
        if time_column is None or self._binds or (start is None and end is None):
            return self.bound(text, start, end)
        column, terms = self.quoted(time_column), []
        values: dict[str, Any] = {}
        stored = self._stored(time_column)
        for name, moment, sign in (("kf_start", start, ">="), ("kf_end", end, "<")):
            limit = None if moment is None else _like_stored(stored, as_utc(moment), name)
            if limit is not None:
                terms.append(f"{column} {sign} :{name}")
                values[name] = limit
        if terms:
            text = f"{text} WHERE {' AND '.join(terms)}"
        return self.bound(text, more=values)

    def _stored(self, time_column: str) -> Any:
        _, values = self.bound("")
        return self._connection.execute(self.first(time_column), values).scalar()

    def first(self, name: str) -> sa.Select[Any]:
        """Return the statement that reads one value of a column, in the database's own words."""
        column = self.quoted(name)
        rows = sa.select(sa.text(column)).select_from(sa.text(f"({self.text}) q"))
        return rows.where(sa.text(f"{column} IS NOT NULL")).limit(1)

    def orders(self, time_column: str) -> bool:
        """Return whether the database's own order of the times is the order of time."""
        stored = self._stored(time_column)
        return not isinstance(stored, str) or bool(_ISO.match(stored))


def _like_stored(stored: Any, moment: datetime, end: str) -> Any | None:
    """Return `moment` as the column holds its times; None where they can't be compared."""
    # Text in ISO order is compared by whole days, whatever it holds after the date; the exact
    # moment is cut off after reading.
    plain = moment.replace(tzinfo=None)
    if isinstance(stored, str) and _ISO.match(stored):
        day = plain.date()
        return (day + timedelta(days=2) if end == "kf_end" else day - timedelta(days=1)).isoformat()
    return plain if isinstance(stored, date) else None
