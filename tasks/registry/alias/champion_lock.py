"""A lock on a model's champion in PostgreSQL, which several hosts see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tasks.base.errors import TransientError
from tasks.base.runtime.libraries import sa
from tasks.base.runtime.postgres_lock import champion_key, session_lock
from tasks.base.text.redaction import without_credentials


@contextmanager
def held(address: str, name: str, seconds: float = 60.0) -> Iterator[None]:
    """Hold the lock on a model's champion; TransientError when another has it for `seconds`."""
    engine = sa.create_engine(address, poolclass=sa.NullPool, connect_args={"connect_timeout": 5})
    with ExitStack() as stack:
        try:
            taken = stack.enter_context(session_lock(engine, champion_key(name), seconds))
        except sa.exc.OperationalError:
            raise TransientError(
                f"{name}: {without_credentials(address)}, which holds the lock on its champion, "
                "does not respond.",
                "See that the database is up; the champion stays as it was.",
            ) from None
        if not taken:
            raise TransientError(
                f"{name}: another host holds the lock on its champion.",
                "Wait for it to end and run the command again.",
            )
        yield
