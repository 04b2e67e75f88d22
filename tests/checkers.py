"""One standing checker for many commands of a test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.base.runtime.environment import module_command
from tasks.contracts.shared_checker import VARIABLE


@pytest.fixture(scope="module")
def shared_checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let every command of a module have its contracts checked by one process."""
    with checker_in(tmp_path_factory.mktemp("checker")):
        yield


@contextmanager
def checker_in(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a checker that listens in `folder`, which commands started meanwhile ask."""
    beats, own = os.pipe()
    command = module_command("deploy.stack.checker", str(own), str(folder))
    process = subprocess.Popen(command, pass_fds=(own,))
    os.close(own)
    try:
        assert os.read(beats, 1) == b"\n", "it listens"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, str(folder))
            yield process
    finally:
        os.close(beats)
        process.kill()
        process.wait()
