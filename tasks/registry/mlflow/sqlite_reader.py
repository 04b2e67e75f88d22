"""The local registry read as a SQLite database: MLflow, which reads the rest, imports slowly."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tasks.base.training_records import ModelVersion
from tasks.registry.mlflow import limits, sqlite_database
from tasks.registry.packaging.provenance import PROCESS_TAG

PROMOTIONS = "promotions"  # folder of the state folder with the journals of alias moves
StoredChampions = dict[str, tuple[ModelVersion, str]]
_DELETED = "Deleted_Internal"
_WORKSPACE = "default"
_PATIENCE_SECONDS = 20.0


def reader_of(uri: str, state: Path) -> SqliteReader | None:
    """Return a reader of the store at `uri`; None unless it is a local database at rest."""
    # Where a process died while it moved an alias, MLflow has to be connected to end that.
    path = sqlite_database.sqlite_path(uri)
    if path is None or not path.is_file() or any((state / PROMOTIONS).glob("*.journal")):
        return None
    return SqliteReader(path)


class SqliteReader:
    """Registered versions; methods raise `sqlite3.Error` where the database is not as expected."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def champion(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version that `alias` points to; None without one."""
        with self._connection() as connection:
            version = connection.execute(
                "SELECT version FROM registered_model_aliases "
                "WHERE workspace = ? AND name = ? AND alias = ?",
                (_WORKSPACE, name, alias),
            ).fetchone()
            found = _versions(connection, name, version[0]) if version else ()
        return found[0] if found else None

    def champions(self, alias: str) -> StoredChampions:
        """Return name to the version that `alias` points to, with the address of its folder."""
        with self._connection() as connection:
            pointed = connection.execute(
                "SELECT name, version, coalesce(storage_location, source, '') FROM model_versions "
                "JOIN registered_model_aliases USING (workspace, name, version) "
                "WHERE workspace = ? AND alias = ?",
                (_WORKSPACE, alias),
            ).fetchall()
            return {
                name: (found[0], source)
                for name, number, source in pointed
                if (found := _versions(connection, name, number))
            }

    def version(self, name: str, version: str) -> ModelVersion | None:
        """Return one version; None without it."""
        if not (version.isdecimal() and len(version) < 19 and str(int(version)) == version):
            return None
        with self._connection() as connection:
            found = _versions(connection, name, int(version))
        return found[0] if found else None

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Return the versions of `name`, newest first."""
        with self._connection() as connection:
            return _versions(connection, name)

    def source(self, version: ModelVersion) -> str | None:
        """Return the address of a version's folder; None without the version."""
        with self._connection() as connection:
            found = connection.execute(
                "SELECT coalesce(storage_location, source) FROM model_versions "
                "WHERE workspace = ? AND name = ? AND version = ?",
                (_WORKSPACE, version.name, version.version),
            ).fetchone()
        return str(found[0]) if found and found[0] else None

    def experiment(self, name: str) -> str | None:
        """Return the id of an active experiment; None without it."""
        with self._connection() as connection:
            found = connection.execute(
                "SELECT experiment_id FROM experiments "
                "WHERE workspace = ? AND name = ? AND lifecycle_stage = 'active'",
                (_WORKSPACE, name),
            ).fetchone()
        return str(found[0]) if found else None

    def runners(self) -> tuple[str, ...]:
        """Return the processes that started the runs which count as running."""
        with self._connection() as connection:
            found = connection.execute(
                "SELECT value FROM runs JOIN tags USING (run_uuid) "
                "WHERE status = 'RUNNING' AND lifecycle_stage = 'active' AND key = ?",
                (PROCESS_TAG,),
            ).fetchall()
        return tuple(str(value) for (value,) in found)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        address = f"{self._path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=_PATIENCE_SECONDS)) as connection:
            # One snapshot for all that a method reads.
            connection.execute("BEGIN")
            yield connection


def _versions(
    connection: sqlite3.Connection, name: str, version: int | None = None
) -> tuple[ModelVersion, ...]:
    wanted = "workspace = ? AND name = ? AND (? IS NULL OR version = ?)"
    given = (_WORKSPACE, name, version, version)
    tags: dict[int, dict[str, str]] = {}
    for number, key, value in connection.execute(
        f"SELECT version, key, value FROM model_version_tags WHERE {wanted}",  # noqa: S608
        given,
    ):
        tags.setdefault(number, {})[key] = value
    aliases: dict[int, list[str]] = {}
    for number, alias in connection.execute(
        f"SELECT version, alias FROM registered_model_aliases WHERE {wanted}",  # noqa: S608
        given,
    ):
        aliases.setdefault(number, []).append(alias)
    found = connection.execute(
        "SELECT version, run_id, creation_time, description FROM model_versions "  # noqa: S608
        f"WHERE {wanted} AND coalesce(current_stage, '') != ? ORDER BY version DESC",
        (*given, _DELETED),
    )
    return tuple(
        ModelVersion(
            name=name,
            version=str(number),
            run_id=run or "",
            aliases=tuple(aliases.get(number, ())),
            tags=limits.joined(tags.get(number, {})),
            created=datetime.fromtimestamp(created / 1000, UTC),
            description=description or "",
        )
        for number, run, created, description in found
    )
