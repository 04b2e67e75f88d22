"""Files that are not read: those still being written, until they are whole, and copies."""

from __future__ import annotations

import time
from filecmp import cmp
from pathlib import Path

from tasks.base.errors import SourceError
from tasks.base.runtime.files import digest_of_bytes
from tasks.base.settings.sources import CsvSource, DemoSource, ParquetSource, Source, SqlSource
from tasks.base.source_notes import FileAside
from tasks.data.csv.dialect import DamagedError, detect_delimiter, survey
from tasks.data.csv.reader import read_csv
from tasks.data.files.paths import files_of

_PARQUET_MAGIC = (b"PAR1", b"PARE")
_STALE_SECONDS = 3600
_WRITING_SECONDS = 120
_TAIL_BYTES = 1 << 16


def complete_part(
    source: Source, base: Path, *, settled: bool = False
) -> tuple[Source | None, tuple[FileAside, ...]]:
    """Return `source` with its complete files only, and what was left aside; None with none."""
    # If `settled`, a CSV file that changed within two minutes and does not end with a line end is
    # left aside too: its last row may be half written.
    if isinstance(source, DemoSource | SqlSource):
        return source, ()
    found = {
        file: _parquet_fault(file)
        if isinstance(source, ParquetSource)
        else _csv_fault(file, source, settled=settled)
        for file in files_of(source, base)
    }
    aside = tuple(note for note in found.values() if note is not None)
    if not aside:
        return source, ()
    whole = tuple(file for file, note in found.items() if note is None)
    return source.only(whole) if whole else None, aside


def without_copies(source: Source, base: Path) -> tuple[Source, tuple[FileAside, ...]]:
    """Return `source` without files that are another of their folder byte by byte, and those."""
    if isinstance(source, DemoSource | SqlSource):
        return source, ()
    files = files_of(source, base)
    kept: dict[tuple[Path, int, str], list[Path]] = {}
    copies = {}
    for file in files:
        # Files of one size are common: only those that begin and end alike are compared.
        alike = kept.setdefault((file.parent, file.stat().st_size, _ends(file)), [])
        first = next((other for other in alike if cmp(file, other, shallow=False)), None)
        if first is None:
            alike.append(file)
        else:
            copies[file] = FileAside(file=file.name, reason="copy", of=first.name)
    if not copies:
        return source, ()
    return source.only(tuple(f for f in files if f not in copies)), tuple(copies.values())


def _ends(file: Path) -> str:
    """Return a digest of the first and the last bytes of a file."""
    with file.open("rb") as handle:
        head = handle.read(_TAIL_BYTES)
        handle.seek(max(0, handle.seek(0, 2) - _TAIL_BYTES))
        return digest_of_bytes(head + handle.read())


def _parquet_fault(file: Path) -> FileAside | None:
    size = file.stat().st_size
    if size:
        with file.open("rb") as handle:
            head = handle.read(4)
            handle.seek(max(0, size - 4))
            if size >= 12 and {head, handle.read(4)} <= set(_PARQUET_MAGIC):
                return None
            if head not in _PARQUET_MAGIC and size >= 4:
                return None  # something else: reading it raises the error
    return _aside(file, size)


def _csv_fault(file: Path, source: CsvSource, *, settled: bool) -> FileAside | None:
    with file.open("rb") as handle:
        head = handle.read(64)
        if not head.strip(b"\xef\xbb\xbf \t\r\n"):
            return _aside(file, len(head))
        size = handle.seek(0, 2)
        handle.seek(size - 1)
        ended = handle.read(1) in b"\r\n\0"
        handle.seek(max(0, size - _TAIL_BYTES))
        tail = handle.read()
    if head.startswith(b"\x1f\x8b"):
        try:
            survey(file, source.max_bytes, source.encoding)
        except DamagedError:
            return _aside(file, size)
        except SourceError:
            pass  # reading it raises the error
        return None
    writing = settled and time.time() - file.stat().st_mtime < _WRITING_SECONDS
    if not ended and (writing or _lacks_fields(file, source, tail)):
        return _aside(file, size)
    return None


def _lacks_fields(file: Path, source: CsvSource, tail: bytes) -> bool:
    """Return whether the last line, which has no end, is too short for the file to be read."""
    # A footer may be short, and so may lines without their last empty fields.
    try:
        found = survey(file, source.max_bytes, source.encoding)
        line = tail.decode(found.encoding, "replace").splitlines()[-1]
        delimiter = source.delimiter or detect_delimiter(found.sample)
        if '"' in line or len(line.split(delimiter)) >= _usual_fields(found.sample, delimiter):
            return False
        read_csv(source.only((file,)), file.parent, may_be_empty=True)
    except (SourceError, LookupError):
        return True
    return False


def _usual_fields(sample: str, delimiter: str) -> int:
    """Return how many fields most lines have that hold no quote."""
    counts = [len(line.split(delimiter)) for line in sample.splitlines()[:200] if '"' not in line]
    return max(set(counts), key=counts.count, default=0)


def _aside(file: Path, size: int) -> FileAside:
    idle = time.time() - file.stat().st_mtime
    reason = "incomplete" if size else "empty"
    return FileAside(file=file.name, reason=reason, stale=idle > _STALE_SECONDS)
