"""What goes wrong on purpose: a server that is away, a database that is locked, a full disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx

from tasks.base.runtime.environment import turn_telemetry_off
from tests.e2e.stacks import PATIENCE, ROOT, until
from tests.ports import free_port
from tests.program import Ran


def say(what: str, seconds: float) -> None:
    """Tell a figure to whoever runs the test."""
    sys.stderr.write(f"{what}: {seconds:.1f}\n")


class Going:
    """A command of keepfit that is on its way."""

    def __init__(self, folder: Path, *arguments: str | Path, **environ: str) -> None:
        number = len(list(folder.glob("going-*.err")))
        self._out, self._err = folder / f"going-{number}.out", folder / f"going-{number}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", *map(str, arguments)],
                cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
                stdout=out, stderr=err,
            )  # fmt: skip

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    def reaches(self, *stages: str, seconds: float = PATIENCE) -> None:
        """Wait until one of `stages` is told on stderr."""

        def told() -> bool:
            return self.process.poll() is not None or any(f" {s} " in self.err for s in stages)

        until(told, seconds, every=0.05)
        assert self.process.poll() is None, self.err

    @contextmanager
    def halted(self, stage: str) -> Iterator[None]:
        """Let the command stand still from `stage` on, for as long as something goes wrong."""
        self.reaches(stage)
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def ended(self, seconds: float = 2 * PATIENCE) -> Ran:
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        return Ran(status, self._out.read_text("utf-8"), self.err)


class MlflowServer:
    """MLflow's own server, which can be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.uri = f"http://127.0.0.1:{free_port()}"
        self.start()

    def start(self) -> None:
        environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        turn_telemetry_off(environ)
        _, _, port = self.uri.rpartition(":")
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port,
                 "--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db",
                 "--artifacts-destination", str(self._folder / "artifacts")],
                env=environ, cwd=self._folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self._healthy)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _healthy(self) -> bool:
        assert self._process.poll() is None, (self._folder / "server.log").read_text()
        try:
            return httpx.get(f"{self.uri}/health", timeout=10).status_code == 200
        except httpx.HTTPError:
            return False

    def versions(self, name: str) -> list[str]:
        """Return the numbers of all versions of a model."""
        found = httpx.get(
            f"{self.uri}/api/2.0/mlflow/model-versions/search",
            params={"filter": f"name='{name}'"}, timeout=PATIENCE,
        ).json()  # fmt: skip
        return sorted(str(version["version"]) for version in found.get("model_versions", []))

    def runs(self, filter_string: str) -> list[dict[str, object]]:
        """Return the runs of all experiments that `filter_string` finds."""
        api = f"{self.uri}/api/2.0/mlflow"
        asked = {"max_results": 100}
        experiments = httpx.post(f"{api}/experiments/search", json=asked, timeout=PATIENCE).json()
        ids = [one["experiment_id"] for one in experiments["experiments"]]
        wanted = {**asked, "experiment_ids": ids, "filter": filter_string}
        answer = httpx.post(f"{api}/runs/search", json=wanted, timeout=PATIENCE).json()
        return list(answer.get("runs", []))


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(folder)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def locking(database: Path, seconds: float) -> Iterator[threading.Event]:
    """Keep every other writer out of a SQLite file for so long, from a thread of this process."""
    until(database.exists)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        connected = sqlite3.connect(database, timeout=PATIENCE, isolation_level=None)
        with closing(connected) as connection:
            connection.execute("BEGIN IMMEDIATE")
            held.set()
            done.wait(seconds)
            connection.execute("COMMIT")
        done.set()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(PATIENCE)
    try:
        yield done
    finally:
        done.set()
        thread.join()


def intact(database: Path) -> bool:
    """Return whether SQLite finds nothing wrong with a file."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system of so many megabytes."""
    folder.mkdir()
    options = f"size={megabytes}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        _unmount(folder)


def may_mount() -> bool:
    """Return whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        try:
            if subprocess.run(command, capture_output=True, check=False).returncode:
                return False
        except FileNotFoundError:
            return False
        _unmount(Path(folder))
        return True


def _unmount(folder: Path) -> None:
    for _ in range(50):
        if subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode:
            time.sleep(0.2)
        else:
            return
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte free on the file system of `folder`; return the file that holds them."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(b"\0" * size):
                    pass
    return filler
