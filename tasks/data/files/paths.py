"""Files that a source names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from tasks.base.errors import SourceError
from tasks.base.settings.object_addresses import is_object
from tasks.base.settings.sources import CsvSource, ParquetSource
from tasks.data.files.delta_tables import LOG, delta_files
from tasks.data.files.object_stores import copies_of, object_names

CSV_ENDINGS = (".csv", ".tsv", ".txt", ".gz")
PARQUET_ENDINGS = (".parquet", ".parq", ".pq")
# What uploads, downloads and editors call a file until it is whole.
_UNFINISHED = (
    ".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".inprogress",
    ".swp", "~",
)  # fmt: skip


class AbsentError(SourceError):
    """A path names no file."""


def files_of(source: CsvSource | ParquetSource, base: Path) -> tuple[Path, ...]:
    """Return the files of `source`, sorted; of objects in a store, their copies."""
    if source.chosen is not None:
        return source.chosen
    endings = CSV_ENDINGS if isinstance(source, CsvSource) else PARQUET_ENDINGS
    if not is_object(source.path):
        return resolve(source.path, base, endings=endings)
    return copies_of(
        source.path, source.copies or base / ".keepfit" / "objects",
        endings=endings, unfinished=_unfinished, max_bytes=source.max_bytes,
    )  # fmt: skip


def resolve(path: str, base: Path, *, endings: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """Return the files that `path` names, sorted; relative paths start at `base`."""
    # A folder stands for the files below it whose name ends with one of `endings`. Neither a folder
    # nor a pattern stands for hidden files and those that are called unfinished (``.tmp``,
    # ``.part``), unless the pattern starts so. The error for no such file names the nearest.
    if "\0" in path:
        raise SourceError(f"source.path holds a NUL character: {path!r}.")
    full = (base / path).absolute()
    try:
        return _files(path, full, base.absolute(), endings)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}).") from None


def is_named(file: Path, path: str, base: Path) -> bool:
    """Return whether `path` names just this file, and no folder or pattern that it is found by."""
    if is_object(path):
        return str(file).endswith(path.partition("://")[2])
    return file == (base / path).absolute()


def storage_kind(path: str | Path) -> Literal["csv", "parquet"] | None:
    """Return the format of the files that `path` names; Parquet where there are both kinds.

    None where it names no file. Raises SourceError where its files cannot be found out.
    """
    if is_object(str(path)):
        endings = (*CSV_ENDINGS, *PARQUET_ENDINGS)
        names = object_names(str(path), endings=endings, unfinished=_unfinished)
        return "parquet" if any(n.lower().endswith(PARQUET_ENDINGS) for n in names) else "csv"
    path = Path(path)
    if path.is_dir():
        plain = _below(path, CSV_ENDINGS) and not _below(path, PARQUET_ENDINGS)
        return "csv" if plain else "parquet"
    try:
        found = resolve(str(path), Path())
    except AbsentError:
        return None
    return "parquet" if any(p.suffix.lower() in PARQUET_ENDINGS for p in found) else "csv"


def _files(path: str, full: Path, base: Path, endings: tuple[str, ...]) -> tuple[Path, ...]:
    if full.is_file():
        return (full,)
    if (full / LOG).is_dir():
        return delta_files(full)
    if any((full / "metadata").glob("*.metadata.json")):
        raise SourceError(
            f"{path} is an Iceberg table: its folder also holds files that are not valid now.",
            "Write its rows to Parquet, or read them with `kind: sql` through Trino or Spark.",
        )
    if full.is_dir():
        found = _below(full, endings)
        if not found:
            wanted = " or ".join(endings) or "a file name"
            raise SourceError(
                f"{path} is a folder without files that end with {wanted}.",
                "Name a file in source.path.",
            )
        return found
    if any(sign in path for sign in "*?["):
        hidden = full.name[0] in "._"
        # The folders above are no part of the pattern, whatever signs their names hold.
        root, pattern = base, Path(path)
        if pattern.is_absolute():
            root, pattern = Path(full.anchor), full.relative_to(full.anchor)
        places = range(1, len(pattern.parts))
        above = (p for k in places for p in root.glob(str(Path(*pattern.parts[:k]))))
        _require_readable((root / pattern.parts[0]).parent, above)
        matching = [p for p in root.glob(str(pattern)) if hidden or not _unfinished(p.name)]
        _require_files(path, (p for p in matching if p.suffix.lower() in endings))
        found = tuple(sorted(filter(Path.is_file, matching)))
        if not found:
            raise AbsentError(f"no file matches source.path {path!r}.", _hint(full))
        return found
    raise AbsentError(f"source.path: no such file: {path}.", _hint(full))


def _unfinished(name: str) -> bool:
    """Return whether a file is hidden, a writer's own, or called unfinished."""
    return name[0] in "._" or name.lower().endswith(_UNFINISHED)


def _below(folder: Path, endings: tuple[str, ...]) -> tuple[Path, ...]:
    # Writers of partitioned data mark their own files with a leading dot or underscore.
    def wanted(path: Path) -> bool:
        hidden = any(part[0] in "._" for part in path.relative_to(folder).parts)
        return path.suffix.lower() in endings and not hidden

    below = list(folder.rglob("*"))
    _require_readable(folder, below)
    named = [path for path in below if wanted(path)]
    _require_files(str(folder), (path for path in named if not path.is_dir()))
    return tuple(sorted(filter(Path.is_file, named)))


def _require_readable(folder: Path, others: Iterable[Path]) -> None:
    """Refuse folders that may hold files of the source, which a pattern would pass over."""
    for path in (folder, *others):
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            raise SourceError(
                f"{path}: cannot be read (Permission denied).",
                "Let this account read the folder, or name others in source.path.",
            )


def _require_files(path: str, matching: Iterable[Path]) -> None:
    """Refuse what is named as a file of the source is and cannot be read as one."""
    for found in matching:
        if found.is_file():
            continue
        what, remedy = "a pipe or a device", "Move it elsewhere."
        if found.is_dir():
            what = "a folder"
            remedy = f"Name the files in it in source.path, by a pattern such as {path}/*."
        elif found.is_symlink():
            what = "a link to what is not there"
            remedy = "Restore what it points to, or remove the link."
        raise SourceError(f"{path}: {found.name} is {what}, no file.", remedy)


def _hint(full: Path) -> str:
    folder = full.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    names = sorted(p.name for p in folder.iterdir())
    near = get_close_matches(full.name, names, n=1, cutoff=0.4)
    if near and folder == full.parent:
        return f"Nearest there is: {near[0]}."
    last = folder.name or str(folder)
    return f"Relative paths start at the pipeline file; the last folder found is {last}."


def identity(files: tuple[Path, ...]) -> str:
    """Return a digest of the files' names, sizes and times of change."""
    stats = [(file, file.stat()) for file in files]
    lines = "\n".join(f"{file}\t{stat.st_size}\t{stat.st_mtime_ns}" for file, stat in stats)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def check_size(files: tuple[Path, ...], max_bytes: int) -> None:
    """Refuse files that are larger together than `max_bytes`."""
    total = sum(file.stat().st_size for file in files)
    if total > max_bytes:
        raise SourceError(
            f"{files[0].name}: {total:,} bytes in {len(files)} file(s); "
            f"source.max_bytes allows {max_bytes:,}.",
            "Raise source.max_bytes, or name fewer files.",
        )
