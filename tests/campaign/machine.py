"""Faults of the machine: processes that stand still, a state that can't be written, little memory.

Where a test of the suites with real servers holds the fault already (a full disk, a locked
database, a server that is away, a clock that jumps), it is run here as it is.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.campaign.scenes import say
from tests.campaign.table import Options, Row
from tests.e2e.faults import Going, may_mount
from tests.program import Ran, keepfit
from tests.tables import FAST, write_churn, write_pipeline

_STILL = 20
_AT_ONCE = 60.0
"""Seconds after which a refusal counts as a hang, on a busy machine."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong; `happens` returns a sentence for each thing that did not hold."""

    name: str
    happens: Callable[[Path], Iterator[str]]


@dataclass(frozen=True)
class _Suite:
    """A test of the suites with real servers."""

    test: str

    def __call__(self, _: Path) -> Iterator[str]:
        file, _, name = self.test.partition("::")
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "slow or not slow",
                   f"tests/{file}", "-k", name]  # fmt: skip
        root = Path(__file__).parents[2]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if done.returncode:
            yield done.stdout[-400:]


def _project(folder: Path) -> Path:
    write_pipeline(folder, write_churn(folder / "rows.csv", 400), FAST, time=True)
    return folder


def _stands_still(child: bool, folder: Path) -> Iterator[str]:
    """Let a command, or its children, stand still for a while: it goes on and is done once."""
    going = Going(_project(folder), "run", folder, "--json")
    going.reaches("contract")
    main = psutil.Process(going.process.pid)
    stopped = main.children(recursive=True) if child else [main]
    for process in stopped:
        process.suspend()
    time.sleep(_STILL)
    for process in stopped:
        process.resume()
    ran = going.ended()
    yield from _went_well(ran)
    again = keepfit("run", folder, "--json")
    yield from _went_well(again)
    if again.status == 0 and not again.answer.get("unchanged"):
        yield "the same training was done twice"


def _went_well(ran: Ran) -> Iterator[str]:
    if ran.status:
        yield f"ended with {ran.status}: {ran.err[-300:]}"


@contextmanager
def _for_reading(folder: Path) -> Iterator[None]:
    """Mount a folder on itself, for reading only."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _cannot_be_written(folder: Path) -> Iterator[str]:
    yield from _went_well(keepfit("run", _project(folder), "--json"))
    with _for_reading(folder / ".keepfit"):
        for command in ("run", "score", "monitor", "status", "why", "rollback"):
            yield from _refused(command, "read-only", keepfit, folder)
    yield from _went_well(keepfit("score", folder, "--all", "--json"))


def _little_memory(folder: Path) -> Iterator[str]:
    _project(folder)

    def limited(*arguments: str | Path, seconds: float) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (600_000_000,) * 2),
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    for command in ("run", "score", "monitor"):
        yield from _refused(command, "Memory", limited, folder)


def _no_state(folder: Path) -> Iterator[str]:
    """Let the state vanish while a training goes on: an error in words, and the next one works."""
    going = Going(_project(folder), "run", folder, "--json")
    with going.halted("split"):
        (folder / ".keepfit").rename(folder / "gone")
    ran = going.ended()
    if ran.status == 0:
        return
    yield from _in_words(ran)
    yield from _went_well(keepfit("run", folder, "--json"))


def _refused(command: str, word: str, run: Callable[..., Ran], folder: Path) -> Iterator[str]:
    try:
        ran = run(command, folder, "--json", seconds=_AT_ONCE)
    except subprocess.TimeoutExpired:
        yield f"{command} hangs"
        return
    if ran.status != 1:
        yield f"{command} ended with {ran.status}: {ran.err[-200:]}"
        return
    yield from (f"{command} {fault}" for fault in _in_words(ran))
    if word not in ran.answer["error"]["message"]:
        yield f"{command} says {ran.answer['error']['message']}"


def _in_words(ran: Ran) -> Iterator[str]:
    if "Traceback" in ran.err or ran.answer["error"]["kind"] == "internal":
        yield f"is no error of keepfit's own: {(ran.out + ran.err)[-300:]}"


FAULTS = (
    Fault("main process stopped for 20 s", lambda folder: _stands_still(False, folder)),
    Fault("its children stopped for 20 s", lambda folder: _stands_still(True, folder)),
    Fault("state vanishes", _no_state),
    Fault("address space of 600 MB", _little_memory),
    Fault("ledger locked for 60 s", _Suite("e2e/test_faults_of_stores.py::locked_ledger")),
    Fault("registry locked for 25 s", _Suite("e2e/test_faults_of_stores.py::locked_mlflow")),
    Fault("MLflow server away for 30 and 120 s",
          _Suite("e2e/test_faults_of_mlflow.py::goes_away")),
    Fault("Prefect server away", _Suite("e2e/test_faults_of_the_loop.py::prefect_server_is_away")),
    Fault("clock jumps",
          _Suite("e2e/test_faults_of_the_loop.py::clock")),
)  # fmt: skip
MOUNTED = (
    Fault("state mounted read-only", _cannot_be_written),
    Fault("disk full", _Suite("e2e/test_faults_of_stores.py::disk")),
)  # fmt: skip


def run(options: Options) -> list[Row]:
    """Let each fault happen once; those that need the right to mount are left out without it."""
    if options.share:
        return []
    rows = []
    possible = (*FAULTS, *(MOUNTED if may_mount() else ()))
    for fault in options.of(possible):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            failures = list(fault.happens(Path(folder)))
        took = time.monotonic() - began
        say(f"{fault.name}: {failures} in {took:.0f} s")
        rows.append(Row("machine", fault.name, 1, failures, seconds=took))
    return rows
