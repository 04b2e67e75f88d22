"""The Prefect API that a command talks to: the one that runs, or one brought along.

A server brought along listens on loopback, keeps its database in the state folder, and dies with
the process that started it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tasks.base.errors import InfrastructureError
from tasks.base.runtime.environment import module_command
from tasks.base.servers.stack_file import prefect_login

# A server that ended is noticed at once; one that lives may be on a machine that is very busy.
_START_SECONDS = 300.0
_PR_SET_PDEATHSIG = 1


def configured_api(environ: dict[str, str] | None = None) -> str | None:
    """Return the Prefect API that the environment or the active Prefect profile names."""
    variables = dict(os.environ) if environ is None else environ
    if variables.get("PREFECT_API_URL"):
        return variables["PREFECT_API_URL"]
    home = Path(variables.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = Path(variables.get("PREFECT_PROFILES_PATH", str(home / "profiles.toml")))
    try:
        content = tomllib.loads(profiles.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return None
    active = variables.get("PREFECT_PROFILE") or content.get("active", "")
    url = content.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    return str(url) if url else None


@dataclass
class Server:
    """A Prefect server on its way up, supervised by this process."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    lock: IO[str]
    started: float = field(default_factory=time.monotonic)

    def wait(self) -> None:
        """Return once the API answers.

        Raises
        ------
        InfrastructureError
            When the server ends, or does not answer in time, with the end of its log.
        """
        while not _healthy(self.url, 1.0):
            if self.process.poll() is not None:
                raise self._failure(f"ended with status {self.process.returncode}")
            if time.monotonic() - self.started > _START_SECONDS:
                raise self._failure(f"did not answer within {_START_SECONDS:.0f} s")
            time.sleep(0.05)
        self.lock.close()

    def stop(self) -> None:
        """Let what waits for the server be sent, then end it."""
        self.lock.close()
        _drain()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _failure(self, what: str) -> InfrastructureError:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = lines[-1][:300] if lines else "it wrote nothing"
        return InfrastructureError(
            f"The Prefect server that keepfit started {what}: {last}",
            f"Its log: {self.log}. To use a server of your own, set PREFECT_API_URL.",
        )


def start_server(state: Path) -> Server:
    """Start a Prefect server for this process and return at once; `wait` before using it."""
    home = Path(os.environ.get("PREFECT_HOME", state / "prefect"))
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = (home / "start.lock").open("w")
    # The first start migrates the database: two at once would collide.
    fcntl.flock(lock, fcntl.LOCK_EX)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.set_inheritable(True)
    port = listener.getsockname()[1]
    log = home / "server.log"
    environ = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_UI_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_API_URL": "",
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        **_SERVICES_OFF,
    }
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            module_command("flows.orchestrator", str(listener.fileno()), str(os.getpid())),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=environ,
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )
    listener.close()
    return Server(f"http://127.0.0.1:{port}/api", process, log, lock)


# One flow run needs none of the loops that schedule, clean up and trigger.
_SERVICES_OFF = {
    f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false"
    for name in (
        "SCHEDULER", "LATE_RUNS", "CANCELLATION_CLEANUP", "PAUSE_EXPIRATIONS", "FOREMAN",
        "TRIGGERS", "REPOSSESSOR", "CLEANUP_RECONCILER",
    )
}  # fmt: skip


def use_api(url: str | None, credentials: str = "") -> None:
    """Let Prefect talk to the API at `url` from now on; to none where it is None.

    `credentials` are ``user:password``; empty: as the environment states them.

    Prefect reads its environment when it is imported: where that was earlier, it reads it anew.
    """
    if url is None:
        os.environ.pop("PREFECT_API_URL", None)
    else:
        os.environ["PREFECT_API_URL"] = url
    if credentials:
        os.environ.update(prefect_login(credentials))
    if imported := sys.modules.get("prefect.context"):
        imported.refresh_global_settings_context()


def check_configured(url: str) -> None:
    """Raise when the API that the environment names does not answer."""
    if not _healthy(url, 5.0):
        raise InfrastructureError(
            f"The Prefect API at {url} does not answer.",
            "Start it, or unset PREFECT_API_URL (and the Prefect profile's) and keepfit brings "
            "its own.",
        )


def _healthy(url: str, timeout: float) -> bool:
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/health")  # noqa: S310 - http(s) only
        if request.type not in {"http", "https"}:
            return False
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in {401, 403}
    except (OSError, ValueError):
        return False


def _drain() -> None:
    """Send the logs and events that Prefect still holds back."""
    if "prefect.logging.handlers" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    EventsWorker.drain_all(timeout=5)


def _serve(descriptor: int, parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    import uvicorn
    from prefect.server.api.server import create_app

    listener = socket.socket(fileno=descriptor)
    config = uvicorn.Config(create_app(), log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
