"""Sources of rows: one entry for CSV, Parquet, SQL and the bundled demos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.base.settings.sources import CsvSource, DemoSource, ParquetSource, Source, SqlSource
from tasks.base.training_records import Kind
from tasks.base.utc_times import latest_believed
from tasks.data.csv.reader import csv_columns, read_csv
from tasks.data.files.paths import files_of, identity
from tasks.data.source_table import SourceTable, require_few_columns, time_range, within
from tasks.data.sources.demos import demo_columns, demo_table, demo_version
from tasks.data.sources.parquet_files import newest_in_parquet, parquet_columns, read_parquet
from tasks.data.sources.sql_queries import newest_in_sql, read_sql, sql_columns
from tasks.data.time_columns import require_times


def fingerprint(source: Source, base: Path) -> str | None:
    """Return a cheap identity of the source's content; None for SQL, which has none."""
    # Files are known by name, size and time of change, a demo by the version of its package.
    if isinstance(source, CsvSource | ParquetSource):
        return identity(files_of(source, base))
    if isinstance(source, DemoSource):
        return f"{source.name} {source.months} {demo_version(source.name)}"
    return None


def read_source(
    source: Source,
    base: Path,
    *,
    columns: Sequence[str] | None = None,
    time_column: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    expected: Mapping[str, Kind] | None = None,
    written: Mapping[str, str] | None = None,
    may_be_empty: bool = False,
    scratch: Path | None = None,
) -> SourceTable:
    """Read the rows of `source` whose time lies in [start, end)."""
    # Of `columns` (None reads all) absent ones are skipped. Text is read as the kind `expected`
    # from an earlier reading and stays text where it can't be; `written` is how it was written
    # then, see `ColumnForm`. A source without rows is an error unless it `may_be_empty`. Columns of
    # large Parquet files are mapped from disk, below `scratch`; None keeps all in memory. Raises
    # TransientError when a database is not there just now.
    how: dict[str, Any] = {
        "columns": columns, "expected": expected, "written": written, "may_be_empty": may_be_empty
    }  # fmt: skip
    window: dict[str, Any] = {"time_column": time_column, "start": start, "end": end}
    if isinstance(source, ParquetSource):
        read = read_parquet(source, base, **how, **window, scratch=scratch)
    elif isinstance(source, SqlSource):
        read = read_sql(source, base, **how, **window)
    elif isinstance(source, CsvSource):
        read = read_csv(source, base, **how)
    else:
        read = SourceTable(demo_table(source.name, source.months, columns))
    return _windowed(read, time_column, start, end)


def _windowed(
    read: SourceTable, time_column: str | None, start: datetime | None, end: datetime | None
) -> SourceTable:
    if time_column is None or time_column not in read.table.column_names:
        return read
    notes: list[str] = []
    table = require_times(read.table, time_column, notes)
    table = within(table, time_column, start, end)
    latest = time_range(table[time_column])[1]
    return replace(read, table=table, assumptions=(*read.assumptions, *notes), latest=latest)


def newest_time(source: Source, base: Path, time_column: str) -> datetime | None:
    """Return the greatest time of `source` in UTC where finding it is cheap, else None."""
    # Parquet reads the one column, a database looks for itself; CSV would be read whole.
    if isinstance(source, ParquetSource):
        return newest_in_parquet(source, base, time_column)
    if isinstance(source, SqlSource):
        return newest_in_sql(source, base, time_column)
    if isinstance(source, DemoSource):
        return read_source(source, base, columns=[time_column], time_column=time_column).latest
    return None


def newest_believed(source: Source, base: Path, time_column: str, now: datetime) -> datetime | None:
    """Return the greatest time of `source`, in UTC, that is not in the future, or None."""
    # A row dated in the future, by more than `tasks.base.utc_times.FUTURE_TOLERANCE`, would
    # otherwise decide what is read next and which window is complete.
    end = latest_believed(now)
    newest = newest_time(source, base, time_column)
    if newest is not None and newest < end:
        return newest
    column = read_source(
        source, base, columns=[time_column], time_column=time_column, end=end, may_be_empty=True
    )
    return column.latest


def column_names(source: Source, base: Path) -> tuple[str, ...]:
    """Return the names of the source's columns, in its order."""
    names = _column_names(source, base)
    require_few_columns(len(names))
    return names


def _column_names(source: Source, base: Path) -> tuple[str, ...]:
    if isinstance(source, CsvSource):
        return csv_columns(source, base)
    if isinstance(source, ParquetSource):
        return parquet_columns(source, base)
    if isinstance(source, SqlSource):
        return sql_columns(source, base)
    return demo_columns(source.name)
