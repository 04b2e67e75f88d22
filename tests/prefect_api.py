"""One Prefect API for many commands of a test, and databases that need no migration."""

from __future__ import annotations

import fcntl
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import metadata
from pathlib import Path

import pytest

from flows.orchestrator import start_server, use_api

_KEPT = Path(__file__).parents[1] / ".pytest_cache" / "keepfit"


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
            with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
                patch.setenv("PREFECT_HOME", folder)
                server = start_server(Path(folder))
                server.wait()
                server.stop()
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
    with pytest.MonkeyPatch.context() as patch:
        migrated(home)
        patch.setenv("PREFECT_HOME", str(home))
        server = start_server(home)
        server.wait()
        patch.delenv("PREFECT_HOME")
        use_api(server.url)
        try:
            yield server.url
        finally:
            use_api(None)
            server.stop()
