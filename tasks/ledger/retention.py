"""Size of the ledger, and which of its rows are old enough to be removed."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.base.runtime.libraries import sa
from tasks.base.utc_times import latest_believed
from tasks.ledger.coverage import predicted
from tasks.ledger.records import Pruned
from tasks.ledger.storage.database import Database
from tasks.ledger.storage.tables import (
    METADATA,
    batches,
    decisions,
    labels,
    predictions,
    run_requests,
    stored_time,
)

KEPT = ("trained", "promoted", "confirmed", "rolled_back")
"""Decisions that are never removed, nor those of their correlation: `why` shows them."""


def prune(database: Database, now: datetime, keep: timedelta) -> Pruned:
    """Remove predictions with their labels, and decisions, that are older than `keep`."""
    # A prediction is as old as the newest scored row of its pipeline is later than it, and no older
    # than its writing: rows of years ago that were scored today stay, and the newest ones stay
    # however long nothing comes, since scoring goes on from them. Served rows without a time all
    # stay: by their ids alone scoring knows that they are not new; what they held goes. Trainings,
    # promotions, confirmations and rollbacks stay, and all that shares their correlation; so do
    # claims.
    moment = stored_time(now - keep)
    written = sa.select(batches.c.id).where(batches.c.written_at < moment)
    orphaned = ~predicted(labels.c.pipeline, labels.c.key)
    filled = sa.select(predictions.c.batch).distinct()
    empty = sa.and_(batches.c.written_at < moment, batches.c.id.not_in(filled))
    with database.writing("prune") as connection:
        connection.execute(sa.delete(run_requests).where(run_requests.c.closed_at < moment))
        old = sa.and_(predictions.c.batch.in_(written), sa.or_(*_past(connection, now, keep)))
        # Of a row that stays without a time its key is needed, not what it held.
        timeless = sa.and_(predictions.c.batch.in_(written), predictions.c.time.is_(None))
        connection.execute(
            sa.update(predictions)
            .where(timeless, predictions.c.cells.is_not(None))
            .values(cells=None)
        )
        gone = Pruned(
            predictions=_count(connection, sa.delete(predictions).where(old)),
            labels=_count(connection, sa.delete(labels).where(orphaned)),
            batches=_count(connection, sa.delete(batches).where(empty)),
            decisions=_count(connection, _old_decisions(moment)),
        )
    if database.file is not None:
        _shrink(database)
    return gone


def _past(
    connection: sa.Connection, now: datetime, keep: timedelta
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions on rows that no scheduled scoring reads again."""
    # It reads from the newest scored row on, less a window, rows dated in the future aside; a row
    # that it met and did not know would be scored, and sent, twice. Without a time any row may be
    # read again, so those served stay.
    served = predictions.c.role == "champion"
    newest = (
        sa.select(predictions.c.pipeline, sa.func.max(predictions.c.time))
        .where(served, predictions.c.time < stored_time(latest_believed(now)))
        .group_by(predictions.c.pipeline)
    )
    ends = [
        sa.and_(
            predictions.c.pipeline == pipeline,
            predictions.c.time < min(end, stored_time(now)) - keep,
        )
        for pipeline, end in connection.execute(newest)
        if end is not None
    ]
    return [*ends, sa.and_(predictions.c.time.is_(None), sa.not_(served))]


def _old_decisions(moment: datetime) -> Any:
    """Return the deletion of old decisions, but for each pipeline's last monitored window."""
    # A monitoring pass goes on from it.
    telling = sa.select(decisions.c.correlation).where(decisions.c.kind.in_(KEPT))
    looks = decisions.alias()
    last = (
        sa.select(sa.func.max(looks.c.at))
        .where(looks.c.pipeline == decisions.c.pipeline, looks.c.kind == "monitored")
        .scalar_subquery()
    )
    return sa.delete(decisions).where(
        decisions.c.at < moment,
        decisions.c.kind.not_in(KEPT),
        decisions.c.correlation.not_in(telling),
        sa.or_(decisions.c.kind != "monitored", decisions.c.at < last),
    )


def _count(connection: sa.Connection, statement: Any) -> int:
    return int(connection.execute(statement).rowcount)


def _shrink(database: Database) -> None:
    """Give a SQLite file's free pages back to the disk."""
    with database.explained(), database.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        # One `execute` would free a single page: it does not step through what returns nothing.
        driver.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")


def size_bytes(database: Database) -> int:
    """Return the size of the ledger on disk, in bytes."""
    if database.file is not None:
        parts = (Path(f"{database.file}{end}") for end in ("", "-wal", "-shm"))
        return sum(part.stat().st_size for part in parts if part.exists())
    size = sa.select(*(sa.func.pg_total_relation_size(name) for name in METADATA.tables))
    with database.reading() as connection:
        return sum(connection.execute(size).one())
