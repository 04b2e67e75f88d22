"""Backup and restore of a state folder: databases, artifacts and what refers to them.

A backup may be made while everything runs: each database is copied by SQLite's online backup, and
before the artifacts, so that whatever a copied database refers to is in the backup too.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import sqlite3
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from tasks.base.errors import InfrastructureError, KeepfitError, UsageError
from tasks.base.runtime.files import private_folder
from tasks.base.runtime.locks import lock_file, take
from tasks.base.runtime.temporary import file_replacing, temporary_folder
from tasks.base.servers.stack_file import LOCK
from tasks.base.settings.object_addresses import is_object
from tasks.base.training_records import Record
from tasks.data.files.object_stores import fetch, put
from tasks.registry.packaging.provenance import keepfit_version

MANIFEST = "manifest.json"
_DATABASES = ("mlflow/mlflow.db", "prefect/prefect.db", "ledger.db")
# Of a pipeline: recipes, results, messages, waiting rows. Snapshots and fits are made again.
_FOLDERS = ("mlflow/artifacts", "promotions", "dashboard")
_ROOMS = (
    "alerts", "contracts", "figures", "labels", "monitoring", "predictions", "quarantine",
    "reports", "serving", "trainings",
)  # fmt: skip
_FILES = ("contract.yaml", "pipeline.json")
_CHUNK = 1 << 20
_DAMAGED = (
    tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValidationError, ValueError,
    OverflowError,  # a time that no file can have
)  # fmt: skip


class Manifest(Record):
    """Contents of a backup."""

    made: datetime
    version: str
    state: str
    files: dict[str, str]  # path below the state folder to the SHA-256 of its content


class Restored(Manifest):
    """Result of a restore."""

    kept: str  # folder to which the former state was moved; empty where there was none


def backup(state: Path, target: str | Path) -> Manifest:
    """Write the contents of `state` to the tar file or object `target`, whole or not at all."""
    # Databases on a server (PostgreSQL) are backed up by their own means. Raises UsageError when
    # there is nothing to back up, or `target` is there already or lies in `state`.
    if is_object(str(target)):
        with temporary_folder() as folder:
            manifest = backup(state, folder / "backup.tar.gz")
            put(folder / "backup.tar.gz", str(target), new=True)
        return manifest
    state, target = state.resolve(), Path(target).resolve()
    if not state.is_dir():
        raise UsageError(f"{state}: no state folder to back up.", "Name the pipeline's file.")
    if target.exists():
        raise UsageError(f"{target} is there already.", "Name a file that is not there yet.")
    if target.is_relative_to(state):
        raise UsageError(f"{target} lies in the state folder itself.", "Name one elsewhere.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(target.parent) as folder, file_replacing(target) as beside:
            return _write(state, beside, folder)
    except sqlite3.Error as error:
        raise InfrastructureError(
            f"{state}: a database of it can't be read: {error}.",
            "SQLite makes a file beside a database to read it: free space on that disk, or mount "
            "it for writing. Nothing was left behind.",
        ) from None
    except (OSError, tarfile.TarError) as error:
        raise InfrastructureError(
            f"{target}: the backup can't be written: {error}.", "Nothing was left behind."
        ) from None


def restore(source: str | Path, state: Path, *, force: bool = False) -> Restored:
    """Put what the backup `source` holds into `state`; all is unpacked and compared first."""
    # With `force` what `state` holds moves to a new folder beside it, `….before-restore…`. Raises
    # UsageError when it holds something without `force`, a stack runs on it, or `source` is no
    # whole backup; InfrastructureError when the disk refuses; `state` is then as it was.
    state = state.resolve()
    if not force and _holds_something(state):
        raise UsageError(
            f"{state} holds a state already; nothing was restored.",
            "Name another folder with --state, or add --force: what is there then moves to "
            f"{_aside(state)} and is kept.",
        )
    private_folder(state.parent)
    with _stopped(state), temporary_folder(state.parent) as folder:
        whole = folder / "state"
        whole.mkdir(mode=0o700)
        try:
            archive = Path(source)
            if is_object(str(source)):
                archive = folder / "backup.tar.gz"
                fetch(str(source), archive)
            manifest = _unpack(archive, whole)
            _relocate(whole, Path(manifest.state), state)
            os.sync()  # a machine without power keeps the former state or all of this one
            aside = _swap(state, whole)
        except OSError as error:
            raise InfrastructureError(
                f"{state}: the backup can't be restored: {error.strerror or error}.",
                "Free some space or choose another folder; what is there is as it was.",
            ) from None
    return Restored(**manifest.model_dump(), kept=str(aside) if aside else "")


def _write(state: Path, target: Path, folder: Path) -> Manifest:
    files: dict[str, str] = {}
    with tarfile.open(target, "w:gz") as archive:
        for name in _DATABASES:
            if (state / name).is_file():
                copy = folder / name.replace("/", "-")
                _copy_database(state / name, copy)
                files[name] = _add(archive, copy, name)
                copy.unlink()
        for path in _files(state):
            name = path.relative_to(state).as_posix()
            # A file that goes while the backup is made was old, and is missed by nothing.
            with contextlib.suppress(FileNotFoundError):
                files[name] = _add(archive, path, name)
        manifest = Manifest(
            made=datetime.now(UTC),
            version=keepfit_version(),
            state=str(_known_as(state)),
            files=files,
        )
        content = manifest.model_dump_json(indent=1).encode()
        entry = tarfile.TarInfo(MANIFEST)
        entry.size, entry.mode = len(content), 0o600
        archive.addfile(entry, io.BytesIO(content))
    if not files:
        raise UsageError(f"{state} holds nothing yet.", "Back it up after the first training.")
    return manifest


def _known_as(state: Path) -> Path:
    """Return where the state lies by MLflow's addresses: elsewhere, where it was moved."""
    database = state / "mlflow" / "mlflow.db"
    if not database.is_file():
        return state
    inside = "/mlflow/artifacts/"
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=60)) as found:
        for table, column in _locations(found):
            place = found.execute(
                f'SELECT "{column}" FROM "{table}" WHERE "{column}" LIKE ? LIMIT 1',  # noqa: S608
                (f"file:///%{inside}%",),
            ).fetchone()
            if place is not None:
                return Path(unquote(urlsplit(place[0]).path.partition(inside)[0]))
    return state


