"""Requested runs stay open until their outcome is recorded, whoever restarts meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from tasks.ledger.ledger import Ledger
from tasks.ledger.run_requests import RunRequest
from tasks.ledger.storage.migrations import migrate
from tasks.ledger.storage.tables import run_requests, schema_version
from tests.unit.ledger.made import NAME

NOW = datetime(2026, 3, 1, 14, tzinfo=UTC)


def request(key: str = "alarm:v1", correlation: str = "c1") -> RunRequest:
    return RunRequest(
        pipeline=NAME, key=key, flow="training", correlation=correlation,
        asked_at=NOW, due_at=NOW + timedelta(minutes=15),
    )  # fmt: skip


def test_a_request_is_open_until_it_is_closed_once(ledger: Ledger) -> None:
    assert ledger.request_run(request())
    assert not ledger.request_run(request(correlation="c2"))
    assert ledger.open_requests(NAME) == (request(),)
    assert ledger.open_requests("other") == ()

    assert ledger.close_request(NAME, "alarm:v1", "trained")
    assert not ledger.close_request(NAME, "alarm:v1", "failed")
    assert ledger.open_requests(NAME) == ()


def test_what_was_answered_can_be_requested_again(ledger: Ledger) -> None:
    ledger.request_run(request())
    ledger.close_request(NAME, "alarm:v1", "failed")

    assert ledger.request_run(request(correlation="c2"))

    assert [r.correlation for r in ledger.open_requests(NAME)] == ["c2"]


def test_the_run_that_takes_a_request_up_is_kept(ledger: Ledger) -> None:
    ledger.request_run(request())

    ledger.take_up(NAME, "other", "training", "run-0")
    ledger.take_up(NAME, "c1", "training", "run-1")

    assert [r.flow_run for r in ledger.open_requests(NAME)] == ["run-1"]


def test_old_closed_requests_are_pruned_and_open_ones_stay(ledger: Ledger) -> None:
    ledger.request_run(request())
    ledger.request_run(request("alarm:v2", "c2"))
    ledger.close_request(NAME, "alarm:v1", "trained")

    ledger.prune(datetime.now(UTC) + timedelta(days=100), timedelta(days=90))

    with ledger.reading() as connection:
        assert connection.execute(sa.select(run_requests.c.key)).scalars().all() == ["alarm:v2"]


def test_tables_of_version_1_get_the_requests(ledger: Ledger) -> None:
    with ledger.writing("test") as connection:
        run_requests.drop(connection)
        connection.execute(sa.delete(schema_version))
        connection.execute(sa.insert(schema_version), {"version": 1})

    with ledger.writing("migration") as connection:
        migrate(connection, "here")

    assert ledger.request_run(request())
