"""Processes that a command brings along, killed while it runs: started again once, then named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.tables import FAST, write_churn, write_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.e2e]
HELPERS = {"checker_process": "checks the contract", "fork_server": "fits models"}


def run_killing(folder: Path, helper: str, times: int) -> tuple[int, dict[str, object], int]:
    """Run a training, and kill the first `times` processes of a helper once they work.

    Returns
    -------
    status, answer, killed
    """
    with subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", str(folder), "--fresh", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
    ) as command:  # fmt: skip
        killed: set[int] = set()
        while command.poll() is None:
            with suppress(psutil.Error):
                for child in psutil.Process(command.pid).children():
                    if child.pid not in killed and helper in " ".join(child.cmdline()):
                        works = helper != "fork_server" or child.children()
                        if works and len(killed) < times:
                            child.kill()
                            killed.add(child.pid)
            time.sleep(0.005)
        assert command.stdout is not None
        return command.returncode, json.loads(command.stdout.read()), len(killed)


@pytest.mark.parametrize("helper", HELPERS)
def test_a_helper_that_is_killed_is_started_again_once_and_then_named(
    helper: str, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    write_pipeline(tmp_path, write_churn(tmp_path / "rows.csv"), FAST)

    status, answer, killed = run_killing(tmp_path, helper, 2)
    assert (status, killed) == (1, 2), answer
    error = answer["error"]
    assert isinstance(error, dict)
    assert error["kind"] == "infrastructure"
    assert HELPERS[helper] in error["message"]
    assert "bug" not in error["remedy"]

    status, answer, killed = run_killing(tmp_path, helper, 1)
    assert (status, killed) == (0, 1), answer
    assert answer["model"]
    assert list((tmp_path / "tmp").iterdir()) == []
