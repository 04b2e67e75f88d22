"""What every test runs under: no telemetry, no connection off this machine, no silent skip."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tasks.base.runtime.environment import turn_telemetry_off

turn_telemetry_off()
# A test whose server Prefect does not find fails at once: Prefect would start another in silence.
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
# How long an example takes says nothing on a busy machine.
settings.register_profile("keepfit", deadline=None)
settings.load_profile("keepfit")
for variable in (
    "PREFECT_API_URL", "MLFLOW_TRACKING_URI", "KEEPFIT_STATE", "KEEPFIT_TRUSTED_KEYS",
):  # fmt: skip
    os.environ.pop(variable, None)
# Versions of tests are signed by a key of theirs, which programs that tests start share.
os.environ["KEEPFIT_SIGNING_KEY"] = "5" * 64

# A package of the environment may be named `tests` too; programs that tests start find these.
_ROOT = str(Path(__file__).parents[1])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))

# A `sitecustomize` is run by its name; one that the Python itself brings is not the same module.
collect_ignore = ["benchmarks", "e2e/guarded"]

_connect = socket.socket.connect


def _loopback_only(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        host = str(address[0])
        if host not in {"localhost", "::1"} and not host.startswith("127."):
            raise AssertionError(f"a test connected to {host}; nothing leaves this machine")
    _connect(self, address)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(socket.socket, "connect", _loopback_only)
    return


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turn a skip into a failure where the gate has installed what the test needs."""
    outcome = yield
    result = outcome.get_result()  # type: ignore[attr-defined]
    if result.skipped and os.environ.get("KEEPFIT_NO_SKIP") and not hasattr(result, "wasxfail"):
        result.outcome = "failed"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a right that no package brings: to mount a file system."""
    if not any(item.get_closest_marker("mount") for item in items):
        return
    from tests.e2e.faults import may_mount

    if may_mount():
        return
    left = [item for item in items if item.get_closest_marker("mount")]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]
