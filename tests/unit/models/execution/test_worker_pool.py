"""The worker process: one for all who need it, at the same time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.base.errors import InfrastructureError
from tasks.models.execution import worker_pool
from tasks.models.execution.child_calls import call


@pytest.fixture(autouse=True)
def _workers() -> Iterator[None]:
    yield
    worker_pool.close_all()


def test_calls_at_the_same_time_share_one_process() -> None:
    def ask(number: int) -> tuple[int, int]:
        return call("builtins:pow", base=number, exp=2), call("os:getppid")

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(12)))

    assert [square for square, _ in answers] == [n * n for n in range(12)]
    assert len({worker for _, worker in answers}) == 1


def test_a_borrower_that_leaves_ends_its_own_tasks_only(tmp_path: Path) -> None:
    with worker_pool.borrowed() as mine:
        with worker_pool.borrowed() as other:
            _pause(other, 0, tmp_path)
        assert call("builtins:pow", base=3, exp=2) == 9
        _pause(mine, 7, tmp_path)
        mine.send({"do": "kill", "task": 7})
        heard: list[dict[str, object]] = []
        while not heard:
            heard = [m for m in mine.hear(1.0) if m["event"] == "ended"]

    assert heard == [{"event": "ended", "task": 7, "code": -signal.SIGKILL}]


@pytest.mark.slow
def test_a_worker_that_dies_is_said_and_replaced() -> None:
    first = call("os:getppid")
    with worker_pool.borrowed() as lease:
        os.kill(first, signal.SIGKILL)
        with pytest.raises(InfrastructureError):
            lease.hear(30.0)

    assert call("os:getppid") != first


@pytest.mark.parametrize("victim", ["os:getpid", "os:getppid"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_call_whose_process_is_killed_is_made_again_once(
    times: int, victim: str, tmp_path: Path
) -> None:
    call_it = "tests.unit.models.execution.killed:end_a_process"
    given = {"victim": victim, "times": times, "log": str(tmp_path / "log")}
    if times == 1:
        assert call(call_it, **given) == "done"
    else:
        with pytest.raises(InfrastructureError, match="SIGKILL"):
            call(call_it, **given)
    assert (tmp_path / "log").read_text() == "x" * times


def test_a_borrower_of_a_worker_that_another_found_dead_is_told_so() -> None:
    with worker_pool.borrowed() as lease:
        os.kill(lease.processes[0], signal.SIGKILL)
        assert call("builtins:pow", base=3, exp=2) == 9
        with pytest.raises(worker_pool.WorkerEndedError):
            lease.hear(30.0)


def _pause(lease: worker_pool.Lease, task: int, folder: Path) -> None:
    asked = folder / "asked.json"
    asked.write_text('{"function": "signal:pause", "arguments": {}}')
    files = {"asked": str(asked), "answer": str(asked), "log": str(folder / "log")}
    lease.send({"task": task, "do": "call", **files})


def test_calls_share_what_their_modules_import() -> None:
    worker_pool.import_ahead("tests.unit.models.execution.imports", "no_such_module")
    seen = "tests.unit.models.execution.imports:imported_here"
    first, second = call(seen), call(seen)
    assert first["imported_by"] == first["parent"] == second["imported_by"] == second["parent"]
