"""A short text per pipeline that changes when its decisions or its served rows do."""

from __future__ import annotations

from collections.abc import Callable

from tasks.base.runtime.files import digest_of_bytes
from tasks.base.runtime.libraries import sa
from tasks.ledger.storage.database import Database
from tasks.ledger.storage.tables import batches, decisions

_NEWEST = 1024


def read(database: Database) -> Callable[[str], str]:
    """Return a function from pipeline to its mark."""
    # Looked at are the newest decisions of all pipelines, one or two thousand, each one: of two
    # transactions at once the one with the smaller number may be committed last, and a restored
    # ledger goes on with the same numbers, and with the same ids where a run is repeated.
    number = decisions.c.number
    with database.reading() as connection:
        newest = connection.execute(sa.select(sa.func.max(number))).scalar() or 0
        since = max(0, newest // _NEWEST - 1) * _NEWEST
        decided = (
            sa.select(decisions.c.pipeline, number, decisions.c.id, decisions.c.at)
            .where(number > since)
            .order_by(number)
        )
        served = (
            sa.select(batches.c.pipeline, sa.func.max(batches.c.written_at))
            .where(batches.c.forms.is_not(None))
            .group_by(batches.c.pipeline)
        )
        marks: dict[str, list[object]] = {}
        for query in (decided, served):
            for name, *mark in connection.execute(query):
                marks.setdefault(name, []).append(mark)
    return lambda pipeline: digest_of_bytes(repr([since, marks.get(pipeline)]).encode())
