"""One running Prefect API for the flows' tests; a test that wants none unsets its address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.orchestrator import start_server


@pytest.fixture(scope="session", autouse=True)
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a Prefect API, which every command of these tests then uses."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("prefect")
        patch.setenv("PREFECT_HOME", str(home))
        server = start_server(home)
        server.wait()
        patch.setenv("PREFECT_API_URL", server.url)
        patch.delenv("PREFECT_HOME")
        yield server.url
        server.stop()
