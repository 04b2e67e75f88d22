"""A real Dask cluster on loopback: a scheduler and workers, each started apart."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from distributed import Client

from tests.ports import free_port

# Its processes end with the one that tests, however that ends.
_PROGRAM = (
    "import os, sys; from tasks.base.runtime.environment import end_with; "
    "end_with(int(sys.argv.pop(1))); "
    "from dask.__main__ import main; main()"
)
_DASHBOARD = ("--dashboard-address", "127.0.0.1:0")
_QUIET = {"DASK_DISTRIBUTED__DASHBOARD__LINK": "", "PYTHONWARNINGS": "ignore"}


@dataclass
class DaskCluster:
    """A running cluster; its workers are named by number."""

    port: int
    folder: Path
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return f"tcp://127.0.0.1:{self.port}"

    def start_worker(self, **environ: str) -> subprocess.Popen[bytes]:
        """Start one more worker, of one thread."""
        number = len(self.workers)
        self.workers.append(
            _started(
                self.folder / f"worker-{number}.log",
                "worker", self.address, "--nthreads", "1", "--no-nanny", *_DASHBOARD,
                "--host", "127.0.0.1", "--name", str(number),
                "--local-directory", str(self.folder / f"worker-{number}"), **environ,
            )
        )  # fmt: skip
        return self.workers[-1]

    def fill(self, workers: int) -> None:
        """Start as many workers as are missing, and await them."""
        for _ in range(workers - sum(worker.poll() is None for worker in self.workers)):
            self.start_worker()
        with Client(self.address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)

    def fitting(self, log: str) -> list[psutil.Process]:
        """Return the processes that write to a log of this name: those of a task.

        The first parent is keepfit's worker process, the second the Dask worker.
        """
        return [fit for w in self.workers for fit in _children(w.pid) if _log_of(fit) == log]


@contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[DaskCluster]:
    """Run a cluster; all its processes end with the block."""
    port = free_port()
    scheduler = _started(
        folder / "scheduler.log",
        "scheduler", "--host", "127.0.0.1", "--port", str(port), *_DASHBOARD,
    )  # fmt: skip
    cluster = DaskCluster(port, folder, scheduler)
    try:
        _await(port)
        cluster.fill(workers)
        yield cluster
    finally:
        for process in (*cluster.workers, scheduler):
            process.kill()
            process.wait()


def _started(log: Path, *words: str, **environ: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(os.getpid()), *words],
            stdout=out, stderr=out, env={**os.environ, **_QUIET, **environ},
        )  # fmt: skip


def _children(process: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return psutil.Process(process).children(recursive=True)
    return []


def _log_of(process: psutil.Process) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/fd/1").readlink().name
    return ""


def _await(port: int) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.1)
    raise RuntimeError("the Dask scheduler did not start")
