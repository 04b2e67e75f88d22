"""One checker answers many commands, each in a child; where none answers, a command has its own."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen
from typing import Any

import pandas as pd
import psutil
import pyarrow as pa
import pytest
from typing_extensions import Buffer

from expectations.contract import Contract
from tasks.base.errors import ConfigError, InfrastructureError
from tasks.base.training_records import Kind, Snapshot
from tasks.contracts import snapshot_check
from tasks.contracts.shared_checker import SOCKET, VARIABLE, listening, standing
from tasks.contracts.snapshot_check import check_snapshot
from tasks.data.snapshots import write_snapshot
from tests.checkers import checker_in
from tests.e2e.stacks import until

pytestmark = pytest.mark.slow

KINDS: dict[str, Kind] = {"age": "numeric", "city": "categorical"}
CONTRACT = Contract.model_validate(
    {"contract": "people", "columns": {"age": {"kind": "numeric", "range": {"min": 0, "max": 99}}}}
)


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Popen[bytes]]:
    # As deep as a state folder may lie: no address of a socket is as long.
    deep = tmp_path_factory.mktemp("deep") / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    with checker_in(deep) as process:
        yield process


def people(folder: Path, oldest: float = 80.0) -> Snapshot:
    frame = pd.DataFrame({"age": [20.0, 30.0, oldest] * 40, "city": ["Bern", "Chur", "Bern"] * 40})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    folder.mkdir(parents=True, exist_ok=True)
    return write_snapshot(table, KINDS, folder, time_column=None, assumptions=())


def checked(folder: Path, oldest: float = 80.0) -> dict[str, Any]:
    result = check_snapshot(people(folder, oldest), CONTRACT, folder)
    assert Path(result.page).is_file()
    return result.model_dump(mode="json", exclude={"page", "seconds", "faults"})


def test_it_says_what_an_own_checker_says(
    checker: Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [checked(tmp_path / f"a{oldest}", oldest) for oldest in (80.0, 120.0)]
    assert [found["passed"] for found in asked] == [True, False]
    monkeypatch.delenv(VARIABLE)
    assert [checked(tmp_path / f"b{oldest}", oldest) for oldest in (80.0, 120.0)] == asked


def test_many_are_answered_at_once_and_none_starts_a_process_of_its_own(
    checker: Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_check, "_spawn", lambda: pytest.fail("an own process was started"))
    snapshot_check.start_checker()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda k: checked(tmp_path / str(k)), range(6)))
    assert all(one == found[0] for one in found)
    assert checker.poll() is None


def test_only_its_owner_reaches_it(checker: Popen[bytes]) -> None:
    path = Path(os.environ[VARIABLE], SOCKET)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_unusable_contract_is_told_as_by_an_own_checker(
    checker: Popen[bytes], tmp_path: Path
) -> None:
    wrong = CONTRACT.to_dict() | {"rules": [{"expect": "expect_nothing_of_the_kind"}]}
    with pytest.raises((ConfigError, InfrastructureError), match="expect_nothing_of_the_kind"):
        check_snapshot(people(tmp_path), Contract.model_validate(wrong), tmp_path)
    assert checked(tmp_path / "after")["passed"]


def test_where_the_child_that_was_to_answer_dies_a_command_has_its_own(
    checker: Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked(tmp_path / "before")

    def children() -> set[psutil.Process]:
        return set(psutil.Process(checker.pid).children())

    class Killing(socket.socket):
        def connect(self, address: Any) -> None:
            self.before = children()
            super().connect(address)

        def sendall(self, data: Buffer, flags: int = 0) -> None:  # noqa: ARG002
            super().sendall(b"{", flags)  # the child waits for the rest of the line
            (own,) = until(lambda: children() - self.before, every=0.01)
            own.kill()

    snapshot = people(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Killing)
        patch.setattr(snapshot_check, "_ask_own", lambda _: "")
        with pytest.raises(InfrastructureError, match="ended twice before it replied"):
            check_snapshot(snapshot, CONTRACT, tmp_path, fresh=True)
        patch.undo()
        patch.setattr(socket, "socket", Killing)
        assert check_snapshot(snapshot, CONTRACT, tmp_path, fresh=True).passed, "by its own"
    assert checked(tmp_path / "after")["passed"]


def test_where_nobody_answers_any_more_a_command_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening(tmp_path).close()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert standing()
    assert checked(tmp_path / "a")["passed"]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    assert not standing()
    assert checked(tmp_path / "b")["passed"]


def test_a_socket_that_was_left_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening(tmp_path).close()
    monkeypatch.chdir(tmp_path)
    with listening(tmp_path) as listener, socket.socket(socket.AF_UNIX) as asking:
        asking.connect(SOCKET)
        listener.accept()[0].close()
