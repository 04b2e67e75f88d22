"""A program measured from outside: wall time, CPU time and peak memory of its whole tree."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Measured:
    """What a program cost.

    Attributes
    ----------
    wall, cpu
        Seconds; CPU of the process and of all children it waited for.
    peak
        Greatest sum over the tree of proportional set sizes, bytes: a page shared by several
        processes counts once.
    """

    wall: float
    cpu: float
    peak: int
    out: str
    err: str


def measure(
    command: Sequence[str], cwd: Path, environ: Mapping[str, str] | None = None
) -> Measured:
    """Run `command` and return what it cost; its failure is an error."""
    before = os.times()
    began = time.perf_counter()
    with (cwd / "out.txt").open("w+") as out, (cwd / "err.txt").open("w+") as err:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(environ or {})}, stdout=out, stderr=err
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(_SAMPLE_SECONDS)
        wall = time.perf_counter() - began
        after = os.times()
        out.seek(0)
        err.seek(0)
        said, told = out.read(), err.read()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{told[-3000:]}")
    cpu = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    return Measured(wall, cpu, peak, said, told)


def _memory(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_proportional(process) for process in tree)


def _proportional(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0
