"""Runs that keepfit requested, kept until their outcome is recorded.

A request outlives every process and server: where the run that should fulfil it never starts or
dies, the next look at the ledger finds the request still open.
"""

from __future__ import annotations

from datetime import datetime

from tasks.base.runtime.libraries import sa
from tasks.base.training_records import Record
from tasks.ledger.storage.database import Database
from tasks.ledger.storage.tables import aware_time, insert_absent, now, run_requests, stored_time

_TIMES = ("asked_at", "due_at")


class RunRequest(Record):
    """A requested run."""

    pipeline: str
    key: str  # key of the request, such as the alarm's idempotency key; one open request each
    flow: str  # name of the flow that should run
    correlation: str
    asked_at: datetime
    due_at: datetime  # when its outcome should be known, in UTC
    flow_run: str = ""  # id of the Prefect run that took it up; empty before one has


def add(database: Database, request: RunRequest) -> bool:
    """Record a request for a run; return False while its key has an open request."""
    row = request.model_dump()
    row |= {name: stored_time(row[name]) for name in _TIMES}
    answered = _of(request.pipeline, request.key) & run_requests.c.closed_at.is_not(None)
    with database.writing("run request") as connection:
        connection.execute(sa.delete(run_requests).where(answered))
        done = connection.execute(insert_absent(connection, run_requests).values(row))
        return bool(done.rowcount)


def take_up(database: Database, pipeline: str, correlation: str, flow: str, flow_run: str) -> None:
    """Record which Prefect run fulfils an open request."""
    chosen = sa.and_(
        run_requests.c.pipeline == pipeline,
        run_requests.c.correlation == correlation,
        run_requests.c.flow == flow,
        run_requests.c.closed_at.is_(None),
    )
    with database.writing("run request") as connection:
        connection.execute(sa.update(run_requests).where(chosen).values(flow_run=flow_run))


def close(database: Database, pipeline: str, key: str, outcome: str) -> bool:
    """Record the outcome of a requested run; return False where it was known before."""
    chosen = _of(pipeline, key) & run_requests.c.closed_at.is_(None)
    with database.writing("run request") as connection:
        done = connection.execute(
            sa.update(run_requests).where(chosen).values(closed_at=now(), outcome=outcome)
        )
        return bool(done.rowcount)


def read_open(database: Database, pipeline: str | None = None) -> tuple[RunRequest, ...]:
    """Return requested runs without a recorded outcome, of a pipeline or all, the oldest first."""
    columns = (run_requests.c[name] for name in RunRequest.model_fields)
    chosen = sa.select(*columns).where(run_requests.c.closed_at.is_(None))
    if pipeline is not None:
        chosen = chosen.where(run_requests.c.pipeline == pipeline)
    chosen = chosen.order_by(run_requests.c.asked_at)
    with database.reading() as connection:
        rows = connection.execute(chosen).mappings().all()
    return tuple(
        RunRequest.model_validate({**row, **{name: aware_time(row[name]) for name in _TIMES}})
        for row in rows
    )


def _of(pipeline: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(run_requests.c.pipeline == pipeline, run_requests.c.key == key)
