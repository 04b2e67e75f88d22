"""A lock in PostgreSQL that several hosts see and that dies with its holder's connection."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

from tasks.base.errors import TransientError
from tasks.base.runtime.libraries import sa
from tasks.base.text.redaction import without_credentials

_BETWEEN = 0.05


def is_postgresql(address: str) -> bool:
    """Return whether `address` is that of a PostgreSQL database.

    Examples
    --------
    >>> is_postgresql("postgresql+psycopg://db/mlflow"), is_postgresql("sqlite:///mlflow.db")
    (True, False)
    """
    return urlsplit(address).scheme.partition("+")[0] in ("postgresql", "postgres")


@contextmanager
def held(address: str, name: str, seconds: float = 60.0) -> Iterator[None]:
    """Hold the advisory lock `name` of a database; another holder is awaited for `seconds`.

    Raises
    ------
    TransientError
        When another host held it all the time, or the database does not answer.
    """
    key = number_of(name)
    engine = sa.create_engine(
        address,
        poolclass=sa.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": 5},
    )
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(engine.connect())
            deadline = time.monotonic() + seconds
            while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key))):
                if time.monotonic() >= deadline:
                    raise TransientError(
                        f"{name}: another host holds the lock on its champion.",
                        "Wait for it to end and run the command again.",
                    )
                time.sleep(_BETWEEN)
        except sa.exc.OperationalError:
            raise TransientError(
                f"{name}: {without_credentials(address)}, which holds the lock on its champion, "
                "does not answer.",
                "See that the database is up; the champion stays as it was.",
            ) from None
        try:
            yield
        finally:
            # The server notices the end of a session a moment later; the next holder is at once.
            with suppress(sa.exc.SQLAlchemyError):
                connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))


def number_of(name: str) -> int:
    """Return the 64-bit number by which PostgreSQL knows the lock on a model's champion.

    Examples
    --------
    >>> -(2**63) <= number_of("flights") < 2**63
    True
    """
    digest = hashlib.sha256(f"keepfit.champion:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
