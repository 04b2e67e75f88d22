"""Stores that go away, lock or fill up while keepfit works: nothing is lost, nothing doubled."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.base.pipeline_file import load_pipeline
from tasks.ledger.ledger import ledger_of
from tests.checkers import shared_checker
from tests.e2e.faults import Going, fill, intact, locking, small_disk
from tests.program import keepfit
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.waits,
    pytest.mark.e2e,
    pytest.mark.timeout(2400),
    pytest.mark.usefixtures("shared_checker"),
]
__all__ = ["shared_checker"]
ROWS = 1_800
LOCKED = 25
# Of SQLite's own patience with a lock; the flow's tasks try again after it.
LONG = 60
# The fits are long enough for the disk to be filled, or the server killed, while they go on.
TIMED = FAST + "monitoring: {window: 7d, min_rows: 100}\n"


def project(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    write_pipeline(folder, write_churn(folder / "rows.csv", ROWS), TIMED, time=True)
    return folder


def kinds(folder: Path, *wanted: Any) -> list[str]:
    found = ledger_of(load_pipeline(folder)).decisions("churn", kinds=wanted)
    return sorted(decision.kind for decision in found)


def predicted(folder: Path) -> int:
    return ledger_of(load_pipeline(folder)).coverage("churn", None).rows


def versions(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / ".keepfit/mlflow/mlflow.db")) as database:
        found = database.execute("SELECT version FROM model_versions ORDER BY version").fetchall()
    return [str(version) for (version,) in found]


def test_a_locked_mlflow_database_is_waited_for(tmp_path: Path) -> None:
    folder = project(tmp_path)
    going = Going(folder, "run", folder, "--json")
    going.reaches("fit")
    with locking(folder / ".keepfit/mlflow/mlflow.db", LOCKED) as over:
        began = time.monotonic()
        over.wait(LOCKED + 60)
        assert time.monotonic() - began >= LOCKED - 1
        ran = going.ended()

    assert ran.status == 0, ran.err
    assert versions(folder) == ["1"]
    assert kinds(folder, "trained", "promoted") == ["promoted", "trained"]
    with closing(sqlite3.connect(folder / ".keepfit/mlflow/mlflow.db")) as database:
        runs = database.execute("SELECT status FROM runs").fetchall()
    assert runs == [("FINISHED",)] * 4


def test_a_locked_ledger_is_waited_for(tmp_path: Path) -> None:
    folder = project(tmp_path)
    ledger = folder / ".keepfit/ledger.db"
    for command, stage in (("run", "gate"), ("score", "contract"), ("monitor", "contract")):
        every = ("--all",) if command == "score" else ()
        going = Going(folder, command, folder, *every, "--json")
        going.reaches(stage)
        seconds = LONG if command == "score" else 5
        with locking(ledger, seconds) as over:
            over.wait(seconds + 60)
            ran = going.ended()
        assert ran.status == 0, ran.err

    assert predicted(folder) == ROWS
    wanted = ("trained", "promoted", "scored", "monitored")
    assert kinds(folder, *wanted) == sorted(wanted)
    assert versions(folder) == ["1"]


@pytest.mark.mount
def test_a_disk_that_fills_up_is_said_and_recovered_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path / "pipe")
    with small_disk(tmp_path / "disk", 320) as disk:
        state = disk / "state"
        monkeypatch.setenv("KEEPFIT_STATE", str(state))
        steps = (
            ("run", "contract", "trained", 0),
            ("score", "load", "scored", ROWS),
            ("monitor", "load", "monitored", ROWS),
        )
        for command, stage, kind, rows in steps:
            champion = versions_in(state)
            every = ("--all",) if command == "score" else ()
            going = Going(folder, command, folder, *every, "--json")
            with going.halted(stage):
                filler = fill(disk)
            ran = going.ended()

            assert ran.status == 1, ran.out + ran.err
            error = ran.answer["error"]
            assert error["kind"] != "internal", error
            assert any(word in error["message"] for word in ("full", "No space", "disk")), error
            assert "space" in error["remedy"], error
            assert "Traceback" not in ran.err
            filler.unlink()
            for database in state.rglob("*.db"):
                assert intact(database), database
            assert kinds(folder, kind) == []
            assert versions_in(state) == champion or command == "run"

            again = keepfit(command, folder, *every, "--json")
            assert again.status == 0, again.err
            assert kinds(folder, kind) == [kind]
            assert versions_in(state) == ["1"]
            assert predicted(folder) == rows


def versions_in(state: Path) -> list[str]:
    if not (state / "mlflow/mlflow.db").exists():
        return []
    with closing(sqlite3.connect(state / "mlflow/mlflow.db")) as database:
        found = database.execute("SELECT version FROM model_versions ORDER BY version").fetchall()
    return [str(version) for (version,) in found]


@pytest.mark.mount
def test_a_disk_with_too_little_room_is_said_before_anything_is_done(tmp_path: Path) -> None:
    folder = project(tmp_path / "pipe")
    with small_disk(tmp_path / "disk", 100) as disk:
        for command in ("run", "backtest"):
            ran = keepfit(command, folder, "--json", KEEPFIT_STATE=str(disk / "state"))

            assert ran.status == 1
            assert "are free on the disk" in ran.answer["error"]["message"]
        assert not list((disk / "state").rglob("*.db"))

        # What fits nothing needs no such room.
        ran = keepfit("score", folder, "--json", KEEPFIT_STATE=str(disk / "state"))
        assert "no champion" in ran.answer["error"]["message"]
