"""Batches that the ledger has and the sink perhaps not: marked in the transaction that wrote them.

The mark is a claim, taken off when the sink has the batch. What a killed process left marked is
sent by the next scoring under the batch's own name, so a sink that had it already has it once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tasks.base.runtime.libraries import sa
from tasks.ledger import idempotency_keys as claiming
from tasks.ledger.storage.database import Database
from tasks.ledger.storage.tables import aware_time, batches, claims, insert_absent, now, predictions

_PREFIX = "unsent:"


@dataclass(frozen=True)
class Unsent:
    """A batch to send."""

    batch: str  # digest of the data that was scored
    version: str  # the version that predicted it
    oldest: datetime | None  # least time among its rows, in UTC; None where none has one


def mark(connection: sa.Connection, pipeline: str, batch: str, version: str) -> None:
    """Record, within the transaction that writes it, that a batch is not in the sink yet."""
    row = {
        "pipeline": pipeline,
        "key": f"{_PREFIX}{batch}",
        "correlation": version,
        "claimed_at": now(),
    }
    connection.execute(insert_absent(connection, claims).values(row))


def unmark(database: Database, pipeline: str, batch: str) -> None:
    """Take down that the sink has a batch."""
    claiming.release(database, pipeline, f"{_PREFIX}{batch}")


def unsent(database: Database, pipeline: str) -> tuple[Unsent, ...]:
    """Return the batches to be sent that are not confirmed by `sent` yet."""
    marked = (
        sa.select(claims.c.key, claims.c.correlation)
        .where(claims.c.pipeline == pipeline, claims.c.key.startswith(_PREFIX, autoescape=True))
        .order_by(claims.c.claimed_at)
    )
    with database.reading() as connection:
        found = [(key.removeprefix(_PREFIX), by) for key, by in connection.execute(marked)]
        return tuple(
            Unsent(batch, version, _oldest(connection, pipeline, batch)) for batch, version in found
        )


def _oldest(connection: sa.Connection, pipeline: str, batch: str) -> datetime | None:
    chosen = (
        sa.select(sa.func.min(predictions.c.time))
        .join(batches, batches.c.id == predictions.c.batch)
        .where(
            predictions.c.pipeline == pipeline,
            predictions.c.role == "champion",
            batches.c.batch == batch,
        )
    )
    return aware_time(connection.execute(chosen).scalar())
