"""A process that checks and is killed, while it waits or works, is started again once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tasks.base.errors import InfrastructureError
from tasks.contracts import snapshot_check
from tasks.contracts.shared_checker import VARIABLE

ANSWERS = 'read line; echo \'{"outcome": {"passed": true}}\''
KILLED = {
    "waiting": "kill -9 $$",
    "working": "read line; kill -9 $$",
    "answering": "read line; printf '{\"outcome\": {'; kill -9 $$",
}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Scripts of which each process that is started runs the next one."""
    scripts: list[str] = []

    def spawn() -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["/bin/sh", "-c", scripts.pop(0)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(snapshot_check, "_spawn", spawn)
    yield scripts
    snapshot_check.stop_checker()


@pytest.mark.parametrize("when", list(KILLED))
def test_a_killed_checker_is_replaced_once(started: list[str], when: str) -> None:
    started += [KILLED[when], ANSWERS]
    snapshot_check.start_checker()
    if when == "waiting":
        snapshot_check._waiting[0].wait()
    assert snapshot_check._ask({"long": "x" * 100_000}) == {"passed": True}


@pytest.mark.parametrize("when", list(KILLED))
def test_one_that_is_killed_again_is_told(started: list[str], when: str) -> None:
    started += [KILLED[when]] * 2
    with pytest.raises(InfrastructureError, match="ended twice"):
        snapshot_check._ask({"long": "x" * 100_000})
    assert started == []
