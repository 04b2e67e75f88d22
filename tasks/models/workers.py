"""The side of the worker process that asks: it starts one, sends tasks, hears what became of them.

Only the standard library is imported here, so that a process that is busy with something else can
start its worker first and let the imports of the two overlap.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.base.errors import InfrastructureError

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Threads that wait must not spin: beside other work they would take its cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONHASHSEED": "0",
}
_START = "import sys; sys.path.append(sys.argv[1]); from tasks.models.server import main; main()"

_idle: list[Worker] = []
_lock = threading.Lock()


class Worker:
    """A running worker process.

    Not a ``multiprocessing`` fork server: that one is shared by every library of the process,
    imports the program's main module again, and dies with a thread where this one must not.
    """

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        # -P: the working folder holds a person's files, and must not shadow a module.
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, constant arguments
            [sys.executable, "-P", "-c", _START, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD},
            bufsize=0,
        )
        assert self._process.stdout is not None  # noqa: S101 - piped above
        assert self._process.stdin is not None  # noqa: S101
        self._in, self._out = self._process.stdin, self._process.stdout
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def send(self, command: dict[str, Any]) -> None:
        """Send one command.

        Raises
        ------
        InfrastructureError
            If the worker process is gone.
        """
        try:
            self._in.write((json.dumps(command) + "\n").encode())
        except (BrokenPipeError, ValueError):
            raise _gone(self._process.poll()) from None

    def hear(self, seconds: float) -> list[dict[str, Any]]:
        """Return what the worker said, waiting at most `seconds` for something.

        Raises
        ------
        InfrastructureError
            If the worker process is gone.
        """
        if not self._selector.select(max(0.0, seconds)):
            return []
        data = os.read(self._out.fileno(), 65_536)
        if not data:
            raise _gone(self._process.wait())
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """End the process and its children."""
        self._selector.close()
        self._in.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()


def _gone(code: int | None) -> InfrastructureError:
    return InfrastructureError(
        f"the process that fits models ended unexpectedly (exit status {code}).",
        "Run again; finished candidates are kept. If it happens again, free memory first.",
    )


def warm_up() -> None:
    """Start a worker process unless one waits, and return at once."""
    with _lock:
        _drop_dead()
        if not _idle:
            _idle.append(_started())


@contextmanager
def borrowed() -> Iterator[Worker]:
    """Lend a worker process that nobody else uses; it is kept for the next one."""
    with _lock:
        _drop_dead()
        worker = _idle.pop() if _idle else _started()
    try:
        yield worker
    except BaseException:
        worker.close()  # with its children, whatever they were doing
        raise
    with _lock:
        _idle.append(worker)


def close_all() -> None:
    """End the worker processes that wait."""
    with _lock:
        while _idle:
            _idle.pop().close()


def _drop_dead() -> None:
    for worker in [w for w in _idle if not w.alive]:
        _idle.remove(worker)
        worker.close()


def _started() -> Worker:
    if not _registered:
        _registered.append(time.monotonic())
        atexit.register(close_all)
    return Worker()


_registered: list[float] = []
