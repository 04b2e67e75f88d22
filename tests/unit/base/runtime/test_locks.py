from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tasks.base.errors import InfrastructureError, TransientError
from tasks.base.runtime.locks import locked


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a" / "lock"
    inside: list[int] = []
    most = 0

    def work() -> None:
        nonlocal most
        for _ in range(20):
            with locked(path):
                inside.append(1)
                most = max(most, len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_lock_held_too_long_is_transient(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "lock"),
        pytest.raises(TransientError, match="holds this lock"),
        locked(tmp_path / "lock", seconds=0.1),
    ):
        pass


def test_a_killed_holder_frees_the_lock_whatever_it_forked(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from tasks.base.runtime.locks import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    if os.fork() == 0: sys.stdin.read(); os._exit(0)\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(TransientError), locked(path, seconds=0.05):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locked(path, seconds=5):
        pass
    holder.communicate()  # ends what it forked: its input closes


def test_a_lock_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InfrastructureError, match="cannot be made"),
        locked(tmp_path / "file" / "x"),
    ):
        pass
