from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.ledger.ledger import ledger_of
from tasks.monitoring.incidents.run_failures import has_done_its_work, note_failure, public
from tests.unit.monitoring.alerts.test_notification import pipeline
from tests.unit.monitoring.decisions import decision

BROKE = "Flow run encountered an exception: ContractError: The data broke 2 rules of its contract"


def test_a_failure_is_recorded_once_for_a_run(tmp_path: Path) -> None:
    plan = pipeline(tmp_path)

    first = note_failure(plan, "run-1", "training", "Failed", "it fell over")
    again = note_failure(plan, "run-1", "training", "Crashed", "once more")

    assert first.id == again.id
    (kept,) = ledger_of(plan).decisions("flights")
    assert kept.kind == "failed"
    assert kept.prefect_run == "run-1"
    assert kept.evidence == {
        "flow": "training", "state": "Failed", "message": "it fell over", "error": "",
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "done"), [("trained", True), ("monitored", False)])
def test_a_run_has_done_its_work_once_its_outcome_is_recorded(
    tmp_path: Path, kind: Any, done: bool
) -> None:
    plan = pipeline(tmp_path)
    assert not has_done_its_work(plan, "run-1")
    ledger_of(plan).record(decision(kind, prefect_run="run-1"))

    assert has_done_its_work(plan, "run-1") is done
    assert not has_done_its_work(plan, "run-2")
    assert not has_done_its_work(plan, "")


@pytest.mark.parametrize("kind", ["stopped", "reaped"])
def test_what_the_run_recorded_as_its_cause_is_told_instead(tmp_path: Path, kind: str) -> None:
    plan = pipeline(tmp_path)
    cause = decision("stopped" if kind == "stopped" else "reaped", prefect_run="run-1")
    ledger_of(plan).record(cause)

    told = note_failure(plan, "run-1", "scoring", "Failed", "x")

    assert told == cause
    (failed,) = ledger_of(plan).decisions("flights", kinds=("failed",))
    assert failed.correlation == cause.correlation


def test_other_decisions_of_the_run_do_not_hide_its_failure(tmp_path: Path) -> None:
    plan = pipeline(tmp_path)
    ledger_of(plan).record(decision("promoted", prefect_run="run-1"))

    assert note_failure(plan, "run-1", "training", "Failed", "x").kind == "failed"


def test_rows_that_go_on_being_broken_are_the_stop_that_was_told(tmp_path: Path) -> None:
    plan = pipeline(tmp_path)
    stop = decision("stopped", {"flow": "scoring", "rules": []}, prefect_run="run-1")
    ledger_of(plan).record(stop)

    assert note_failure(plan, "run-2", "scoring", "Failed", BROKE) == stop
    assert note_failure(plan, "run-3", "training", "Failed", BROKE).kind == "failed"
    assert note_failure(plan, "run-4", "scoring", "Failed", "other").kind == "failed"


def test_a_ledger_that_is_gone_is_a_failure_to_tell(tmp_path: Path) -> None:
    plan = pipeline(tmp_path, extra='ledger: {url: "sqlite:////proc/gone/ledger.db"}\n')

    assert note_failure(plan, "run-1", "training", "Failed", "x").kind == "failed"


def test_neither_secrets_nor_values_of_rows_are_recorded(tmp_path: Path) -> None:
    plan = pipeline(tmp_path, "json://me:c4n4ry@127.0.0.1:1/")
    message = "Flow run encountered an exception: OSError: no c4n4ry\nAlice, 1980"

    note_failure(plan, "run-1", "training", "Failed", message)

    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"c4n4ry" not in path.read_bytes()
        assert path.is_dir() or b"Alice" not in path.read_bytes()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", ""),
        ("   \n", ""),
        ("The process exited with status -9.\nAlice", "The process exited with status -9."),
        ("Flow run encountered an exception: KeyError: 'Alice'", "KeyError; the run keeps"),
        ("Flow run encountered an exception: FileNotFoundError: no x", "FileNotFoundError: no x"),
        ("Flow run encountered an exception: ValueError", "ValueError; the run keeps"),
    ],
)
def test_only_known_errors_are_told_in_their_words(message: str, said: str) -> None:
    assert public(message).startswith(said)
    assert "Alice" not in public(message)
    assert bool(public(message)) == bool(said)
