"""Advisory locks of PostgreSQL, seen by several hosts, that end with their holder's session."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tasks.base.runtime.libraries import sa
from tasks.base.runtime.locks import released_in_forks

_BETWEEN = 0.05


def is_postgresql(address: str) -> bool:
    """Return whether `address` is that of a PostgreSQL database.

    >>> is_postgresql("postgresql+psycopg://db/mlflow"), is_postgresql("sqlite:///mlflow.db")
    (True, False)
    """
    return urlsplit(address).scheme.partition("+")[0] in ("postgresql", "postgres")


def champion_key(model: str) -> int:
    """Return the 64-bit number by which PostgreSQL knows the lock on a model's champion.

    >>> -(2**63) <= champion_key("flights") < 2**63
    True
    """
    digest = hashlib.sha256(f"keepfit.champion:{model}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def flight_key(pipeline: str) -> sa.ColumnElement[int]:
    """Return the number by which PostgreSQL knows the lock on a pipeline's trainings."""
    return sa.func.hashtextextended(f"keepfit flight {pipeline}", 0)


@contextmanager
def session_lock(
    engine: sa.Engine, key: int | sa.ColumnElement[int], seconds: float = 0.0
) -> Iterator[bool]:
    """Hold an advisory lock in a session of its own, awaited for `seconds`; yields whether held."""
    # A process forked meanwhile has no part in it.
    with engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        session = connection.connection.driver_connection.fileno()  # type: ignore[union-attr]
        # Not given back to the pool: closing it ends the session, and the lock with it.
        connection.detach()
        deadline = time.monotonic() + seconds
        while not (taken := bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key))))):
            if time.monotonic() >= deadline:
                break
            time.sleep(_BETWEEN)
        with released_in_forks(session):
            try:
                yield taken
            finally:
                # The server notices a closed session only later, so unlock explicitly.
                with suppress(sa.exc.SQLAlchemyError):
                    connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))
