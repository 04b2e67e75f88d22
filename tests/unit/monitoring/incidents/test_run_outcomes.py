"""Each ending of each requested run is recorded and told once, by whichever path sees it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.base.errors import InfrastructureError
from tasks.base.monitoring_records import Cause, Decision
from tasks.ledger.ledger import Ledger, ledger_of
from tasks.monitoring.alerts.notification import tell
from tasks.monitoring.incidents.run_failures import note_cancelled, note_error, note_failure
from tasks.monitoring.incidents.run_outcomes import EndedRun, answer_time, compare, request_training
from tests.opened import opened
from tests.receivers import http_receiver
from tests.unit.monitoring.alerts.test_notification import pipeline
from tests.unit.monitoring.decisions import ALARM, decision

NOW = datetime(2026, 3, 1, 14, tzinfo=UTC)
CAUSE = Cause(kind="alarm", correlation=ALARM, key="alarm:v1:week", at=NOW)


def failed(ledger: Ledger) -> list[Decision]:
    return list(ledger.decisions("flights", kinds=("failed",)))


def test_a_training_that_an_alarm_asked_for_and_that_never_starts_is_reported_once(
    tmp_path: Path,
) -> None:
    plan = pipeline(tmp_path)
    due = request_training(opened(plan), CAUSE, NOW)

    assert compare(opened(plan), (), due - timedelta(seconds=1)) == ()
    (overdue,) = compare(opened(plan), (), due)
    assert compare(opened(plan), (), due + timedelta(hours=1)) == ()

    assert (overdue.kind, overdue.correlation) == ("failed", ALARM)
    assert (overdue.evidence["flow"], overdue.evidence["state"]) == ("training", "Overdue")
    assert "not started" in str(overdue.evidence["message"])
    assert failed(ledger_of(plan)) == [overdue]


def test_a_training_that_was_taken_up_and_does_not_end_is_reported(tmp_path: Path) -> None:
    plan = pipeline(tmp_path)
    due = request_training(opened(plan), CAUSE, NOW)
    ledger_of(plan).take_up("flights", ALARM, "training", "run-1")

    (overdue,) = compare(opened(plan), (), due)

    assert overdue.prefect_run == "run-1"
    assert "not ended" in str(overdue.evidence["message"])


@pytest.mark.parametrize(
    "answer",
    [
        decision("trained", at=NOW),
        decision("trained", {"cause": {"key": CAUSE.key}}, correlation="other", at=NOW),
        decision("skipped", {"withheld": "cooldown"}, at=NOW),
        decision("stopped", {"flow": "training"}, at=NOW),
        decision("failed", {"flow": "training"}, at=NOW),
        decision("cancelled", {"flow": "training", "again": False}, at=NOW),
        decision("failed", {"flow": "training"}, prefect_run="run-1", correlation="other", at=NOW),
    ],
)
def test_an_answer_closes_the_request(tmp_path: Path, answer: Decision) -> None:
    plan = pipeline(tmp_path)
    due = request_training(opened(plan), CAUSE, NOW)
    ledger = ledger_of(plan)
    ledger.take_up("flights", ALARM, "training", "run-1")
    ledger.record(answer)

    assert compare(opened(plan), (), due + timedelta(days=1)) == ()
    assert ledger.open_requests("flights") == ()


@pytest.mark.parametrize(
    "other",
    [
        decision("monitored", at=NOW),
        decision("stopped", {"flow": "scoring"}, at=NOW),
        decision("reaped", {"flow": "training", "again": True}, at=NOW),
        decision("cancelled", {"flow": "training", "again": True}, at=NOW),
        decision("trained", correlation="other", at=NOW),
        decision("trained", at=NOW - timedelta(days=1)),
    ],
)
def test_what_is_no_answer_leaves_it_open(tmp_path: Path, other: Decision) -> None:
    plan = pipeline(tmp_path)
    due = request_training(opened(plan), CAUSE, NOW)
    ledger_of(plan).record(other)

    assert len(compare(opened(plan), (), due)) == 1


def test_the_time_for_an_answer_follows_the_budget_and_the_last_training(tmp_path: Path) -> None:
    plan = pipeline(tmp_path, extra="training: {budget: 10m}\n")
    assert answer_time(opened(plan)) == timedelta(minutes=50)
    assert answer_time(opened(pipeline(tmp_path))) == timedelta(minutes=15)

    ledger_of(plan).record(decision("trained", {"seconds": 3600.0}))

    assert answer_time(opened(plan)) == timedelta(hours=3)


@pytest.mark.parametrize("kind", ["failed", "crashed", "late"])
def test_a_run_that_only_prefect_knows_as_ended_is_recorded_and_told_once(
    tmp_path: Path, kind: str
) -> None:
    run = EndedRun(
        id="run-1", flow="training", kind=kind, state=kind.capitalize(), message="it fell over",
        correlation=ALARM,
    )  # fmt: skip
    with http_receiver() as hook:
        plan = pipeline(tmp_path, hook.apprise())
        (found,) = compare(opened(plan), (run,), NOW)
        tell(plan, found)
        # A restarted runner compares again; the automation comes late.
        assert compare(opened(plan), (run,), NOW + timedelta(minutes=1)) == ()
        tell(plan, note_failure(plan, "run-1", "training", "Failed", "it fell over"))

    assert (found.prefect_run, found.correlation) == ("run-1", ALARM)
    assert failed(ledger_of(plan)) == [found]
    assert len(hook.received) == 1


def test_a_run_that_reported_its_own_failure_is_not_told_again(tmp_path: Path) -> None:
    error = InfrastructureError("The budget of 120 s is over before any candidate was fitted.")
    run = EndedRun(id="run-1", flow="training", kind="failed", state="Failed", message="x")
    with http_receiver() as hook:
        plan = pipeline(tmp_path, hook.apprise())
        tell(plan, note_error(plan, "run-1", "training", CAUSE, error))
        assert compare(opened(plan), (run,), datetime.now(UTC)) == ()

    (kept,) = failed(ledger_of(plan))
    assert kept.correlation == ALARM
    assert "budget of 120 s" in kept.sentence
    assert len(hook.received) == 1


def test_a_death_is_told_once_as_reaped_or_as_failed(tmp_path: Path) -> None:
    reaped = decision("reaped", {"flow": "training", "again": True}, prefect_run="run-1")
    with http_receiver() as hook:
        plan = pipeline(tmp_path, hook.apprise())
        tell(plan, note_failure(plan, "run-1", "training", "Crashed", "gone"))
        ledger_of(plan).record(reaped)
        tell(plan, reaped)

    assert len(hook.received) == 1


def test_what_a_person_stopped_is_recorded_and_alarms_nobody(tmp_path: Path) -> None:
    with http_receiver() as hook:
        plan = pipeline(tmp_path, hook.apprise())
        by_hand = note_cancelled(plan, "run-1", "training", "c1", by="you")
        tell(plan, by_hand)
        tell(plan, note_cancelled(plan, "run-2", "training", "c2", by="keepfit up", again=True))
        run = EndedRun(id="run-3", flow="scoring", kind="cancelled", state="Cancelled")
        tell(plan, compare(opened(plan), (run,), datetime.now(UTC))[0])

    assert hook.received == []
    kinds = {d.kind for d in ledger_of(plan).decisions("flights")}
    assert kinds == {"cancelled"}
    assert "Ctrl-C" in by_hand.sentence
    assert "died" not in by_hand.sentence


def test_the_cancelled_training_of_an_alarm_is_told_since_it_was_promised(tmp_path: Path) -> None:
    with http_receiver() as hook:
        plan = pipeline(tmp_path, hook.apprise())
        ledger_of(plan).record(decision("alarmed", {"retrain": True}))
        tell(plan, note_cancelled(plan, "run-1", "training", ALARM))

    assert "cancelled" in hook.received[0].json["title"]
