"""The SQLite database of the local store: created once and completely by the first process."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from tasks.base.errors import ConfigError
from tasks.base.runtime.files import private_folder as private_folder
from tasks.base.runtime.files import require_writable
from tasks.base.runtime.libraries import sa
from tasks.base.runtime.locks import locked
from tasks.base.settings.database_addresses import fault_of


def sqlite_address(path: Path) -> str:
    """Return the address of the SQLite database at `path`.

    Raises ConfigError when the path holds a character that an address gives another meaning.

    >>> sqlite_address(Path("/srv/my state/mlflow.db"))
    'sqlite:////srv/my state/mlflow.db'
    """
    if "?" in str(path) or "#" in str(path):
        raise ConfigError(
            f"{path}: the state folder's path holds ? or #, which end a database address.",
            "Set KEEPFIT_STATE to a folder without them.",
        )
    return f"sqlite:///{path}"


def sqlite_path(address: str) -> Path | None:
    """Return the file of a SQLite address; None for another address or one in memory.

    >>> sqlite_path("sqlite:////srv/mlflow.db")
    PosixPath('/srv/mlflow.db')
    >>> sqlite_path("http://127.0.0.1:5000") is None
    True
    """
    scheme, _, rest = address.partition(":///")
    if scheme not in ("sqlite", "sqlite+pysqlite") or rest in ("", ":memory:"):
        return None
    return Path(rest.partition("?")[0])


def is_database(address: str) -> bool:
    """Return whether `address` is that of a database, not of an MLflow server.

    >>> is_database("postgresql+psycopg://db/mlflow"), is_database("https://mlflow.example")
    (True, False)
    """
    scheme = urlsplit(address).scheme.partition("+")[0]
    return scheme in ("sqlite", "postgresql", "mysql", "mssql")


def check_tracking(address: str) -> None:
    """Refuse, without showing it, an address of MLflow's store that nobody can connect to."""
    try:
        parts = urlsplit(address)
        if parts.port and "@" not in parts.netloc and "@" in address:
            # Else the start of a password would be looked up as host and port, and shown.
            fault = "a password's @, / and # have to be percent-encoded"
        else:
            fault = fault_of(address) if is_database(address) else ""
    except ValueError:
        fault = "its port is no number from 1 to 65535"
    if fault:
        raise ConfigError(
            f"MLFLOW_TRACKING_URI cannot be used: {fault}.",
            "Fix it, or unset it to use the store in the state folder.",
        )


def artifacts_folder(state: Path, address: str) -> Path | None:
    """Return the folder that holds all artifacts; None where the server at `address` decides."""
    return state / "mlflow" / "artifacts" if is_database(address) else None


def tracking_address(state: Path) -> str:
    """Return the checked address of ``MLFLOW_TRACKING_URI``, else of the database in `state`."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    check_tracking(uri)
    if not uri:
        return sqlite_address(state / "mlflow" / "mlflow.db")
    path = sqlite_path(uri)
    return uri if path is None else sqlite_address(path.absolute())


def make_once(path: Path, create: Callable[[str], None]) -> None:
    """Make the SQLite database `path` with `create`, which receives an address, if it is absent."""
    # It is made beside its place and renamed when it is whole: a process killed on the way leaves
    # nothing half made, and of several that start at once one makes it and the others wait. The
    # write-ahead log is turned on, so that readers and the writer do not lock each other out.
    private_folder(path.parent)
    require_writable(path.parent)
    if path.exists():
        _read_once(path)
        return
    with locked(path.with_name(f".{path.name}.lock"), seconds=120):
        if path.exists():
            return
        beside = path.with_name(f".{path.name}.new")
        for leftover in path.parent.glob(f"{beside.name}*"):
            leftover.unlink()
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        # Hundreds of small commits: the disk is waited for once, at the end.
        undo = wait_less(beside, "OFF")
        try:
            create(sqlite_address(beside))
        finally:
            undo()
        with closing(sqlite3.connect(beside)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)


def _read_once(path: Path) -> None:
    """Raise SQLite's error for a file that it can't open: MLflow tries again for an hour."""
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master")


def wait_less(path: Path, mode: Literal["OFF", "NORMAL"]) -> Callable[[], None]:
    """Let new connections to the SQLite database `path` wait less for the disk, until undone."""
    # `OFF` never waits; `NORMAL`, with a write-ahead log, only when the log is written back: a
    # process that is killed loses nothing, a machine without power at most the last commits.
    whole = str(path.resolve())

    def connected(connection: Any, _: object) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        if connection.execute("PRAGMA database_list").fetchone()[2] == whole:
            connection.execute(f"PRAGMA synchronous={mode}")

    sa.event.listen(sa.Engine, "connect", connected)
    return lambda: sa.event.remove(sa.Engine, "connect", connected)


def settle(path: Path) -> None:
    """Wait until the disk holds everything that was committed to the SQLite database `path`."""
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def reachable(address: str) -> None:
    """Connect once to a database server, within seconds."""
    # MLflow by itself would try for a minute and a half before it reports an absent server.
    timeout = {"connect_timeout": 5} if "postgresql" in address else {}
    engine = sa.create_engine(address, connect_args=timeout)
    with engine.connect():
        pass
    engine.dispose()


def remove_inputs(engine: Any, run_id: str) -> None:
    """Remove the links of an MLflow run to data and models, and data that nothing else links."""
    # MLflow leaves these rows behind when it removes a run for good.
    data = "SELECT source_id FROM inputs WHERE destination_id = :run AND source_type = 'DATASET'"
    links = "destination_id = :run OR source_id = :run"
    used = "SELECT source_id FROM inputs WHERE source_type = 'DATASET'"
    with engine.begin() as connection:
        found = connection.execute(sa.text(data), {"run": run_id}).scalars().all()
        for statement in (
            f"DELETE FROM input_tags WHERE input_uuid IN (SELECT input_uuid FROM inputs "  # noqa: S608
            f"WHERE {links})",
            f"DELETE FROM inputs WHERE {links}",  # noqa: S608
        ):
            connection.execute(sa.text(statement), {"run": run_id})
        orphans = f"DELETE FROM datasets WHERE dataset_uuid = :one AND :one NOT IN ({used})"  # noqa: S608
        for one in found:
            connection.execute(sa.text(orphans), {"one": one})


def shrink(path: Path) -> None:
    """Give the free pages of the SQLite database `path` back to the disk."""
    # Not where a tenth or less is free, or somebody writes meanwhile: the next time does it.
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        free, pages = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("freelist_count", "page_count")
        )
        if free * 10 <= pages:
            return
        try:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
