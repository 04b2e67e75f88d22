"""Share of a window that the ledger covers."""

from __future__ import annotations

from datetime import datetime
from typing import get_args

from tasks.base.monitoring_records import Window
from tasks.base.runtime.libraries import sa
from tasks.ledger.records import SERVED, Coverage, Role
from tasks.ledger.storage.database import Database
from tasks.ledger.storage.tables import aware_time, batches, labels, predictions, stored_time


def coverage(
    database: Database,
    pipeline: str,
    window: Window | None,
    *,
    role: Role = "champion",
    version: str | None = None,
) -> Coverage:
    """Return how many rows of a window were predicted, and of how many the label is known."""
    counted = (
        sa.select(sa.func.count(), sa.func.count(labels.c.key), sa.func.max(predictions.c.time))
        .select_from(with_labels())
        .where(of_window(pipeline, role, window, version))
    )
    with database.reading() as connection:
        rows, labelled, newest = connection.execute(counted).one()
    return Coverage(rows=rows, labelled=labelled, newest=aware_time(newest))


def ends(
    database: Database, pipeline: str, role: Role = "champion", *, until: datetime | None = None
) -> tuple[datetime | None, datetime | None]:
    """Return the least and the greatest time among the rows that scorings predicted, in UTC."""
    # Rows whose time is not before `until` are left out, and those predicted over HTTP: they come
    # as they happen, and do not show how far the source was read.
    query = sa.select(sa.func.min(predictions.c.time), sa.func.max(predictions.c.time)).where(
        predictions.c.pipeline == pipeline, predictions.c.role == role
    )
    if until is not None:
        query = query.where(predictions.c.time < stored_time(until))
    served = sa.select(batches.c.id).where(
        batches.c.pipeline == pipeline, batches.c.batch.startswith(SERVED)
    )
    with database.reading() as connection:
        if connection.execute(served.limit(1)).first() is not None:
            query = query.where(predictions.c.batch.not_in(served))
        oldest, newest = connection.execute(query).one()
    return aware_time(oldest), aware_time(newest)


def with_labels() -> sa.Join:
    """Return predictions beside their labels, those without one too."""
    joined = sa.and_(labels.c.pipeline == predictions.c.pipeline, labels.c.key == predictions.c.key)
    return predictions.outerjoin(labels, joined)


def of_window(
    pipeline: str, role: Role, window: Window | None, version: str | None = None
) -> sa.ColumnElement[bool]:
    """Return the condition on predictions of a window, all of them without one."""
    conditions = [predictions.c.pipeline == pipeline, predictions.c.role == role]
    if window is not None:
        conditions += [
            predictions.c.time >= stored_time(window.start),
            predictions.c.time < stored_time(window.end),
        ]
    if version is not None:
        conditions.append(predictions.c.version == version)
    return sa.and_(*conditions)


def predicted(pipeline: sa.ColumnElement[str], key: sa.ColumnElement[str]) -> sa.Exists:
    """Return the condition that the row `key` was predicted, in whichever role."""
    return sa.exists().where(
        predictions.c.pipeline == pipeline,
        predictions.c.role.in_(get_args(Role)),  # the primary key holds the role before the key
        predictions.c.key == key,
    )
