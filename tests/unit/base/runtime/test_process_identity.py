from __future__ import annotations

import socket
import subprocess
import sys

from tasks.base.runtime.process_identity import has_ended, this_process


def test_a_living_process_has_not_ended() -> None:
    assert not has_ended(this_process())


def test_an_ended_process_has_ended() -> None:
    code = "from tasks.base.runtime.process_identity import this_process; print(this_process())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert has_ended(done.stdout.strip())


def test_a_number_used_again_does_not_hide_an_ended_process() -> None:
    assert has_ended(this_process().rpartition("-")[0] + "-1")


def test_a_restart_of_the_machine_ends_every_process() -> None:
    host, _, pid, started = this_process().split("-")
    assert has_ended(f"{host}-{'0' * 16}-{pid}-{started}")


def test_what_cannot_be_known_is_not_said_to_have_ended() -> None:
    _, boot, _, _ = this_process().split("-")
    for unknown in ("", "x", f"{'0' * 16}-{boot}-4194305-1", f"{'0' * 16}-unknown-1-None"):
        assert not has_ended(unknown)


def test_the_hosts_name_does_not_leak() -> None:
    assert socket.gethostname() not in this_process()
