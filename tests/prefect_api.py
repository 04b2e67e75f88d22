"""One Prefect API for many commands of a test, and databases that need no migration."""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import metadata
from pathlib import Path

from tasks.base.runtime.environment import turn_telemetry_off
from tasks.orchestration.prefect_api import answers, use_api

_KEPT = Path(__file__).parents[1] / ".pytest_cache" / "keepfit"
# Prefect's API without the loops that schedule, clean up and trigger.
_SERVE = (
    "import socket, sys, uvicorn; from prefect.server.api.server import create_app; "
    "config = uvicorn.Config(create_app(), log_level='warning', timeout_graceful_shutdown=1); "
    "uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])"
)
_SERVICES = (
    "SCHEDULER", "LATE_RUNS", "CANCELLATION_CLEANUP", "PAUSE_EXPIRATIONS", "FOREMAN", "TRIGGERS",
    "REPOSSESSOR", "CLEANUP_RECONCILER",
)  # fmt: skip
_START_SECONDS = 600.0


def migrated(home: Path) -> Path:
    """Put a new Prefect database into `home`, which is not there yet; return `home`.

    Migrations cost a server's first start more than all the rest. They are made once; a test of the
    first start itself does without this.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = _KEPT / f"prefect-{metadata.version('prefect')}.db"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            with tempfile.TemporaryDirectory() as folder:
                with _serving(Path(folder)):
                    pass
                _copied(Path(folder) / "prefect.db", kept.with_suffix(".new"))
            kept.with_suffix(".new").replace(kept)
    _copied(kept, home / "prefect.db")
    return home


def _copied(source: Path, target: Path) -> None:
    target.touch(mode=0o600)
    with closing(sqlite3.connect(source)) as before, closing(sqlite3.connect(target)) as after:
        before.backup(after)
        after.execute("PRAGMA journal_mode=WAL")


@contextmanager
def prefect_api_in(home: Path) -> Iterator[str]:
    """Yield the address of a Prefect API kept in `home`, which commands started meanwhile use."""
    with _serving(migrated(home)) as url:
        use_api(url)
        try:
            yield url
        finally:
            _drain()
            use_api(None)


def _drain() -> None:
    """Send the logs and events that Prefect still holds back in this process."""
    if "prefect.logging.handlers" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogHandler

        APILogHandler().flush()
        EventsWorker.drain_all(timeout=5)


@contextmanager
def _serving(home: Path) -> Iterator[str]:
    environ = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": ""}
    environ |= {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _SERVICES}
    turn_telemetry_off(environ)
    with socket.socket() as listener, (home / "server.log").open("wb") as log:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(listener.fileno())],
            pass_fds=(listener.fileno(),), env=environ, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not answers(url, 1.0):
            assert process.poll() is None, (home / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)
