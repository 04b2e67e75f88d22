"""Single flight: one training of a pipeline at a time, on this host and on all that share it.

Locks of the operating system and of a database session end with their holder, however it ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tasks.base.errors import KeepfitError
from tasks.base.runtime.failpoints import reach
from tasks.base.runtime.libraries import sa
from tasks.base.runtime.locks import holder, lock_file, take
from tasks.ledger.storage.database import Database

_HELD: set[int] = set()


class Busy(KeepfitError):  # noqa: N818 - a state, not a fault
    """Another living process trains this pipeline."""

    kind = "busy"


@contextmanager
def flight(database: Database, pipeline: str) -> Iterator[None]:
    """Hold the pipeline while a block trains it; its holder's end frees it, however it ends.

    Raises
    ------
    Busy
        On entering, at once, when another living process holds it.
    """
    path = database.state / "flights" / f"{pipeline}.lock"
    with ExitStack() as stack:
        stack.enter_context(_on_this_host(path, pipeline))
        if database.file is None:
            stack.enter_context(_everywhere(database, pipeline))
        reach("ledger.flight.held")
        yield


@contextmanager
def _on_this_host(path: Path, pipeline: str) -> Iterator[None]:
    with lock_file(path) as descriptor:
        _HELD.add(descriptor)
        try:
            if not take(descriptor):
                raise _busy(pipeline, f"process {holder(descriptor) or '?'} of this host")
            yield
        finally:
            _HELD.discard(descriptor)


@contextmanager
def _everywhere(database: Database, pipeline: str) -> Iterator[None]:
    """Hold an advisory lock of a session of its own, outside any transaction."""
    name = {"name": f"keepfit flight {pipeline}"}
    with ExitStack() as stack:
        with database.explained():
            connection = stack.enter_context(database.engine.connect())
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            session = _descriptor(connection)
            # Not given back to the pool: closing it ends the session, and the lock with it.
            connection.detach()
            taken = connection.execute(
                sa.text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"), name
            ).scalar()
        if not taken:
            raise _busy(pipeline, "another host that shares this ledger")
        _HELD.add(session)
        stack.callback(_HELD.discard, session)
        try:
            yield
        finally:
            # The server notices the end of a session a moment later; the next flight is at once.
            with suppress(sa.exc.SQLAlchemyError):
                connection.execute(
                    sa.text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), name
                )


def _descriptor(connection: sa.Connection) -> int:
    driver = connection.connection.driver_connection
    number: int = driver.fileno()  # type: ignore[union-attr]
    return number


def _busy(pipeline: str, by: str) -> Busy:
    return Busy(
        f"{pipeline} is being trained already, by {by}.",
        "Wait for it to end: two trainings of one pipeline never run at once.",
    )


def _let_go() -> None:
    """Give up, in a forked process, what would outlive its holder there.

    The numbers stay taken: whoever closes them closes nothing else.
    """
    if not _HELD:
        return
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in _HELD:
        os.dup2(nowhere, descriptor, inheritable=False)
    os.close(nowhere)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)
