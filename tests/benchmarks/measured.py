"""A program measured from outside: wall time, CPU time and peak memory of its whole tree."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAMPLE_SECONDS = 0.1
_REST = 20
_GROUPS = Path("/sys/fs/cgroup")
_ENTER = 'echo $$ > "$0" && exec "$@"'


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
    held
        The same of a memory cgroup, without what it mapped from files, which the system may drop;
        None where no cgroup was asked for.
    read
        Bytes that its processes read from the disk, pages of mapped files too; as last seen.
    """

    wall: float
    cpu: float
    peak: int
    out: str
    err: str
    held: int | None = None
    read: int = 0


def measure(
    command: Sequence[str],
    cwd: Path,
    environ: Mapping[str, str] | None = None,
    *,
    cap: int | None = None,
) -> Measured:
    """Run `command` and return what it cost; its failure is an error.

    Parameters
    ----------
    cap
        Bytes that its whole tree may hold, files that it reads included; needs the right to make
        a memory cgroup. None: no cgroup.
    """
    with _memory_group(cap) as group:
        return _measure(command, cwd, environ, group)


def _measure(
    command: Sequence[str], cwd: Path, environ: Mapping[str, str] | None, group: Path | None
) -> Measured:
    held = None if group is None else 0
    if group is not None:
        command = ["sh", "-c", _ENTER, str(group / "cgroup.procs"), *command]
    began = time.perf_counter()
    with (cwd / "out.txt").open("w+") as out, (cwd / "err.txt").open("w+") as err:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(environ or {})}, stdout=out, stderr=err
        )
        peak = 0
        cpu: dict[tuple[int, float], float] = {}
        read: dict[tuple[int, float], int] = {}
        while process.poll() is None:
            looking = time.perf_counter()
            tree = _tree(process.pid)
            peak = max(peak, sum(_proportional(one) for one in tree))
            if group is not None:
                held = max(held or 0, _anonymous(group))
            for one in tree:
                _note_costs(one, cpu, read)
            # The system counts the pages of a large process for as long as it would work.
            time.sleep(max(_SAMPLE_SECONDS, _REST * (time.perf_counter() - looking)))
        wall = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        said, told = out.read(), err.read()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{told[-3000:]}")
    return Measured(wall, sum(cpu.values()), peak, said, told, held, sum(read.values()))


@contextmanager
def _memory_group(cap: int | None) -> Iterator[Path | None]:
    """Yield a memory cgroup below this process's own that may hold `cap` bytes."""
    if cap is None:
        yield None
        return
    lines = [line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = {kind: path for _, kind, path in lines}
    first = "memory" in own
    root = _GROUPS / "memory" if first else _GROUPS
    group = root / own["memory" if first else ""].lstrip("/") / f"measured-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(cap))
        with suppress(OSError):  # where the kernel counts no swap
            swap = ("memory.memsw.limit_in_bytes", cap) if first else ("memory.swap.max", 0)
            (group / swap[0]).write_text(str(swap[1]))
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    for _ in range(100):
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)


def _anonymous(group: Path) -> int:
    """Return the bytes that a cgroup holds without a file behind them."""
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    if "total_rss" in stat:
        return int(stat["total_rss"]) + int(stat.get("total_shmem", 0))
    return int(stat["anon"]) + int(stat["shmem"])


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _note_costs(
    process: psutil.Process,
    cpu: dict[tuple[int, float], float],
    read: dict[tuple[int, float], int],
) -> None:
    try:
        spent, known = process.cpu_times(), (process.pid, process.create_time())
        cpu[known] = spent.user + spent.system
        read[known] = process.io_counters().read_bytes
    except psutil.Error:
        return


def _proportional(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0
