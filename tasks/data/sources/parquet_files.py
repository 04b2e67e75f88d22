"""Parquet files: only the requested columns and range of time are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.base.errors import DataError, InfrastructureError, SourceError
from tasks.base.runtime.files import private_folder
from tasks.base.runtime.libraries import ds, pa, pc, pq
from tasks.base.runtime.mapped_files import mapped_table
from tasks.base.runtime.temporary import temporary_folder
from tasks.base.settings.sources import ParquetSource
from tasks.base.source_notes import PartitionKeyInFile, ReadingNote, UnnamedIndex
from tasks.base.text.phrases import listed
from tasks.base.training_records import Kind
from tasks.data.files.file_columns import changed_columns
from tasks.data.files.paths import check_size, files_of, is_named
from tasks.data.source_table import SourceTable, as_utc, moment_scalar, time_range
from tasks.data.sources.parquet_schema import partition_keys, unnamed_index
from tasks.data.time_columns import require_readable, require_times
from tasks.data.typing.arrow_types import plain_table
from tasks.data.typing.inference import Typing
from tasks.data.typing.text_rules import TextRules

_RULES = TextRules(loose=False)
# So many cells, about 400 MB, are read at once; of a larger table a few columns at a time.
_LARGE_CELLS, _CELLS_OF_PART = 50_000_000, 5_000_000
_DIGITS_OF_INT64, _DECIMAL128 = 19, 38
# Where a writer left checksums, a page that changed on disk is an error and not other numbers.


def parquet_columns(source: ParquetSource, base: Path) -> tuple[str, ...]:
    """Return the column names of `source`, partition columns included."""
    return tuple(_dataset(source, base, []).schema.names)


def read_parquet(
    source: ParquetSource,
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
    """Read the rows of `source` whose time lies in [start, end); see `read_source`."""
    findings: list[ReadingNote] = []
    data = _dataset(source, base, findings)
    if columns is not None:
        wanted = set(columns)
        columns = [name for name in data.schema.names if name in wanted]
    condition = _time_filter(data, time_column, start, end)
    names = list(data.schema.names if columns is None else columns)
    stored, width, spill = data.count_rows(), max(1, len(names)), None
    if stored * len(names) > _LARGE_CELLS:
        width, spill = max(1, _CELLS_OF_PART // stored), scratch
    columns_read: dict[str, Any] = {}
    rows = 0
    for place in range(0, max(1, len(names)), width):
        part = _rows(source, base, data, names[place : place + width], condition)
        rows = part.num_rows
        plain = plain_table(part, findings)
        del part
        if spill is not None:
            plain = mapped(plain, spill)
            # Arrow keeps what it freed for later, and would hold the largest part to the end.
            pa.default_memory_pool().release_unused()
        columns_read.update(zip(plain.column_names, plain.columns, strict=True))
        del plain
    if not (rows or may_be_empty or start or end):
        raise DataError(f"{source.path}: no row.", "Name a file with at least one row.")
    typing = Typing(_RULES, expected, written)
    table = typing.columns(columns_read)
    require_readable(time_column, table, findings)
    return SourceTable(
        table,
        typing.notes.sentences(),
        findings=(*findings, *typing.findings),
        written=typing.written,
    )


def newest_in_parquet(source: ParquetSource, base: Path, time_column: str) -> datetime | None:
    """Return the greatest time in `source`, in UTC; reads that one column."""
    data = _dataset(source, base, [])
    table = plain_table(_rows(source, base, data, [time_column], None), [])
    table = require_times(table, time_column, [])
    return time_range(table[time_column])[1]


def _dataset(source: ParquetSource, base: Path, findings: list[ReadingNote]) -> Any:
    files = files_of(source, base)
    check_size(files, source.max_bytes)
    schemas = [_without_index(_schema_of(path, source), findings) for path in files]
    schema = _united(files, schemas)
    whole = len(files) == 1 and is_named(files[0], source.path, base)
    keys = {} if whole else partition_keys(files)
    columns = [
        (path.name, list(dict.fromkeys([*s.names, *(keys and partition_keys([path]))])))
        for path, s in zip(files, schemas, strict=True)
    ]
    findings.extend(changed_columns(columns))
    for name in [name for name in keys if name in schema.names]:
        findings.append(PartitionKeyInFile(column=name))
        del keys[name]
    hive = ds.partitioning(pa.schema(list(keys.items())), flavor="hive") if keys else None
    for name, kind in keys.items():
        schema = schema.append(pa.field(name, kind))
    names = [str(path) for path in files]
    try:
        checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        parquet = ds.ParquetFileFormat(default_fragment_scan_options=checked)
        return ds.dataset(names, schema=schema, format=parquet, partitioning=hive)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise SourceError(f"{source.path}: cannot be read: {_first_line(error)}.") from None


def _without_index(schema: Any, findings: list[ReadingNote]) -> Any:
    """Return a schema without the columns that pandas wrote for an index without a name."""
    for name in unnamed_index(schema):
        if all(getattr(note, "column", "") != name for note in findings):
            findings.append(UnnamedIndex(column=name))
        schema = schema.remove(schema.get_field_index(name))
    return schema


def _schema_of(path: Path, source: ParquetSource) -> Any:
    if path.stat().st_size == 0:
        raise SourceError(
            f"{path.name}: the file is empty.",
            "Wait until it is written, remove it, or name a Parquet file.",
        )
    try:
        with pq.ParquetFile(path) as file:
            metadata, schema = file.metadata, file.schema_arrow
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(
            f"{path.name}: not a whole Parquet file ({_first_line(error)}).",
            "It may be cut short: fetch or write it again. For CSV write `kind: csv`.",
        ) from None
    unpacked = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if unpacked > source.max_bytes:
        raise SourceError(
            f"{path.name}: {unpacked:,} bytes once unpacked; source.max_bytes allows "
            f"{source.max_bytes:,}.",
            "Raise source.max_bytes, or name fewer files.",
        )
    if len(set(schema.names)) < len(schema.names):
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        raise SourceError(f"{path.name}: columns that stand twice: {listed(twice)}.")
    return schema


def _united(files: tuple[Path, ...], schemas: list[Any]) -> Any:
    """Return one schema for all files; a type that no other can take in is refused."""
    first, united = _decoded(schemas[0]), _decoded(schemas[0])
    for path, schema in zip(files[1:], schemas[1:], strict=True):
        schema = _decoded(schema)
        if schema.equals(first):
            continue
        for field in schema:
            at = united.get_field_index(field.name)
            if at < 0:
                united = united.append(field)
            elif united.field(at).type != field.type:
                united = united.set(at, _wider(united.field(at), field, path, files[0]))
    return united


def _decoded(schema: Any) -> Any:
    """Return a schema in which text is plain strings: the scanner turns it batch by batch."""
    return pa.schema([pa.field(field.name, _text_as_string(field.type)) for field in schema])


def _text_as_string(kind: Any) -> Any:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.string() if pa.types.is_large_string(kind) else kind


def _wider(ours: Any, theirs: Any, path: Path, first: Path) -> Any:
    both = [pa.schema([pa.field(f.name, _roomy(_storage(f.type)))]) for f in (ours, theirs)]
    try:
        return pa.unify_schemas(both, promote_options="permissive").field(0)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise SourceError(
            f"column {ours.name!r} is {theirs.type} in {path.name} and {ours.type} in "
            f"{first.name}.",
            "Write the files with one type, or name fewer files in source.path.",
        ) from None


def _storage(kind: Any) -> Any:
    """Return bytes for UUIDs, which other files may hold as text."""
    uuid = isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.uuid"
    return pa.binary() if uuid else kind


def _roomy(kind: Any) -> Any:
    """Return a decimal type with room for the whole numbers of another file, else `kind`."""
    if not pa.types.is_decimal(kind) or kind.precision - kind.scale >= _DIGITS_OF_INT64:
        return kind
    wide = pa.decimal128 if kind.scale + _DIGITS_OF_INT64 <= _DECIMAL128 else pa.decimal256
    return wide(kind.scale + _DIGITS_OF_INT64, kind.scale)


def _time_filter(
    data: Any, time_column: str | None, start: datetime | None, end: datetime | None
) -> Any | None:
    if time_column is None or time_column not in data.schema.names:
        return None
    kind = data.schema.field(time_column).type
    if pa.types.is_date(kind):
        # A day is kept when any moment of it may lie in the window; `within` is exact later.
        limit = [None if m is None else pa.scalar(as_utc(m).date(), kind) for m in (start, end)]
        compare = (pc.greater_equal, pc.less_equal)
    elif pa.types.is_timestamp(kind):
        limit = [None if m is None else moment_scalar(m, kind) for m in (start, end)]
        compare = (pc.greater_equal, pc.less)
    else:
        return None
    terms = [
        test(ds.field(time_column), value)
        for value, test in zip(limit, compare, strict=True)
        if value is not None
    ]
    return terms[0] & terms[1] if len(terms) == 2 else (terms or [None])[0]


def _rows(
    source: ParquetSource, base: Path, data: Any, columns: Sequence[str] | None, condition: Any
) -> Any:
    try:
        table = data.to_table(columns=columns, filter=condition)
        if condition is None and table.num_rows != (stated := data.count_rows()):
            raise SourceError(
                f"{source.path}: {table.num_rows:,} rows, where the file states {stated:,}.",
                "The file is damaged: fetch or write it again.",
            )
        return table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        bad = _first_bad(files_of(source, base), columns)
        if bad is None:
            raise SourceError(
                f"{source.path}: the files store a column in types of which none holds all values "
                f"({_first_line(error)}).",
                "Write the files with one type, or name fewer files in source.path.",
            ) from None
        raise SourceError(
            f"{bad.name}: the Parquet data cannot be read ({_first_line(error)}).",
            "The file is damaged: fetch or write it again.",
        ) from None


def _first_bad(files: tuple[Path, ...], columns: Sequence[str] | None) -> Path | None:
    for path in files:
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                names = set(file.schema_arrow.names)
                for _ in file.iter_batches(columns=[c for c in columns or names if c in names]):
                    pass
        except (pa.ArrowInvalid, OSError):
            return path
    return None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__


_BATCH_ROWS = 1 << 18


def mapped(table: Any, scratch: Path) -> Any:
    """Return `table` as it is, mapped from a file in `scratch` that is gone with the last use."""
    try:
        with temporary_folder(private_folder(scratch)) as folder:
            path = str(folder / "table.arrow")
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=_BATCH_ROWS)
            # The file has no name from here on; what is mapped stays.
            return mapped_table(path)
    except OSError as error:
        raise InfrastructureError(
            f"{scratch}: {table.nbytes:,} bytes of the table cannot be written there "
            f"({error.strerror or error}).",
            "Free space there, or set `state` to another folder.",
        ) from None
