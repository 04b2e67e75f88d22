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
        Seconds; CPU of every process of the tree as last seen, at most a sample before its end.
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
    began = time.perf_counter()
    with (cwd / "out.txt").open("w+") as out, (cwd / "err.txt").open("w+") as err:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(environ or {})}, stdout=out, stderr=err
        )
        peak = 0
        cpu: dict[tuple[int, float], float] = {}
        while process.poll() is None:
            tree = _tree(process.pid)
            peak = max(peak, sum(_proportional(one) for one in tree))
            for one in tree:
                _note_cpu(one, cpu)
            time.sleep(_SAMPLE_SECONDS)
        wall = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        said, told = out.read(), err.read()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{told[-3000:]}")
    return Measured(wall, sum(cpu.values()), peak, said, told)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _note_cpu(process: psutil.Process, seen: dict[tuple[int, float], float]) -> None:
    try:
        spent = process.cpu_times()
        seen[process.pid, process.create_time()] = spent.user + spent.system
    except psutil.Error:
        return


def _proportional(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0
