"""A real PostgreSQL server for one test session: its own folder and port, stopped by its pid."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

_USER = "keepfit"
_PATIENCE = 900.0


@dataclass(frozen=True)
class Server:
    """A running server and how to reach it."""

    host: str
    port: int
    password: str

    def url(self, database: str = "postgres", password: str | None = None) -> str:
        """Return a SQLAlchemy URL."""
        secret = self.password if password is None else password
        return f"postgresql+psycopg://{_USER}:{secret}@{self.host}:{self.port}/{database}"


def programs() -> Path | None:
    """Return the folder of the newest server's programs; None where there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3])
    )
    if found:
        return found[-1].parent
    onpath = shutil.which("initdb")
    return None if onpath is None else Path(onpath).resolve().parent


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """Start a server of its own; skip with the reason where it can't be had."""
    with running_server() as server:
        yield server


@contextmanager
def running_server(host: str = "127.0.0.1", network: str = "") -> Iterator[Server]:
    """Run a server; raise pytest's exception of skipped tests where it can't be had.

    Parameters
    ----------
    network
        From where others may log in, besides this machine.
    """
    folder = programs()
    if folder is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    root = os.geteuid() == 0
    if root and (shutil.which("runuser") is None or not _known("postgres")):
        pytest.skip("PostgreSQL does not run as root, and there is no user `postgres`")
    # Not in TMPDIR: keepfit's is a folder that the server's account cannot enter.
    home = Path(tempfile.mkdtemp(prefix="keepfit-pg-", dir="/tmp"))
    try:
        if root:
            shutil.chown(home, "postgres")
        runs_as = ["runuser", "-u", "postgres", "--"] if root else []
        yield from _running(
            folder, home, runs_as, Server(host, free_port(), secrets.token_hex(12)), network
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _known(user: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _running(
    folder: Path, home: Path, prefix: list[str], server: Server, network: str
) -> Iterator[Server]:
    secret = home / "secret"
    secret.write_text(server.password)
    secret.chmod(0o644)  # the folder is the owner's alone
    data = home / "data"
    _call([*prefix, str(folder / "initdb"), "-D", str(data), "-U", _USER, "-A", "scram-sha-256",
           f"--pwfile={secret}", "--no-sync", "-E", "UTF8", "--locale=C"])  # fmt: skip
    if network:
        with (data / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {network} scram-sha-256\n")
    # It runs apart from this process: tests end whatever they find below themselves.
    options = f"-p {server.port} -h {server.host} -k {home} -F -c max_connections=60"
    program = [*prefix, str(folder / "pg_ctl"), "-D", str(data)]
    _call([*program, "-l", str(home / "log"), "-o", options, "-w", "-t", "300", "start"])
    try:
        yield server
    finally:
        subprocess.run([*program, "-m", "fast", "-w", "-t", "60", "stop"], check=False, cwd="/",
                       capture_output=True)  # fmt: skip


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, cwd="/")
    if done.returncode:
        pytest.skip(f"PostgreSQL can't be set up here: {done.stderr.strip()[-300:]}")
