"""Processes that the kernel ends with the one that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy import child_processes
from tests.e2e.stacks import ROOT, gone

PARENT = """
import anyio, asyncio, sys
from deploy.child_processes import TyingLoop

async def start():
    async with await anyio.open_process(["sleep", "600"]) as process:
        print(process.pid, flush=True)

with asyncio.Runner(loop_factory=TyingLoop) as loop:
    loop.run(start())
"""


def test_what_a_library_starts_ends_with_its_killed_parent() -> None:
    command = [sys.executable, "-c", PARENT]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))

    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    assert gone([child])


def test_what_a_parent_started_that_has_ended_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "begun"
    alive = child_processes.tied(["touch", str(file)])
    monkeypatch.setattr(child_processes.os, "getpid", lambda: 1)
    orphaned = child_processes.tied(["touch", str(file)])

    assert subprocess.run(orphaned, check=False).returncode == 1
    assert not file.exists()
    assert subprocess.run(alive, check=False).returncode == 0
    assert file.exists()
