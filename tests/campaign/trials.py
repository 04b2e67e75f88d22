"""Commands of keepfit forked from a process that has imported everything, and how they are killed.

A fresh process imports for seconds; a forked one begins at once. Processes that keepfit starts of
itself (its workers, its checker) are forked as well, where it would start an interpreter. The
process that forks adopts what a killed command leaves behind, so that strays are seen.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import inspect
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_UNSET = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "KEEPFIT_STATE", "KEEPFIT_CHECKER")
KEY = "5" * 64
"""Seed of the Ed25519 key that versions of the campaign are signed by."""
HANGS = 300.0
"""Seconds after which a command that has not ended counts as hung."""
GROUP, MAIN, CHILD = "group", "main", "child"
NURSERY = "nursery"
"""Name of a process of the harness that forks others."""
_HELPER: list[str] = []
"""What this process is for, where a command of keepfit started it."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative: the signal), and what it wrote."""

    status: int
    out: str
    err: str
    seconds: float


def prepare() -> None:
    """Make this process one that trials can be forked from; call once, first of all."""
    for name in _ONE_THREAD:
        os.environ[name] = "1"
    for name in _UNSET:
        os.environ.pop(name, None)
    os.environ["KEEPFIT_SIGNING_KEY"] = KEY
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for name in (
        "tasks.base.runtime.environment", "flows.cli", "tasks.contracts.checker_process",
        "tasks.models.execution.fork_server",
    ):  # fmt: skip
        importlib.import_module(name)
    sys.modules["tasks.base.runtime.environment"].turn_telemetry_off()
    sys.modules["tasks.models.execution.fork_server"]._preload()
    importlib.import_module("expectations.check")
    importlib.import_module("expectations.suite").warm_up()
    _draw_small(importlib.import_module("matplotlib.figure").Figure)


def _draw_small(figure: Any) -> None:
    """Let figures have few dots: that they are written matters here, not what they show."""
    save = figure.savefig
    figure.savefig = lambda self, *args, **options: save(self, *args, **{**options, "dpi": 5})


class Going:
    """A command that was forked and goes on.

    Parameters
    ----------
    arguments
        As after `keepfit`.
    folder
        Working folder; output goes to files beside it, temporary files to ``tmp`` in it.
    before
        Called in the forked process, before the command.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, before: Callable[[], None] | None = None
    ) -> None:
        self._out, self._err = folder / ".out", folder / ".err"
        self._began = time.monotonic()
        gc.freeze()  # what is here already is looked through in no trial, and so not copied
        self.pid = os.fork()
        if self.pid == 0:
            self._become(arguments, folder, before)

    def _become(
        self, arguments: Sequence[str], folder: Path, before: Callable[[], None] | None
    ) -> NoReturn:
        try:
            os.setpgid(0, 0)  # in the session of the campaign, and so with its share of the machine
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for stream, path in ((1, self._out), (2, self._err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
            os.environ["TMPDIR"] = str(folder / "tmp")
            (folder / "tmp").mkdir(exist_ok=True)
            tempfile.tempdir = None
            os.chdir(folder)
            random.seed()
            subprocess.Popen = _Forking  # type: ignore[misc]
            sys.argv = ["keepfit", *arguments]
            if before is not None:
                before()
            sys.modules["flows.cli"].program()
        except BaseException:  # noqa: BLE001 - this process must never go on as the one it is of
            traceback.print_exc()
        finally:
            os._exit(70)

    def poll(self) -> bool:
        """Return whether it still runs; it stays a zombie until `ended`."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        return False

    def below(self) -> list[psutil.Process]:
        """Return its living children, and theirs."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return alive(psutil.Process(self.pid).children(recursive=True))
        return []

    def kill(self, what: str, chance: random.Random) -> bool:
        """Send SIGKILL to the whole tree, to the command alone, or to one of its children.

        Returns whether the command itself was killed.
        """
        below = self.below()
        if what == CHILD and below:
            _kill(chance.choice(below).pid)
            return False
        _kill(self.pid)
        if what == GROUP:
            for process in below:
                _kill(process.pid)
        return True

    def ended(self, seconds: float = HANGS) -> Ended:
        """Wait for its end; a command that hangs is killed, and its status is ``-SIGALRM``."""
        deadline = time.monotonic() + seconds
        hung = False
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() > deadline and not hung:
                hung = True
                self.kill(GROUP, random.Random(0))
            time.sleep(0.005)
        code = -signal.SIGALRM if hung else os.waitstatus_to_exitcode(status)
        took = time.monotonic() - self._began
        texts = [p.read_text("utf-8", "replace") for p in (self._out, self._err)]
        return Ended(code, texts[0], texts[1], took)


def helper() -> str:
    """Return what this process does for the command that started it; empty in the command."""
    return "".join(_HELPER)


def run(arguments: Sequence[str], folder: Path) -> Ended:
    """Run a command of keepfit to its end."""
    return Going(arguments, folder).ended()


def learn(arguments: Sequence[str], folder: Path) -> Ended:
    """Run a command and import what it and its helpers imported, so that the next need not."""
    file = folder / ".modules"

    def noting() -> None:
        leave = os._exit

        def write(status: int) -> NoReturn:
            with file.open("a", encoding="utf-8") as out:
                out.write("\n".join([*sys.modules, ""]))
            leave(status)

        os._exit = write

    ended = Going(arguments, folder, noting).ended()
    found = file.read_text("utf-8").split() if file.exists() else []
    for name in dict.fromkeys(found):
        if name not in sys.modules and not name.startswith("__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    file.unlink(missing_ok=True)
    return ended


def strays(seconds: float = 20.0) -> list[str]:
    """Wait for what commands left behind to end; name and kill what does not."""
    deadline = time.monotonic() + seconds
    while left := _below():
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    named = titles(left)
    for process in left:
        _kill(process.pid)
    _reap()
    return named


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return those that run; a zombie does not."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _below() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [process for process in alive(children) if not is_nursery(process)]


def is_nursery(process: psutil.Process) -> bool:
    """Return whether a process is none of keepfit's."""
    with contextlib.suppress(psutil.Error):
        return bool(process.name() == NURSERY)
    return False


