"""Cells of rows predicted over HTTP: kept with their predictions, as no source has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from datetime import datetime

from tasks.base.monitoring_records import Window
from tasks.base.runtime.libraries import sa
from tasks.data.typing.storage import ColumnForm
from tasks.ledger.records import AnsweredCells
from tasks.ledger.storage.database import Database
from tasks.ledger.storage.tables import aware_time, batches, predictions, stored_time


def forms_text(forms: Mapping[str, ColumnForm]) -> str:
    """Return forms as the ledger keeps them."""
    return json.dumps({name: astuple(form) for name, form in forms.items()})


def read(
    database: Database, pipeline: str, window: Window | None, arrived: datetime | None = None
) -> tuple[AnsweredCells, ...]:
    """Return the cells of a window's rows that were predicted over HTTP, in order of time."""
    # Without a window those of rows without a time; of `arrived` only what was written since.
    where = [*_kept(pipeline, window)]
    if window is None:
        where.append(predictions.c.time.is_(None))
    if arrived is not None:
        where.append(batches.c.written_at >= stored_time(arrived))
    query = (
        sa.select(batches.c.forms, predictions.c.key, predictions.c.cells)
        .join(batches, batches.c.id == predictions.c.batch)
        .where(*where)
        .order_by(predictions.c.time, predictions.c.key)
    )
    groups: dict[str, list[tuple[str, str]]] = {}
    with database.reading() as connection:
        if not _any(connection, pipeline):
            return ()
        for forms, key, cells in connection.execute(query):
            groups.setdefault(forms, []).append((key, cells))
    return tuple(
        AnsweredCells(
            forms={name: ColumnForm(*form) for name, form in json.loads(forms).items()},
            cells=[cells for _, cells in rows],
            keys=[key for key, _ in rows],
        )
        for forms, rows in groups.items()
    )


def times(
    database: Database, pipeline: str, window: Window | None, until: datetime | None = None
) -> Sequence[datetime]:
    """Return the times (naive, UTC) of rows predicted over HTTP; without a window the last one."""
    where = _kept(pipeline, window)
    if until is not None:
        where.append(predictions.c.time < stored_time(until))
    query = sa.select(predictions.c.time).where(predictions.c.time.is_not(None), *where)
    newest = query.order_by(predictions.c.time.desc()).limit(1)
    with database.reading() as connection:
        if not _any(connection, pipeline):
            return ()
        found: Sequence[datetime] = (
            connection.execute(newest if window is None else query).scalars().all()
        )
    return found


def last_written(database: Database, pipeline: str) -> datetime | None:
    """Return when rows predicted over HTTP were last written, in UTC; None where none were."""
    newest = sa.select(sa.func.max(batches.c.written_at)).where(
        batches.c.pipeline == pipeline, batches.c.forms.is_not(None)
    )
    with database.reading() as connection:
        return aware_time(connection.execute(newest).scalar())


def _kept(pipeline: str, window: Window | None) -> list[sa.ColumnElement[bool]]:
    where = [
        predictions.c.pipeline == pipeline,
        predictions.c.role == "champion",
        predictions.c.cells.is_not(None),
    ]
    if window is not None:
        where.append(predictions.c.time >= stored_time(window.start))
        where.append(predictions.c.time < stored_time(window.end))
    return where


def _any(connection: sa.Connection, pipeline: str) -> bool:
    """Return whether a pipeline has such rows: most have none, and many predictions."""
    kept = sa.and_(batches.c.pipeline == pipeline, batches.c.forms.is_not(None))
    return connection.execute(sa.select(batches.c.id).where(kept).limit(1)).first() is not None
