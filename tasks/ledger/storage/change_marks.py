"""A short text per pipeline that changes when its decisions or its served rows do."""

from __future__ import annotations

from collections.abc import Callable

from tasks.base.runtime.libraries import sa
from tasks.ledger.storage.database import Database
from tasks.ledger.storage.tables import batches, decisions

_NEWEST = 1024


def read(database: Database) -> Callable[[str], str]:
    """Return a function from pipeline to its mark."""
    # Looked at are the newest decisions of all pipelines, one or two thousand, and their count: of
    # two transactions at once the one with the smaller number may be committed last.
    number = decisions.c.number
    with database.reading() as connection:
        newest = connection.execute(sa.select(sa.func.max(number))).scalar() or 0
        since = max(0, newest // _NEWEST - 1) * _NEWEST
        decided = sa.select(
            decisions.c.pipeline, sa.func.count(), sa.func.max(number), sa.func.max(decisions.c.id)
        ).where(number > since)
        served = sa.select(batches.c.pipeline, sa.func.max(batches.c.written_at)).where(
            batches.c.forms.is_not(None)
        )
        marks: dict[str, str] = {}
        for query, table in ((decided, decisions), (served, batches)):
            for name, *mark in connection.execute(query.group_by(table.c.pipeline)):
                marks[name] = " ".join([marks.get(name, ""), *map(str, mark)])
    return lambda pipeline: f"{since}{marks.get(pipeline, '')}"
