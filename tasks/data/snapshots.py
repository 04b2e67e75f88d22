"""Snapshots: a window of a source on disk, known by its content."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import Array, Ints
from tasks.base.errors import DataError, InfrastructureError
from tasks.base.runtime.files import (
    digest_of,
    digest_of_bytes,
    private_folder,
    require_writable,
    write_whole,
)
from tasks.base.runtime.libraries import pa, pc, pd
from tasks.base.runtime.mapped_files import let_mapped_pages_go, mapped_table, prefetch
from tasks.base.runtime.temporary import temporary_folder
from tasks.base.source_notes import ReadingNote
from tasks.base.text.terminal import know_names
from tasks.base.training_records import Kind, Snapshot
from tasks.data.source_table import time_range
from tasks.data.typing.arrow_types import plain_table
from tasks.data.typing.storage import Storage, stored

_BATCH_ROWS = 1 << 18
_SMALL_ROWS = 50_000
"""Of fewer, threads cost more than they save."""
_AT_ONCE_BYTES = 64_000_000
_MANY_ROWS = 100
"""Fewer touch less of a column than all of it, wherever they lie."""


def write_snapshot(
    table: Any,
    kinds: Mapping[str, Kind],
    folder: Path,
    *,
    time_column: str | None,
    assumptions: Sequence[str],
    findings: Sequence[ReadingNote] = (),
    storage: Mapping[str, Storage | None] | None = None,
    written: Mapping[str, str] | None = None,
) -> Snapshot:
    """Write a table as an Arrow file named by its content; the same content is written once."""
    found = list(findings)
    table = plain_table(table, found)
    kinds = {name: kinds[name] for name in table.column_names}
    declared = storage or {}
    table = pa.table(
        {name: stored(table[name], kind, declared.get(name)) for name, kind in kinds.items()}
    )
    start = end = None
    if time_column is not None and pa.types.is_timestamp(table[time_column].type):
        start, end = time_range(table[time_column])
    path, digest, file_digest = _kept(table, kinds, folder)
    return Snapshot(
        path=str(path),
        digest=digest,
        rows=table.num_rows,
        kinds=kinds,
        start=start,
        end=end,
        assumptions=tuple(assumptions),
        findings=tuple(found),
        written=dict(written or {}),
        memory_bytes=table.nbytes,
        file_digest=file_digest,
    )


def _kept(table: Any, kinds: Mapping[str, Kind], folder: Path) -> tuple[Path, str, str]:
    """Write a table to a file named by its content; return it, and both digests."""
    # A table larger than memory is mapped from disk: it is read once, for both and the file.
    content = _ContentDigest(table.schema)
    try:
        require_writable(private_folder(folder))
        with temporary_folder(folder) as beside:
            written = beside / "table.arrow"
            with _DigestingFile(written) as sink, pa.ipc.new_file(sink, table.schema) as writer:
                for start in range(0, table.num_rows, _BATCH_ROWS):
                    for batch in table.slice(start, _BATCH_ROWS).combine_chunks().to_batches():
                        content.add(batch)
                        writer.write_batch(batch)
                    let_mapped_pages_go()
            digest = content.hexdigest(kinds)
            path = folder / f"{digest[:32]}.arrow"
            if _holds(path, digest, kinds):
                return path, digest, digest_of(path)
            written.replace(path)
    except OSError as error:
        raise InfrastructureError(
            f"{folder}: the snapshot ({table.nbytes:,} bytes) cannot be written "
            f"({error.strerror or error}).",
            "Free space there, or set `state` to another folder.",
        ) from None
    return path, digest, sink.hexdigest


class _DigestingFile(io.FileIO):
    """A new file of this user alone, and the SHA-256 of what is written to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb", opener=lambda name, how: os.open(name, how, 0o600))
        self._hash = hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        left = memoryview(data).cast("B")
        self._hash.update(left)
        size = len(left)
        while left:
            left = left[super().write(left) :]
        return size

    @property
    def hexdigest(self) -> str:
        """The digest of what was written so far."""
        return self._hash.hexdigest()


