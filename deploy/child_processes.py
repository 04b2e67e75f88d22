"""Processes that end with the one that started them, and what they leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_LINE_BYTES = 2_000
# Of one core: what a starved process still gets, and an idle loop does not use.
_LEAST_SHARE = 0.01
_LEAST_QUEUED = 0.2  # of the time: what stands still waits for no processor


def beating(descriptor: int) -> Callable[[], None]:
    """Return a function that writes a heartbeat, an empty line, to an inherited pipe."""
    say = speaking(descriptor)
    return lambda: say("")


def speaking(descriptor: int) -> Callable[[str], None]:
    """Return a function that sends a line to the supervisor, for the person who watches."""
    os.set_inheritable(descriptor, False)
    os.set_blocking(descriptor, False)

    def say(text: str) -> None:
        line = " ".join(text.split()).encode("utf-8", "replace")[:_LINE_BYTES]
        # A full pipe is evidence enough.
        with contextlib.suppress(BlockingIOError):
            os.write(descriptor, line + b"\n")

    return say


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


# PR_SET_PDEATHSIG is 1, SIGKILL 9.
_TIE = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execvp(sys.argv[2], sys.argv[2:])"
)


def tied(command: Sequence[str]) -> list[str]:
    """Return `command` as a process that the kernel ends with this one, before it imports."""
    # A function called between fork and exec could deadlock in a process with threads.
    return [sys.executable, "-P", "-S", "-c", _TIE, str(os.getpid()), *command]


class TyingLoop(asyncio.SelectorEventLoop):
    """An event loop whose processes, whichever library starts them, end with this process."""

    async def subprocess_exec(self, protocol_factory: Any, *command: Any, **options: Any) -> Any:
        """Start a process that is tied to this one."""
        return await super().subprocess_exec(protocol_factory, *tied(command), **options)


def launch(
    command: Sequence[str],
    environ: Mapping[str, str],
    log: Path,
    folder: Path,
    descriptors: Collection[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one, in a session of its own in `folder`."""
    # It inherits `descriptors` only.
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as sink:
        return subprocess.Popen(  # noqa: S603 - our own modules, no shell
            tied(command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            cwd=folder,
            pass_fds=tuple(descriptors),
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], patience: float) -> None:
    """Terminate a process; after `patience` seconds, or at once with 0, kill it."""
    if process.poll() is None and patience > 0:
        # One that is stopped would not receive the signal.
        for sent in (signal.SIGTERM, signal.SIGCONT):
            process.send_signal(sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=patience)
    if process.poll() is None:
        process.kill()
        process.wait()


def end_orphans(own: Collection[int]) -> int:
    """Kill every child of this process that is not in `own`, with all below it."""
    # Those are what ended parts left to their grandparent. Returns how many were killed.
    killed = 0
    for child in psutil.Process().children():
        if child.pid not in own:
            killed += _kill_tree(child)
            _collect(child.pid)
    return killed


def end_everything(seconds: float = 10.0) -> None:
    """Kill all descendants of this process, until none is left or the time is over."""
    deadline = time.monotonic() + seconds
    while children := psutil.Process().children(recursive=True):
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
        for child in children:
            _collect(child.pid)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _kill_tree(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        if process.status() == psutil.STATUS_ZOMBIE:
            return 0
        below = process.children(recursive=True)
        process.kill()
        for child in below:
            with contextlib.suppress(psutil.Error):
                child.kill()
        return 1
    return 0


def _collect(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


@dataclass(frozen=True)
class Activity:
    """Work that a process had done at a moment."""

    at: float  # at, cpu: monotonic and own processor time, in seconds
    cpu: float
    waits_for_disk: bool  # whether it is stopped by the disk rather than by itself
    written: int  # bytes of its log
    queued: float = 0.0  # seconds that its threads waited for a processor

    def moved_since(self, earlier: Activity) -> bool:
        """Return whether the process worked between two moments, on however busy a machine."""
        elapsed = max(self.at - earlier.at, 1e-3)
        works = (self.cpu - earlier.cpu) / elapsed >= _LEAST_SHARE
        starved = (self.queued - earlier.queued) / elapsed >= _LEAST_QUEUED
        return works or starved or self.waits_for_disk or self.written > earlier.written


def activity(pid: int, log: Path) -> Activity | None:
    """Return the work of the process `pid` so far; None when it is gone."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        waits = process.status() == psutil.STATUS_DISK_SLEEP
        written = log.stat().st_size if log.exists() else 0
    except (psutil.Error, OSError):
        return None
    cpu = times.user + times.system
    return Activity(time.monotonic(), cpu, waits, written, _seconds_queued(pid))


def _seconds_queued(pid: int) -> float:
    # By /proc/PID/task/TID/schedstat, whose second number are nanoseconds in a run queue.
    total = 0
    with contextlib.suppress(OSError, ValueError, IndexError):  # a kernel may not count them
        for thread in Path("/proc", str(pid), "task").iterdir():
            with contextlib.suppress(
                FileNotFoundError, ProcessLookupError
            ):  # one that ended meanwhile
                total += int((thread / "schedstat").read_text("ascii").split()[1])
    return total / 1e9
