"""A stack as a person runs it: in a process of its own, asked by its addresses."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psutil

from tasks.base.runtime.running_flows import runner_of
from tasks.base.servers.stack_file import RunningStack, running_stack

ROOT = Path(__file__).parents[2]
_UP = (
    "import sys; from pathlib import Path; from deploy.stack.stack import up; "
    "from tasks.base.errors import KeepfitError\n"
    "def out(line): sys.stdout.write(line + '\\n'); sys.stdout.flush()\n"
    "try: status = up([Path(p) for p in sys.argv[1:]], out=out, **{ports})\n"
    "except KeepfitError as error: sys.stderr.write(f'{error}\\n'); status = error.exit_status\n"
    "sys.exit(status)"
)
ANY = {"prefect_port": 0, "mlflow_port": 0, "page_port": 0}
PATIENCE = 900.0
"""Seconds until a test gives up what it waits for: none is too few on a machine that is busy."""


class Stack:
    """A started stack; its output lies in `out` and `err` of `folder`."""

    def __init__(
        self,
        folder: Path,
        ports: dict[str, int] | None = None,
        files: Sequence[Path] = (),
        **environ: str,
    ) -> None:
        self.folder = folder
        self.state = folder / ".keepfit"
        number = len(list(folder.glob("*.out")))
        self._out, self._err = folder / f"{number}.out", folder / f"{number}.err"
        code = _UP.replace("{ports}", repr(ANY if ports is None else ports))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, files or [folder])],
                env={**os.environ, "PYTHONPATH": str(ROOT), **environ}, stdout=out, stderr=err,
            )  # fmt: skip

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    @property
    def addresses(self) -> RunningStack:
        found = running_stack(self.state)
        assert found is not None, self.err
        return found

    @property
    def login(self) -> tuple[str, str]:
        """User and password that its servers ask for."""
        user, _, password = self.addresses.credentials.partition(":")
        return user, password

    def wait_up(self) -> None:
        until(lambda: "Ctrl-C" in self.out or self.process.poll() is not None)
        assert "Ctrl-C" in self.out, self.err

    def tree(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def part(self, words: str) -> psutil.Process:
        return next(p for p in self.tree() if words in " ".join(_command(p)))

    def engine(self, run: object) -> psutil.Process:
        """Return the process of a flow run that has begun, as soon as it has named itself."""
        named = until(lambda: runner_of(self.state, str(run)), every=0.1)
        return psutil.Process(int(named.split("-")[2]))

    def started(self, run: object) -> psutil.Process | None:
        """Return the process of a flow run as soon as Prefect has started it, before it imports."""
        engines = (p for p in self.tree() if _command(p)[1:] == ["-m", "prefect.engine"])
        ours = (p for p in engines if p.environ().get("PREFECT__FLOW_RUN_ID") == str(run))
        return next(ours, None)

    def end(self, number: signal.Signals) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    @contextmanager
    def client(self) -> Iterator[Any]:
        from prefect.client.orchestration import get_client
        from prefect.settings import (
            PREFECT_API_AUTH_STRING,
            PREFECT_API_URL,
            temporary_settings,
        )

        with (
            temporary_settings(
                {
                    PREFECT_API_URL: self.addresses.prefect_api,
                    PREFECT_API_AUTH_STRING: self.addresses.credentials,
                }
            ),
            get_client(httpx_settings={"verify": _tls()}, sync_client=True) as client,
        ):
            yield client


@cache
def _tls() -> ssl.SSLContext:
    """Read the certificates of the machine once, not for every question to a server."""
    return ssl.create_default_context()


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@contextmanager
def running(folder: Path, files: Sequence[Path] = (), **environ: str) -> Iterator[Stack]:
    """Yield a stack that is up; afterwards nothing of it is left, whatever happened."""
    stack = Stack(folder, files=files, **environ)
    try:
        stack.wait_up()
        yield stack
    finally:
        left = [psutil.Process(stack.process.pid), *stack.tree()] if alive(stack) else []
        for process in left:
            if process.is_running():
                process.kill()
        stack.process.wait()


def alive(stack: Stack) -> bool:
    return stack.process.poll() is None


def until(holds: Callable[[], Any], seconds: float = PATIENCE, *, every: float = 0.7) -> Any:
    """Return what `holds` says as soon as it is true, asked `every` so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        if found := holds():
            return found
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(every)


def get(url: str, **options: Any) -> httpx.Response:
    """Ask a server that may be busy with other things."""
    return httpx.get(url, **{"timeout": PATIENCE, **options})


def post(url: str, **options: Any) -> httpx.Response:
    return httpx.post(url, **{"timeout": PATIENCE, **options})


def gone(processes: list[psutil.Process], seconds: float = 60) -> bool:
    """Return whether all processes end within `seconds`."""

    def ended() -> bool:
        return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)

    try:
        return bool(until(ended, seconds))
    except AssertionError:
        return False