def _holds(path: Path, digest: str, kinds: Mapping[str, Kind]) -> bool:
    """Return whether the file there has the content that its name states."""
    if not path.is_file():
        return False
    try:
        return content_digest(open_table(path, list(kinds)), kinds) == digest
    except (DataError, pa.ArrowException, ValueError):
        return False


def take_rows(snapshot: Snapshot, rows: Ints, folder: Path, *, time_column: str | None) -> Snapshot:
    """Return a snapshot of the rows at positions `rows`; it keeps their places, see `places_of`."""
    places = rows if not snapshot.places else places_of(snapshot)[rows]
    table = open_table(snapshot.path).take(pa.array(rows))
    taken = write_snapshot(
        table,
        snapshot.kinds,
        folder,
        time_column=time_column if time_column in snapshot.kinds else None,
        assumptions=snapshot.assumptions,
    )
    data = np.ascontiguousarray(places, np.int64)
    out = io.BytesIO()
    np.save(out, data, allow_pickle=False)
    mark = digest_of_bytes(out.getvalue())
    file = Path(taken.path).with_suffix(f".{mark[:8]}.npy")
    if not file.is_file() or digest_of(file) != mark:
        write_whole(file, out.getvalue())
    return taken.model_copy(update={"findings": snapshot.findings, "places": str(file)})


def places_of(snapshot: Snapshot) -> Ints:
    """Return where in what was read each row of `snapshot` stood, from 0, shape (n_rows,)."""
    if not snapshot.places:
        return np.arange(snapshot.rows, dtype=np.int64)
    places: Ints = np.load(snapshot.places, allow_pickle=False)
    return places


def content_digest(table: Any, kinds: Mapping[str, Kind]) -> str:
    """Return the SHA-256 of names, kinds, types and values, however the table is chunked."""
    content = _ContentDigest(table.schema)
    for batch in table.to_batches(_BATCH_ROWS):
        content.add(batch)
    return content.hexdigest(kinds)


class _ContentDigest:
    """The SHA-256 of a table's content, a batch at a time."""

    def __init__(self, schema: Any) -> None:
        self._schema, self._rows = schema, 0
        self._columns = [_ColumnDigest(field.type) for field in schema]

    def add(self, batch: Any) -> None:
        """Go on with the next rows."""
        self._rows += batch.num_rows
        if batch.num_rows < _SMALL_ROWS:
            for column, cells in zip(self._columns, batch.columns, strict=True):
                column.add(cells)
            return
        # hashlib lets go of the interpreter lock while it works.
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            list(pool.map(_ColumnDigest.add, self._columns, batch.columns))

    def hexdigest(self, kinds: Mapping[str, Kind]) -> str:
        """Return the digest of the rows so far."""
        whole = hashlib.sha256(str(self._rows).encode())
        for field, column in zip(self._schema, self._columns, strict=True):
            head = f"\0{field.name}\0{kinds[field.name]}\0{field.type}\0"
            whole.update(head.encode("utf-8", "surrogatepass") + column.digest())
        return whole.hexdigest()


class _ColumnDigest:
    """The SHA-256s of a column's values, lengths of text and validity, one after another."""

    def __init__(self, kind: Any) -> None:
        self._parts = [hashlib.sha256() for _ in range(3)]
        self._text = pa.types.is_string(kind)
        self._filler = "" if self._text else pa.scalar(0, pa.int64()).cast(_number_type(kind))

    def add(self, cells: Any) -> None:
        """Go on with the next cells."""
        values, lengths, validity = self._parts
        if cells.null_count:
            validity.update(pc.is_null(cells).cast(pa.uint8()).to_numpy(zero_copy_only=False))
            if not self._text:
                cells = cells.cast(_number_type(cells.type))
            cells = pc.fill_null(cells, self._filler)
        else:
            validity.update(bytes(len(cells)))
        if self._text:
            offsets, data = _text_buffers(cells)
            lengths.update(np.diff(offsets).astype("<i4").data)
            values.update(data)
        else:
            values.update(np.ascontiguousarray(_numbers(cells)).data)

    def digest(self) -> bytes:
        """Return the three digests of the cells so far."""
        return b"".join(part.digest() for part in self._parts)


