"""Real processes under a real supervisor, itself in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest

from deploy.stack import supervisor as supervising
from deploy.stack.supervised_part import Part
from deploy.stack.supervisor import Supervisor
from tasks.base.errors import InfrastructureError
from tests.unit.deploy.stack.beating import part

ROOT = Path(__file__).parents[4]


class Running:
    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.deploy.stack.beating", str(folder)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.until("two is up")
        self.tree = psutil.Process(self.process.pid)

    def until(self, words: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if words in line:
                return line
        raise AssertionError(f"it ended before it said {words!r}")

    def pids(self) -> list[int]:
        assert self.process.stdin is not None
        self.process.stdin.write("pids\n")
        self.process.stdin.flush()
        return [int(word) for word in self.until("pids ").split()[1:]]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path)
    yield found
    found.process.kill()
    found.process.wait()
    for pipe in (found.process.stdin, found.process.stdout):
        assert pipe is not None
        pipe.close()


def ended(processes: list[psutil.Process], seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
            return True
        time.sleep(0.05)
    return False


def test_a_part_that_is_killed_is_started_again(running: Running) -> None:
    one, two = running.pids()

    os.kill(one, signal.SIGKILL)

    assert "signal 9" in running.until("one ended")
    running.until("one is up again")
    again, same = running.pids()
    assert again != one
    assert same == two


@pytest.mark.slow
def test_a_part_that_hangs_is_ended_and_started_again(running: Running) -> None:
    one, _ = running.pids()

    os.kill(one, signal.SIGSTOP)

    running.until("one did not answer")
    running.until("one is up again")
    assert ended([p for p in running.tree.children() if p.pid == one])


@pytest.mark.slow
def test_a_part_that_is_slow_but_works_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW_PART", "8")
    found = Running(tmp_path)

    found.until("a line for people")
    assert "works" in found.until("three")
    assert "answers again" in found.until("three")

    assert found.process.stdin is not None
    found.process.stdin.close()
    assert found.process.wait(300) == 0
    assert found.process.stdout is not None
    found.process.stdout.close()


def test_a_part_that_dies_again_and_again_is_given_up_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(supervising.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(supervising, "end_orphans", lambda _: 0)
    said: list[str] = []
    parts = [
        FakePart("Prefect", essential=True, dies=True),
        FakePart("MLflow"),
        FakePart("page", dies=True),
    ]
    supervisor = Supervisor(cast("list[Part]", parts), said.append)
    for watch in supervisor._watched:
        supervisor._start(watch)

    def look_on() -> None:
        while clock[0] < 100_000:
            clock[0] += 0.5
            supervisor.look()

    with pytest.raises(InfrastructureError, match="Prefect ended with status 3, for the 20th"):
        look_on()

    assert parts[0].starts == supervising._TOO_OFTEN
    assert parts[1].starts == 1
    assert parts[2].starts >= supervising._TOO_OFTEN - 1
    assert clock[0] > 600


@pytest.mark.parametrize(("rests_at", "said"), [(100.0, 1), (20.0, 0)])
def test_only_a_part_that_works_now_is_said_to_work(
    monkeypatch: pytest.MonkeyPatch, rests_at: float, said: int
) -> None:
    clock = [0.0]
    monkeypatch.setattr(supervising.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(supervising, "end_orphans", lambda _: 0)
    lines: list[str] = []
    part = FakePart("Prefect")
    supervisor = Supervisor(cast("list[Part]", [part]), lines.append)
    (watch,) = supervisor._watched
    supervisor._start(watch)
    watch.well_since = 0.0
    monkeypatch.setattr(part, "well", lambda: False)
    monkeypatch.setattr(part, "moving", lambda: clock[0] < rests_at, raising=False)
    monkeypatch.setattr(part, "stop", lambda _: None, raising=False)

    while part.process is not None and not any("was ended" in line for line in lines):
        clock[0] += 0.5
        supervisor.look()

    assert sum("works" in line for line in lines) == said
    assert sum("was ended" in line for line in lines) == 1
    assert clock[0] > rests_at + supervising._HANG_SECONDS - supervising._PROBE_EVERY - 1


class FakePart:
    log = Path("nowhere.log")
    patience = 0.0

    def __init__(self, name: str, *, essential: bool = False, dies: bool = False) -> None:
        self.name, self.essential, self.dies = name, essential, dies
        self.process: object | None = None
        self.pid = None
        self.starts = 0

    def start(self) -> None:
        self.process = object()
        self.starts += 1

    def ended(self) -> int | None:
        return 3 if self.dies else None

    def well(self) -> bool:
        return True

    def lines(self) -> list[str]:
        return []

    def last_words(self, _: tuple[str, ...]) -> str:
        return "no memory"


@pytest.mark.parametrize(("statuses", "starts"), [((-9,), 2), ((-9, -9), 2), ((3,), 1)])
def test_a_part_that_is_killed_as_it_starts_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch, statuses: tuple[int, ...], starts: int
) -> None:
    monkeypatch.setattr(supervising, "end_orphans", lambda _: 0)
    part = FakePart("Prefect")
    ends = dict(enumerate(statuses, 1))
    monkeypatch.setattr(part, "ended", lambda: ends.get(part.starts))
    monkeypatch.setattr(part, "well", lambda: part.starts not in ends)
    supervisor = Supervisor(cast("list[Part]", [part]), lambda _: None)

    if statuses == (-9,):
        supervisor.start()
    else:
        with pytest.raises(InfrastructureError, match="Prefect ended with s"):
            supervisor.start()

    assert part.starts == starts


def test_what_a_lost_part_started_does_not_go_on(running: Running) -> None:
    _, two = running.pids()
    below = psutil.Process(two).children()
    assert below

    os.kill(two, signal.SIGKILL)

    running.until("ended 1 left-over process")
    assert ended(below)


def test_stopping_leaves_nothing(running: Running) -> None:
    tree = running.tree.children(recursive=True)
    assert len(tree) == 3
    assert running.process.stdin is not None

    running.process.stdin.close()

    assert running.process.wait(300) == 0
    assert ended(tree)


def test_killing_the_supervisor_ends_its_parts(running: Running) -> None:
    parts = running.tree.children()
    grandchildren = [p for p in running.tree.children(recursive=True) if p not in parts]

    running.process.kill()

    assert ended(parts)
    for process in grandchildren:
        process.kill()


def test_a_part_that_ends_at_its_start_is_told_with_its_error_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This process is no stack: what else it started is not the supervisor's to end.
    monkeypatch.setattr(supervising, "end_everything", lambda: None)
    supervisor = Supervisor([part("one", tmp_path, FAILS="1")], lambda _: None, ("canary",))

    with pytest.raises(InfrastructureError, match="one ended with status 3: ValueError") as raised:
        supervisor.start()

    assert "canary" not in str(raised.value)
    assert str(tmp_path / "logs" / "one.log") in raised.value.remedy
