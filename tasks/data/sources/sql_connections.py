"""Connections that only read, and errors without the password."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks.base.errors import SourceError, TransientError
from tasks.base.runtime.libraries import sa
from tasks.base.settings.database_addresses import (
    EXAMPLE,
    PASSING,
    fault_of,
    no_driver,
    with_driver,
)
from tasks.base.settings.sources import SqlSource
from tasks.base.text.redaction import redact


@contextmanager
def connected(source: SqlSource, base: Path) -> Iterator[sa.Connection]:
    """Open a connection that only reads; every error leaves without the URL's password."""
    url = _url(source)
    try:
        engine = _engine(url, base)
    except ImportError as error:
        raise SourceError(*no_driver(url, error)) from None
    try:
        with _opened(engine, url) as connection:
            yield connection
    except sa.exc.SQLAlchemyError as error:
        raise _explained(error, url) from None
    finally:
        engine.dispose()


def _url(source: SqlSource) -> sa.URL:
    address = source.url.get_secret_value()
    fault = fault_of(address)
    if fault:
        raise SourceError(f"source.url cannot be used: {fault}.", EXAMPLE)
    return with_driver(sa.make_url(address))


def _opened(engine: sa.Engine, url: sa.URL) -> sa.Connection:
    try:
        return engine.connect()
    except (TypeError, ValueError, OverflowError):
        # A driver raises these for options that it does not know; its text may hold a value.
        named = ", ".join(sorted(url.query)) or "none"
        raise SourceError(
            f"the database's driver refused the options of source.url (after `?`: {named}).",
            "Fix or remove them.",
        ) from None


def _engine(url: sa.URL, base: Path) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        return sa.create_engine(
            "sqlite://", creator=_sqlite_opener(url, base), poolclass=sa.pool.NullPool
        )
    read_only = {}
    if url.get_backend_name() == "duckdb":
        # DuckDB creates a file that is not there, and lets one process in where it may be written.
        url, read_only = url.set(database=str(_file_of(url, base))), {"read_only": True}
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args=read_only)
    of_mysql = ("SET SESSION TRANSACTION READ ONLY", "SET time_zone = '+00:00'")
    of_postgres = ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET TIME ZONE 'UTC'")
    known = {"postgresql": of_postgres, "mysql": of_mysql, "mariadb": of_mysql}
    statements = known.get(engine.dialect.name, ())

    def prepare(raw: Any, _record: Any) -> None:
        with raw.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        raw.commit()

    if statements:
        sa.event.listen(engine, "connect", prepare)
    return engine


def _file_of(url: sa.URL, base: Path) -> Path:
    """Return the file that is the database of a URL."""
    dialect = url.get_backend_name()
    name = {"sqlite": "SQLite", "duckdb": "DuckDB"}[dialect]
    if not url.database or url.database == ":memory:":
        raise SourceError(
            f"source.url names no {name} file.", f"Write {dialect}:///folder/file.db."
        )
    path = (base / url.database).absolute()
    if not path.is_file():
        raise SourceError(
            f"source.url: no such {name} file: {url.database}.",
            "Relative paths start at the pipeline file.",
        )
    return path


def _sqlite_opener(url: sa.URL, base: Path) -> Any:
    path = _file_of(url, base)
    wait = url.query.get("timeout", "20")
    seconds = float(wait) if isinstance(wait, str) and re.fullmatch(r"[\d.]+", wait) else 20.0

    def opened() -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, timeout=seconds, check_same_thread=False
        )

    return opened


def _explained(error: sa.exc.SQLAlchemyError, url: sa.URL) -> SourceError | TransientError:
    origin = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    # Below its first line a driver quotes the statement, which is keepfit's around the person's.
    text = " ".join(re.split(r"\n+LINE \d+:", str(origin))[0].split()).rstrip(".")[:300]
    text = redact(text, [url.render_as_string(hide_password=False)])
    if "authentication" in text:
        return SourceError(f"the database refused: {text}.", "Fix source.url.")
    lost = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
    if lost or any(word in text.lower() for word in PASSING):
        return TransientError(f"the database did not answer: {text}.", "Try again.")
    return SourceError(
        f"the database refused: {text}.", "Fix source.query, source.table or source.url."
    )
