"""A process that has the heavy libraries imported and forks a child for every task.

It reads one command a line from its standard input and writes events to what was its standard
output. Forking from here, and not from the process that people started, means that no thread of
another library is copied half-way through its work, that memory is shared until written to, and
that a fit that is killed or runs out of memory ends alone.

The children die with this process, and this process with its input: when the one that started it
ends, however it ends.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from threadpoolctl import threadpool_limits

from tasks.base.runtime.environment import end_with, return_freed_memory
from tasks.models.execution.child_calls import answer_call
from tasks.models.execution.jobs import perform
from tasks.models.persistence.skops_io import skops_io

IDLE_SECONDS = 300.0


def main() -> None:
    """Serve until the input ends or no command came for a while."""
    return_freed_memory()
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not stand among the messages
    _preload()
    _send(out, {"event": "ready"})
    children: dict[int, int] = {}
    last = time.monotonic()
    for commands in _incoming(lambda: list(_ended(children, out))):
        if commands is None:
            break
        for command in commands:
            last = time.monotonic()
            _obey(command, children, out)
        if not children and time.monotonic() - last > IDLE_SECONDS:
            break
    for pid in children.values():
        _kill(pid)


_HEAVY = (
    "lightgbm", "pandas", "sklearn.calibration", "sklearn.ensemble",
    "sklearn.kernel_approximation", "sklearn.linear_model", "sklearn.neural_network",
    "sklearn.svm", "sklearn.tree", "tasks.data.column_kinds", "tasks.data.snapshots",
    "tasks.metrics.scorer", "tasks.models.validation.baselines",
    "tasks.models.persistence.prediction",
)  # fmt: skip
_DRAWING = ("matplotlib.figure", "matplotlib.backends.backend_svg")


def _preload() -> None:
    for name in _HEAVY:
        import_module(name)
    skops_io()
    import_module("lightgbm").register_logger(_Quiet())
    gc.collect()
    gc.freeze()


class _Quiet:
    """Drop LightGBM's warnings, which are for manual tuning; errors are raised as exceptions."""

    def info(self, message: str) -> None:
        """Drop `message`."""

    def warning(self, message: str) -> None:
        """Drop `message`."""


def _incoming(reap: Callable[[], Any]) -> Iterator[list[dict[str, Any]] | None]:
    """Yield commands as they come, an empty list now and then, None at the end of the input."""
    buffer = b""
    parent = os.getppid()
    while True:
        ready, _, _ = select.select([0], [], [], 0.02)
        reap()
        if os.getppid() != parent:
            yield None
            return
        if not ready:
            yield []
            continue
        data = os.read(0, 65_536)
        if not data:
            yield None
            return
        *lines, buffer = (buffer + data).split(b"\n")
        yield [json.loads(line) for line in lines if line.strip()]


def _ended(children: dict[int, int], out: int) -> Iterator[int]:
    for task, pid in list(children.items()):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            del children[task]
            code = os.waitstatus_to_exitcode(status)
            _send(out, {"event": "ended", "task": task, "code": code})
            yield task


def _obey(command: dict[str, Any], children: dict[int, int], out: int) -> None:
    task = int(command["task"])
    if command["do"] == "kill":
        if task in children:
            _kill(children[task])
        return
    if command["do"] == "call":
        # The child raises what is wrong with it.
        with contextlib.suppress(Exception):
            _import_for(str(command["about"]))
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        _work(command, out, server)
    children[task] = pid
    _send(out, {"event": "started", "task": task, "process": pid})


def _import_for(function: str) -> None:
    """Import what a call needs, so that the children of further calls need not."""
    for name in (function.partition(":")[0], *(_DRAWING if "reporting" in function else ())):
        import_module(name)


def _work(command: dict[str, Any], out: int, server: int) -> NoReturn:
    code = 1
    try:
        end_with(server)
        log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _do(command, out)
        code = 0
    except BaseException as error:  # noqa: BLE001 - the parent reports it with its reason
        with contextlib.suppress(BaseException):
            _report_failure(Path(command["log"]), error)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _do(command: dict[str, Any], out: int) -> None:
    if command["do"] == "call":
        with threadpool_limits(1):
            answer_call(command)
        return
    task = int(command["task"])
    perform(command, lambda step: _send(out, {"event": "step", "task": task, **step}))


def _report_failure(log: Path, error: BaseException) -> None:
    traceback.print_exc()
    sys.stderr.flush()
    name = type(error).__name__
    text = " ".join(str(error).split())[:700] or name
    kind = getattr(error, "kind", "")
    log.with_suffix(".error").write_text(
        json.dumps({"name": name, "kind": kind, "text": text}), encoding="utf-8"
    )


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _send(out: int, message: dict[str, Any]) -> None:
    # Lines below PIPE_BUF are written whole, even with other writers.
    with contextlib.suppress(BrokenPipeError):
        os.write(out, (json.dumps(message)[:4_000] + "\n").encode())
