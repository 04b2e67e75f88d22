"""Single flight: one training of a pipeline at a time, under locks that end with their holder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tasks.base.errors import KeepfitError
from tasks.base.runtime.failpoints import reach
from tasks.base.runtime.locks import holder, lock_file, take
from tasks.base.runtime.postgres_lock import flight_key, session_lock
from tasks.ledger.storage.database import Database


class Busy(KeepfitError):  # noqa: N818 - a state, not a fault
    """Another living process trains this pipeline."""

    kind = "busy"


@contextmanager
def flight(database: Database, pipeline: str) -> Iterator[None]:
    """Hold the pipeline while a block trains it; Busy at once when a living process holds it."""
    path = database.state / "flights" / f"{pipeline}.lock"
    with ExitStack() as stack:
        descriptor = stack.enter_context(lock_file(path))
        if not take(descriptor):
            raise _busy(pipeline, f"process {holder(descriptor) or '?'} of this host")
        if database.file is None:
            with database.explained():
                taken = stack.enter_context(session_lock(database.engine, flight_key(pipeline)))
            if not taken:
                raise _busy(pipeline, "another host that shares this ledger")
        reach("ledger.flight.held")
        yield


def _busy(pipeline: str, by: str) -> Busy:
    return Busy(
        f"{pipeline} is being trained already, by {by}.",
        "Wait for it to end: two trainings of one pipeline never run at once.",
    )