def titles(processes: Sequence[psutil.Process]) -> list[str]:
    """Return number and command line of those that run."""
    return [f"{process.pid} {_title(process)}" for process in alive(processes)]


def _reap() -> None:
    """Take note of the ends of adopted processes."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.name()}: {' '.join(process.cmdline())[-80:]}"
    return "?"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


_Stock = subprocess.Popen
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


class _Forking(_Stock):  # type: ignore[type-arg]
    """Starts an interpreter with a module of keepfit by forking; all else as it always is."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        work = work_of(args)
        if work is None:
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        sys.audit("subprocess.Popen", args[0], list(args), None, None)
        given = inspect.signature(_Stock._execute_child).bind(self, args, *rest).arguments  # type: ignore[attr-defined]
        pipes = [given[n] for n in _PIPES]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for stream, end in enumerate((pipes[0], pipes[3], pipes[5])):
                    if end != -1:
                        os.dup2(end, stream)
                if given["start_new_session"]:
                    os.setsid()
                close_all_but({0, 1, 2, *given["pass_fds"]}, pipes)
                _HELPER.append("worker" if "fork_server" in args[3] else args[5].split(".")[-1])
                start_anew(given["env"])
                work()
                os._exit(0)
            except BaseException:  # noqa: BLE001 - as above
                traceback.print_exc()
            finally:
                os._exit(1)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def close_all_but(kept: set[int], pipes: Sequence[int]) -> None:
    """Close what a started interpreter would not have.

    A library's pipe to itself stays, such as Arrow's, which ends a process that finds it closed.
    """
    open_ = {}
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            open_[int(one.name)] = str(one.readlink())
    ends = Counter(target for number, target in open_.items() if number not in pipes)
    for number, target in open_.items():
        own = target.startswith("pipe:") and ends[target] > 1 and number not in pipes
        if number not in kept and not own:
            with contextlib.suppress(OSError):
                os.close(number)


def start_anew(env: dict[str, str] | None) -> None:
    """Let a forked process look as one that was just started."""
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))
    threading.current_thread().name = "MainThread"
    tempfile.tempdir = None


def work_of(args: Any) -> Callable[[], Any] | None:
    """Return what a command of keepfit's own does once its interpreter runs."""
    if isinstance(args, (str, bytes)) or list(args)[:3] != [sys.executable, "-P", "-c"]:
        return None
    code, rest = args[3], list(args[4:])
    if "fork_server import main" in code:
        sys.modules["tasks.models.execution.fork_server"]._preload = lambda: None
        return sys.modules["tasks.models.execution.fork_server"].main
    if "run_module" not in code or rest[1].startswith("deploy."):
        return None

    def module() -> None:
        sys.argv = rest[1:]
        sys.modules.pop(rest[1], None)
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)

    return module
