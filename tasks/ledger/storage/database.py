"""The ledger's database: SQLite in the state folder, or PostgreSQL; made by the first process."""

from __future__ import annotations

import atexit
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tasks.base.errors import ConfigError, InfrastructureError, KeepfitError, TransientError
from tasks.base.runtime.failpoints import reach
from tasks.base.runtime.files import private_folder
from tasks.base.runtime.libraries import sa
from tasks.base.runtime.locks import locked
from tasks.base.settings.database_addresses import EXAMPLE, PASSING, fault_of, with_driver
from tasks.base.text.redaction import redact, without_credentials
from tasks.ledger.storage.migrations import migrate, version_of
from tasks.ledger.storage.tables import VERSION

_FULL = ("is full", "no space left", "disk i/o")
_DAMAGED = ("malformed", "not a database")
_CACHE_KB = 65_536  # rows come in the order of their ids and go out in that of their times
_LOG_BYTES = 16_777_216
_ENGINES: dict[tuple[int, str, float], sa.Engine] = {}


class Database:
    """Transactions on the ledger's database; its locks in `state` have `patience` seconds."""

    def __init__(
        self, url: sa.URL, state: Path, patience: float = 60.0, secrets: Sequence[str] = ()
    ) -> None:
        self.url, self.state, self.secrets = url, state, secrets
        self.patience = patience
        self.place = without_credentials(url.set(query={}).render_as_string())
        self.file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None

    @property
    def engine(self) -> sa.Engine:
        """The engine of this process and address; a forked process makes its own."""
        key = (os.getpid(), self.url.render_as_string(hide_password=False), self.patience)
        if key not in _ENGINES:
            _ENGINES[key] = _engine(self.url, self.patience)
        return _ENGINES[key]

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads."""
        with self.explained(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self, what: str) -> Iterator[sa.Connection]:
        """Open a transaction that is committed whole or not at all; errors hold no password."""
        with self.explained(), self.engine.connect() as connection:
            reach(f"ledger.{what}.before")
            connection = connection.execution_options(keepfit_writes=True, preserve_rowcount=True)
            with connection.begin():
                if self.file is None:
                    # How long locks of this transaction in PostgreSQL are awaited.
                    connection.execute(
                        sa.text("SELECT set_config('lock_timeout', :most, true)"),
                        {"most": f"{self.patience * 1000:.0f}"},
                    )
                yield connection
                reach(f"ledger.{what}.before_commit")
            reach(f"ledger.{what}.after_commit")

    def prepare(self) -> None:
        """Make or migrate the tables, once under a lock; refuse those of a newer keepfit."""
        with self.explained():
            if self._current():
                return
            if self.file is None:
                self._migrate()
                return
            self.engine.dispose()  # of a file that is gone
            private_folder(self.file.parent)
            with locked(self.file.with_name(f".{self.file.name}.lock"), seconds=120):
                # Readable by its owner only, with a write-ahead log.
                os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))
                with closing(sqlite3.connect(self.file, timeout=self.patience)) as connection:
                    if not connection.execute("PRAGMA page_count").fetchone()[0]:
                        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
                    connection.execute("PRAGMA journal_mode=WAL")
                self._migrate()

    def _current(self) -> bool:
        if self.file is not None and not self.file.exists():
            return False
        with self.engine.connect() as connection:
            return version_of(connection) == VERSION

    def _migrate(self) -> None:
        with self.writing("migration") as connection:
            if self.file is None:
                lock(connection, "keepfit ledger")
            migrate(connection, self.place)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn a database's error into one of keepfit's, without the password."""
        try:
            yield
        except KeepfitError:
            raise
        except sa.exc.SQLAlchemyError as error:
            raise self._error(error) from None
        except Exception as error:
            # Copying into PostgreSQL goes past SQLAlchemy.
            if type(error).__module__.partition(".")[0] not in ("psycopg", "sqlite3"):
                raise
            raise self._error(error) from None

    def _error(self, error: Exception) -> InfrastructureError:
        origin = getattr(error, "orig", None) or error
        text = (str(origin).strip().splitlines() or [type(origin).__name__])[0][:300]
        text = redact(text, [self.url.render_as_string(hide_password=False)])
        lost = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
        if any(word in text.lower() for word in _FULL):
            return InfrastructureError(
                f"the ledger {self.place} cannot be written: {text}.",
                "Free space there and run the command again; what was committed is intact.",
            )
        if "authentication" not in text and (lost or any(word in text.lower() for word in PASSING)):
            return TransientError(
                f"the ledger {self.place} did not answer in time: {text}.",
                "Nothing of this step was written; run the command again.",
            )
        damaged = any(word in text.lower() for word in _DAMAGED)
        remedy = "Put a backup of it back" if damaged else "Fix `ledger.url`, or its permissions"
        return InfrastructureError(
            f"the ledger {self.place} refused: {text}.",
            f"{remedy}; nothing of this step was written.",
        )


def address_of(url: str | None, state: Path, base: Path) -> sa.URL:
    """Return the address of a ledger: `url` (SQLite relative to `base`), else a file in `state`."""
    # Raises ConfigError when it is no address, or one of another kind of database.
    if url is None:
        return sa.URL.create("sqlite", database=str(state / "ledger.db"))
    fault = fault_of(url)
    if fault:
        raise ConfigError(f"`ledger.url` cannot be used: {fault}.", EXAMPLE)
    address = sa.make_url(url)
    backend = with_driver(address).get_backend_name()
    if backend == "sqlite" and address.database not in (None, "", ":memory:"):
        return sa.URL.create("sqlite", database=str((base / str(address.database)).absolute()))
    address = with_driver(address)
    if address.drivername == "postgresql+psycopg":
        return address
    raise ConfigError(
        "`ledger.url` is no address of a SQLite file or a PostgreSQL database.",
        "Write sqlite:///ledger.db or postgresql+psycopg://user:${PASSWORD}@host/database.",
    )


def lock(connection: sa.Connection, name: str) -> None:
    """Hold PostgreSQL's advisory lock `name` until the transaction ends; SQLite locks itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name}
        )


def _engine(url: sa.URL, patience: float) -> sa.Engine:
    # A connection stays open: closing the last one of a SQLite file writes its log back.
    pool: dict[str, Any] = {"pool_size": 1, "max_overflow": 8}
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": patience}, **pool)
        sa.event.listen(engine, "connect", _opened)
        sa.event.listen(engine, "begin", _begin)
    else:
        timeout = {} if "connect_timeout" in url.query else {"connect_timeout": 10}
        try:
            engine = sa.create_engine(url, pool_pre_ping=True, connect_args=timeout, **pool)
        except ImportError:
            raise ConfigError(
                "`ledger.url` names a PostgreSQL database, for which no driver is installed.",
                "Install it: pip install 'keepfit[postgres]'.",
            ) from None
    atexit.register(_dispose(engine, os.getpid()))
    return engine


def _dispose(engine: sa.Engine, process: int) -> Callable[[], None]:
    def dispose() -> None:
        if os.getpid() == process:
            engine.dispose()

    return dispose


def _opened(connection: Any, _: object) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KB}")
    # A batch of any size is staged: what goes beyond the cache goes to a temporary file.
    connection.execute("PRAGMA temp_store=FILE")
    connection.execute(f"PRAGMA temp.cache_size=-{_CACHE_KB}")
    connection.execute(f"PRAGMA journal_size_limit={_LOG_BYTES}")


def _begin(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later would be refused at once, not wait.
    writes = connection.get_execution_options().get("keepfit_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
