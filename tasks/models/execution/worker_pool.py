"""Client of the worker process: starts it, sends tasks, receives their results.

Only the standard library is imported here, so that a process that is busy with something else can
start its worker first and let the imports of the two overlap.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tasks.base.errors import InfrastructureError
from tasks.base.runtime.environment import interrupts_kept_away

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # How often a waiting thread looks before it sleeps. For ever uses the cores of other work;
    # never (PASSIVE) makes two threads of LightGBM slower than one, as they wait often and briefly.
    "GOMP_SPINCOUNT": "1000",
    "PYTHONHASHSEED": "0",
}
_READING_SECONDS = 0.02
_START = (
    "import gc, sys; gc.disable(); sys.path.append(sys.argv[1]); "
    "import tasks.base.runtime.environment as here; here.collect_rarely(); "
    "from tasks.models.execution.fork_server import main; main()"
)

# Task numbers of one borrower are below it.
_SPAN = 100_000


class WorkerEndedError(InfrastructureError):
    """The worker process ended, which only its end by a person or the system does."""

    def __init__(self, code: int | None) -> None:
        super().__init__(
            f"the process that fits models ended unexpectedly ({ended_by(code)}).",
            "Run again; finished candidates are kept. If it happens again, free memory first.",
        )


def ended_by(code: int | None) -> str:
    """Return by what a process ended, from its exit status.

    >>> ended_by(-9), ended_by(1)
    ('SIGKILL; it may have run out of memory', 'exit status 1')
    """
    if code is None or code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name
    return f"{name}; it may have run out of memory" if name == "SIGKILL" else name


_running: list[Worker] = []
_lock = threading.Lock()


class Worker:
    """A running worker process."""

    # Not a ``multiprocessing`` fork server: that one is shared by every library of the process,
    # imports the program's main module again, and dies with a thread where this one must not.

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[3])
        # -P: the working folder holds a person's files, and must not shadow a module.
        with interrupts_kept_away():
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
        self._sending = threading.Lock()
        self._hearing = threading.Lock()
        self._heard: dict[int, list[dict[str, Any]]] = {}
        self._borrowers = itertools.count()

    @property
    def process(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def lend(self) -> Lease:
        """Return a place to send tasks from, whose numbers are its own."""
        place = next(self._borrowers)
        self._heard[place] = []
        return Lease(self, place)

    def take_back(self, place: int) -> None:
        """Drop messages still addressed to a borrower."""
        self._heard.pop(place, None)

    def send(self, command: dict[str, Any]) -> None:
        """Send one command; WorkerEndedError if the process is gone."""
        try:
            with self._sending:
                self._in.write((json.dumps(command) + "\n").encode())
        except (BrokenPipeError, ValueError):
            raise WorkerEndedError(self._process.poll()) from None

    def hear(self, place: int, seconds: float) -> list[dict[str, Any]]:
        """Return messages to a borrower, waiting at most `seconds` for one."""
        # A waiting borrower reads for all; a short while each, so that none waits for another.
        deadline = time.monotonic() + seconds
        while not self._heard[place] and (left := deadline - time.monotonic()) > 0:
            with self._hearing:
                if not self._heard[place]:
                    self._read(min(left, _READING_SECONDS))
        heard, self._heard[place] = self._heard[place], []
        return heard

    def _read(self, seconds: float) -> None:
        try:
            if not self._selector.select(seconds):
                return
            data = os.read(self._out.fileno(), 65_536)
        except ValueError:  # another borrower has found it dead and closed it
            data = b""
        if not data:
            raise WorkerEndedError(self._process.wait())
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            place, number = divmod(message.get("task", -1), _SPAN)
            if place in self._heard:
                self._heard[place].append({**message, "task": number})

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


class Lease:
    """One borrower's connection to a worker process."""

    elsewhere: Mapping[str, tuple[float, float]] = MappingProxyType({})

    def __init__(self, worker: Worker, place: int) -> None:
        self._worker = worker
        self._place = place
        self._open: set[int] = set()

    @property
    def processes(self) -> tuple[int, ...]:
        """The worker process, whose seconds count as its tasks' do."""
        return (self._worker.process,)

    def send(self, command: dict[str, Any]) -> None:
        """Send one command about one of the borrower's own tasks."""
        self._open.add(command["task"])
        self._worker.send({**command, "task": self._place * _SPAN + command["task"]})

    def hear(self, seconds: float) -> list[dict[str, Any]]:
        """Return events of the borrower's tasks, waiting at most `seconds` for one."""
        heard = self._worker.hear(self._place, seconds)
        self._open -= {m["task"] for m in heard if m["event"] == "ended"}
        return heard

    def give_back(self) -> None:
        """End the tasks that still go on."""
        with contextlib.suppress(WorkerEndedError):
            for task in sorted(self._open):
                self.send({"do": "kill", "task": task})
        self._worker.take_back(self._place)


def warm_up() -> None:
    """Start the worker process unless it runs, and return at once."""
    with _lock:
        _the_worker()


@contextmanager
def borrowed() -> Iterator[Lease]:
    """Lend the worker process, which others may borrow too: a second one would import all again."""
    with _lock:
        lease = _the_worker().lend()
    try:
        yield lease
    finally:
        lease.give_back()


def import_ahead(*modules: str) -> None:
    """Let the worker process import modules beside what this one does next."""
    with contextlib.suppress(WorkerEndedError), borrowed() as lease:
        lease.send({"task": 0, "do": "import", "imports": modules})


def close_all() -> None:
    """End the worker process."""
    with _lock:
        while _running:
            _running.pop().close()


def _the_worker() -> Worker:
    for worker in [w for w in _running if not w.alive]:
        _running.remove(worker)
        worker.close()
    if not _running:
        if not _registered:
            _registered.append(time.monotonic())
            atexit.register(close_all)
        _running.append(Worker())
    return _running[0]


_registered: list[float] = []
