"""Claims: repeated requests under one key are done once."""

from __future__ import annotations

from tasks.base.runtime.libraries import sa
from tasks.ledger.storage.database import Database
from tasks.ledger.storage.tables import claims, insert_absent, now


def claim(database: Database, pipeline: str, key: str, correlation: str) -> bool:
    """Claim a key once for ever, unless released; only if True do what it stands for."""
    row = {"pipeline": pipeline, "key": key, "correlation": correlation, "claimed_at": now()}
    with database.writing("claims") as connection:
        return bool(connection.execute(insert_absent(connection, claims).values(row)).rowcount)


def release(database: Database, pipeline: str, key: str) -> None:
    """Let an idempotency key be claimed again."""
    with database.writing("release") as connection:
        connection.execute(sa.delete(claims).where(_of(pipeline, key)))


def holder(database: Database, pipeline: str, key: str) -> str | None:
    """Return the correlation that claimed `key`; None where nobody did."""
    with database.reading() as connection:
        return connection.execute(
            sa.select(claims.c.correlation).where(_of(pipeline, key))
        ).scalar()


def _of(pipeline: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(claims.c.pipeline == pipeline, claims.c.key == key)
