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

_PROGRAM = str(Path(sys.executable).parent / "dask")
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

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start one more worker, of one thread."""
        number = len(self.workers)
        self.workers.append(
            _started(
                self.folder / f"worker-{number}.log",
                "worker", self.address, "--nthreads", "1", "--no-nanny", *_DASHBOARD,
                "--host", "127.0.0.1", "--name", str(number),
                "--local-directory", str(self.folder / f"worker-{number}"),
            )
        )  # fmt: skip
        return self.workers[-1]

    def fitting(self, log: str) -> list[subprocess.Popen[bytes]]:
        """Return the workers of which a child writes to a log of this name: that of its task."""
        return [w for w in self.workers if any(Path(name).name == log for name in _outputs(w.pid))]


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
        for _ in range(workers):
            cluster.start_worker()
        _await(cluster, workers)
        yield cluster
    finally:
        for process in (*cluster.workers, scheduler):
            process.kill()
            process.wait()


def _started(log: Path, *words: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            [_PROGRAM, *words], stdout=out, stderr=out, env={**os.environ, **_QUIET}
        )


def _outputs(worker: int) -> Iterator[str]:
    with suppress(psutil.Error):
        for child in psutil.Process(worker).children(recursive=True):
            with suppress(OSError):
                yield str(Path(f"/proc/{child.pid}/fd/1").readlink())


def _await(cluster: DaskCluster, workers: int) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", cluster.port)).close()
            with Client(cluster.address, timeout=60, set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=120)
            return
        time.sleep(0.1)
    raise RuntimeError("the Dask cluster did not start")
