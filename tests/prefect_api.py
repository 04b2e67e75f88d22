"""One Prefect API for many commands of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.orchestrator import start_server


@contextmanager
def prefect_api_in(home: Path) -> Iterator[str]:
    """Yield the address of a Prefect API kept in `home`, which commands started meanwhile use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        server = start_server(home)
        server.wait()
        patch.setenv("PREFECT_API_URL", server.url)
        patch.delenv("PREFECT_HOME")
        yield server.url
        server.stop()
