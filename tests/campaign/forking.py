"""A stack whose processes are forked from one that has imported everything.

Started as a person starts it, a stack imports for most of 30 s of processor time, and its runs for
20 s more. Here `keepfit up`, its parts and its flow runs are forked where an interpreter would be
started. A process that has threads must not fork what goes on: each that
starts others keeps a *nursery*, a process without threads that was forked before there were any,
and the nursery's forks become its parent's children.
"""

from __future__ import annotations

import atexit
import contextvars
import ctypes
import fcntl
import gc
import importlib
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from tests.campaign import trials

_CLONE, _CLONE_PARENT = 56, 0x8000
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_MOST_BYTES, _MOST_FDS = 1 << 20, 64
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_IMPORTED = (
    "deploy.stack.supervisor", "deploy.stack.server_processes", "deploy.stack.checker",
    "deploy.runner.runner", "deploy.web.page", "prefect.server.api.server", "prefect.runner",
    "prefect.engine", "prefect.flow_engine", "mlflow.server.fastapi_app", "mlflow.tracking",
    "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store",
    "flows.training", "flows.scoring", "flows.monitoring", "aiosqlite",
)  # fmt: skip
# What reads its configuration from the environment as it is imported.
_ANEW = ("mlflow.server", "mlflow.server.security", "mlflow.server.fastapi_app",
         "mlflow.server.fastapi_security")  # fmt: skip
_STARTING = ("up", "deploy.runner.runner", "prefect.engine")
"""What starts processes itself."""
_Stock = subprocess.Popen


@contextmanager
def forked() -> Iterator[None]:
    """Let what is started meanwhile be forked."""
    for name in _IMPORTED:
        importlib.import_module(name)
    for name in _ANEW:
        sys.modules.pop(name, None)
    gc.collect()
    gc.freeze()
    subprocess.Popen = _Forked  # type: ignore[misc]
    _Nursery.own = _Nursery()
    try:
        yield
    finally:
        subprocess.Popen = _Stock  # type: ignore[misc]
        _Nursery.own.end()


class _Nursery:
    """The process that forks for this one."""

    own: _Nursery

    def __init__(self) -> None:
        parent = os.getpid()
        self._lock = threading.Lock()
        self._way, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for one in (self._way, end):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_BYTES)
        self.pid = os.fork()
        if self.pid:
            end.close()
            return
        try:
            libc = ctypes.CDLL(None)
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            libc.prctl(_PR_SET_NAME, trials.NURSERY.encode())
            if os.getppid() == parent:
                trials.close_all_but({0, 1, 2, end.fileno()}, ())
                _serve(end)
        finally:
            os._exit(0)

    def fork(self, request: dict[str, Any], descriptors: Sequence[int]) -> int:
        """Return the number of a new child of this process."""
        with self._lock:
            socket.send_fds(self._way, [json.dumps(request).encode()], descriptors)
            return int(self._way.recv(64))

    def end(self) -> None:
        """End it."""
        self._way.close()
        os.waitpid(self.pid, 0)


def _serve(end: socket.socket) -> None:
    libc = ctypes.PyDLL(None)  # with the interpreter's lock held
    while True:
        data, received, _, _ = socket.recv_fds(end, _MOST_BYTES, _MOST_FDS)
        if not data:
            return
        pid = libc.syscall(_CLONE, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            ctypes.pythonapi.PyOS_AfterFork_Child()
            end.close()
            _become(json.loads(data), received)
        for one in received:
            os.close(one)
        end.send(str(pid).encode())


def _become(request: dict[str, Any], received: Sequence[int]) -> NoReturn:
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, request["title"][-15:].encode())
        # Numbers that were asked for may be among those that were received.
        high = [fcntl.fcntl(one, fcntl.F_DUPFD, 500) for one in received]
        for number, one in zip(request["numbers"], high, strict=True):
            os.dup2(one, number, inheritable=True)
        trials.close_all_but({0, 1, 2, *request["numbers"]}, ())
        if request["session"]:
            os.setsid()
        os.chdir(request["cwd"])
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, request["mask"])
        trials.start_anew(request["env"])
        if request["parent"]:
            sys.modules["tasks.base.runtime.environment"].end_with(request["parent"])
        sys.modules["prefect.context"].refresh_global_settings_context()
        atexit._clear()
        if request["title"] in _STARTING:
            _Nursery.own = _Nursery()
            _keep_nursery(_Nursery.own.pid)
        else:
            subprocess.Popen = _Stock  # type: ignore[misc]
        work = _work_of(request["args"])
        assert work is not None
        contextvars.Context().run(work[1])
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        status = 130
    except BaseException:  # noqa: BLE001 - this process must never go on as its nursery
        traceback.print_exc()
    finally:
        # As an interpreter ends.
        with suppress(Exception):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _keep_nursery(pid: int) -> None:
    """Let a stack not take its nursery for what an ended part left."""
    supervisor = sys.modules["deploy.stack.supervisor"]
    end_orphans = sys.modules["deploy.child_processes"].end_orphans
    supervisor.end_orphans = lambda own: end_orphans({*own, pid})


class _Forked(_Stock):  # type: ignore[type-arg]
    """Forks where an interpreter would be started with a module of keepfit or of Prefect."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        words = [] if isinstance(args, (str, bytes)) else [os.fsdecode(word) for word in args]
        parent = 0
        if words[1:4] == ["-P", "-S", "-c"] and "execvp" in words[4]:
            parent, words = int(words[5]), words[6:]
        work = _work_of(words)
        if work is None:
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        sys.audit("subprocess.Popen", words[0], words, None, None)
        given = inspect.signature(_Stock._execute_child).bind(self, args, *rest).arguments  # type: ignore[attr-defined]
        pipes = [given[n] for n in _PIPES]
        streams = {n: pipes[end] for n, end in enumerate((0, 3, 5)) if pipes[end] != -1}
        passed = {**{n: n for n in given["pass_fds"]}, **{n: n for n in (0, 1, 2)}, **streams}
        env = given["env"]
        request = {
            "args": words, "parent": parent, "title": work[0],
            "env": dict(os.environ if env is None else env),
            "cwd": os.fspath(given["cwd"] or Path.cwd()),
            "session": given["start_new_session"], "numbers": list(passed),
            "mask": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        }  # fmt: skip
        self.pid = _Nursery.own.fork(request, list(passed.values()))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def _work_of(words: Sequence[str]) -> tuple[str, Callable[[], Any]] | None:
    """Return name and work of an interpreter that is to be started; None of anything else."""
    if words[:1] != [sys.executable]:
        return None
    if words[1:3] == ["-m", "prefect.engine"]:
        return "prefect.engine", lambda: _run("prefect.engine", words[2:3])
    if words[1:2] == ["-c"] and "deploy.stack.stack" in words[2]:
        return "up", lambda: _execute(words[2], words[3:])
    work = trials.work_of(words)
    if work is not None:
        return ("worker" if "fork_server" in words[3] else words[5]), work
    if words[1:3] == ["-P", "-c"] and "run_module" in words[3]:
        return words[5], lambda: _run(words[5], words[5:])
    return None


def _run(module: str, arguments: Sequence[str]) -> None:
    sys.argv = list(arguments)
    sys.modules.pop(module, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _execute(code: str, arguments: Sequence[str]) -> None:
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})  # noqa: S102 - of the tests