def _number_type(kind: Any) -> Any:
    if pa.types.is_boolean(kind):
        return pa.uint8()
    return pa.int64() if pa.types.is_timestamp(kind) else kind


def _numbers(chunk: Any) -> Array:
    kind = _number_type(chunk.type)
    numbers: Array = chunk.cast(kind).to_numpy(zero_copy_only=False)
    return numbers


def _text_buffers(chunk: Any) -> tuple[NDArray[np.int32], Any]:
    _, offset_buffer, data = chunk.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    if data is None or not len(offsets):
        return np.zeros(len(chunk) + 1, np.int32), b""
    return offsets, memoryview(data)[int(offsets[0]) : int(offsets[-1])]


def open_table(path: str | Path, columns: Sequence[str] | None = None) -> Any:
    """Return a snapshot's table, mapped from disk; one that is gone or damaged is a DataError."""
    table = _opened(path, columns)
    if columns is not None:
        prefetch(table)
    return table


def _opened(path: str | Path, columns: Sequence[str] | None) -> Any:
    try:
        table = mapped_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{path}: the snapshot cannot be read ({error}).", "Run with --fresh to read it anew."
        ) from None
    absent = [name for name in columns or () if name not in table.column_names]
    if absent:
        raise DataError(f"the snapshot has no column {absent[0]!r}.", "Run with --fresh.")
    know_names(table.column_names)
    return table if columns is None else table.select(list(columns))


class Columns:
    """A snapshot's columns, each mapped from disk on first use, and let go with it."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self.num_rows: int = open_table(path).num_rows

    def __getitem__(self, name: str) -> Any:
        return open_table(self._path, [name])[name]


def read_frame(
    path: str | Path, columns: Sequence[str] | None = None, rows: Ints | None = None
) -> pd.DataFrame:
    """Return a snapshot, or its `columns` and `rows` (positions) in that order; index 0..n-1."""
    # Numbers are int64 or float64 (smaller widths as the source had them), float with NaN where
    # there are nulls; booleans are ``bool``, or ``object`` of True, False and None; text is pandas'
    # ``str``; times are ``datetime64[us]`` that mean UTC, with or without the zone.
    chosen = None if rows is None else np.asarray(rows, np.int64)
    parts = [_frame_of(path, names, chosen) for names in _few_at_once(path, columns)]
    return parts[0] if len(parts) == 1 else pd.concat(parts, axis="columns")


def _few_at_once(path: str | Path, columns: Sequence[str] | None) -> Iterator[Sequence[str] | None]:
    # Rows that lie scattered touch every page of a column. Of a large file a few columns are mapped
    # at a time, and let go, so that a process never holds the file beside what it reads of it.
    size = Path(path).stat().st_size if Path(path).is_file() else 0
    if size <= _AT_ONCE_BYTES:
        yield columns
        return
    held = open_table(path).column_names
    names = held if columns is None else list(columns)
    width = max(1, len(held) * _AT_ONCE_BYTES // size)
    for start in range(0, max(1, len(names)), width):
        yield names[start : start + width]


def _frame_of(path: str | Path, columns: Sequence[str] | None, rows: Ints | None) -> pd.DataFrame:
    table = _opened(path, columns)
    if rows is None:
        prefetch(table)
    else:
        table = _taken(table, rows)
    frame: pd.DataFrame = table.to_pandas()
    let_mapped_pages_go()
    # Whole numbers with nulls come as float64 already; nothing may depend on Arrow's metadata.
    frame.index = pd.RangeIndex(table.num_rows)
    return frame


def _taken(table: Any, rows: Ints) -> Any:
    if not len(rows):
        return table.slice(0, 0)
    first, count = int(rows.min()), len(rows)
    # Arrow joins all chunks of a column before it takes from them: only those between the ends.
    table = table.slice(first, int(rows.max()) - first + 1)
    if count >= _MANY_ROWS:
        prefetch(table)
    if table.num_rows == count and bool((np.diff(rows) == 1).all()):
        return table
    return table.take(pa.array(rows - first))