def _copy_database(source: Path, target: Path) -> None:
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=60)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")


def _files(state: Path) -> Iterator[Path]:
    folders = [state / name for name in _FOLDERS]
    for work in sorted((state / "pipelines").glob("*/")):
        folders += [work / room for room in _ROOMS]
        yield from (work / name for name in _FILES if (work / name).is_file())
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(state).parts)
            if path.is_file() and not path.is_symlink() and not hidden and path.suffix != ".lock":
                yield path


def _add(archive: tarfile.TarFile, path: Path, name: str) -> str:
    """Add one file as it is at this moment; return its SHA-256."""
    with path.open("rb") as file:
        entry = tarfile.TarInfo(name)
        stat = os.fstat(file.fileno())
        entry.size, entry.mtime, entry.mode = stat.st_size, int(stat.st_mtime), 0o600
        reader = _Hashing(file)
        archive.addfile(entry, reader)
    return reader.digest.hexdigest()


class _Hashing(io.RawIOBase):
    """A file whose content is hashed as it is read."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _unpack(source: Path, folder: Path) -> Manifest:
    try:
        with tarfile.open(source, "r:gz") as archive:
            found = {entry.name: _extract(archive, entry, folder) for entry in archive}
        if found.pop(MANIFEST, None) is None:
            raise ValueError(f"it holds no {MANIFEST}")
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except _DAMAGED as error:
        raise _no_backup(source, str(error).splitlines()[0]) from None
    if found != manifest.files:
        wrong = sorted(
            name
            for name in found.keys() | manifest.files.keys()
            if found.get(name) != manifest.files.get(name)
        )
        raise _no_backup(source, f"{wrong[0]} is not as it was written")
    (folder / MANIFEST).unlink()
    return manifest


def _is_kept(path: PurePosixPath) -> bool:
    """Return whether `backup` writes such a file: no key, lock or version of a pipeline file."""
    name, parts = path.as_posix(), path.parts
    if name in (MANIFEST, *_DATABASES) or name.startswith(tuple(f"{f}/" for f in _FOLDERS)):
        return True
    if len(parts) < 3 or parts[0] != "pipelines":
        return False
    return parts[2] in (_FILES if len(parts) == 3 else _ROOMS)


def _extract(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> str:
    path = PurePosixPath(entry.name)
    if not entry.isreg() or ".." in path.parts or not _is_kept(path):
        raise ValueError(f"it holds {entry.name!r}, which is no file of a state folder")
    target = folder.joinpath(*path.parts)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha256()
    reader = archive.extractfile(entry)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
        while reader is not None and (data := reader.read(_CHUNK)):
            digest.update(data)
            sink.write(data)
    os.utime(target, (entry.mtime, entry.mtime))
    return digest.hexdigest()


def _relocate(folder: Path, former: Path, state: Path) -> None:
    """Let what names the former state folder name the new one: MLflow stores whole addresses."""
    if former == state:
        return
    database = folder / "mlflow" / "mlflow.db"
    if not database.is_file():
        return
    old, new = former.as_uri() + "/", state.as_uri() + "/"
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in _locations(connection):
            connection.execute(
                f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) '  # noqa: S608
                f'WHERE substr("{column}", 1, ?) = ?',
                (new, len(old) + 1, len(old), old),
            )


def _locations(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    wanted = {"artifact_location", "artifact_uri", "storage_location", "source"}
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        for row in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
            if row[1] in wanted:
                yield table, row[1]


def _holds_something(state: Path) -> bool:
    """Return whether `state` has a file beside locks and logs."""
    files = (path for path in state.rglob("*") if path.is_file() and path.suffix != ".lock")
    return any("logs" not in path.relative_to(state).parts for path in files)


def _aside(state: Path) -> Path:
    """Return a name beside `state` that nothing has: an earlier state kept there stays."""
    ends = chain([""], (f"-{number}" for number in count(2)))
    paths = (state.with_name(f"{state.name}.before-restore{end}") for end in ends)
    return next(path for path in paths if not path.exists())


def _swap(state: Path, whole: Path) -> Path | None:
    """Put `whole` in the place of `state`; return where that was moved to, if it was there."""
    aside = _aside(state) if state.exists() else None
    if aside is not None:
        state.rename(aside)
    try:
        whole.rename(state)
    except OSError:
        if aside is not None:
            aside.rename(state)
        raise
    return aside


@contextlib.contextmanager
def _stopped(state: Path) -> Iterator[None]:
    """Hold the lock of the stack, so that none runs or starts; UsageError when one runs."""
    if not state.exists():
        yield
        return
    with lock_file(state / LOCK) as descriptor:
        if not take(descriptor):
            raise UsageError(
                f"A stack runs on {state}; nothing is restored under it.",
                "Stop it first: Ctrl-C where `keepfit up` runs.",
            )
        yield


def _no_backup(source: Path, why: str) -> KeepfitError:
    return UsageError(
        f"{source} is no whole backup of keepfit: {why}.", "Nothing was changed; name another."
    )
