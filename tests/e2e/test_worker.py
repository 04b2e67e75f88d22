"""A worker that knows nothing of keepfit runs what `keepfit deploy` brought onto its pool."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.api import connected, deployment_named, speaking_to
from tasks.base.environment import turn_telemetry_off
from tasks.base.pipeline_file import load_pipeline
from tasks.ledger.ledger import ledger_of
from tasks.registry.store import Store
from tests.e2e.test_deployments import PrefectServer, eventually
from tests.program import keepfit
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
_POOL = "workers"


def environment(api: str, home: Path) -> dict[str, str]:
    dropped = ("MLFLOW_TRACKING_URI", "KEEPFIT_STATE", "PYTHONPATH")
    environ = {name: value for name, value in os.environ.items() if name not in dropped}
    environ |= {"PREFECT_API_URL": api, "PREFECT_HOME": str(home)}
    turn_telemetry_off(environ)
    return environ


@contextmanager
def worker(api: str, folder: Path) -> Iterator[None]:
    """Run Prefect's own worker on a process pool, from a folder that is not the project's."""
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", _POOL],
            cwd=folder, env=environment(api, folder), stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


def test_a_worker_runs_the_training_from_a_process_pool(tmp_path: Path) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    file = write_pipeline(tmp_path / "project", write_churn(tmp_path / "rows.csv", rows=300), FAST)
    server = PrefectServer(folder, port)
    try:
        subprocess.run(
            [sys.executable, "-m", "prefect", "work-pool", "create", _POOL, "--type", "process"],
            env=environment(server.api, folder), check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        made = keepfit("deploy", file, "--pool", _POOL, "--json", PREFECT_API_URL=server.api)
        assert made.status == 0, made.err
        with worker(server.api, folder), speaking_to(server.api), connected() as client:
            deployment = deployment_named(client, "training/churn")
            run = client.create_flow_run_from_deployment(deployment.id)

            def ended() -> Any:
                state = client.read_flow_run(run.id).state
                return state if state is not None and state.is_final() else None

            state = eventually(ended, 600)
        said = (folder / "worker.log").read_text("utf-8", "replace")[-3000:]
        assert state.name == "Completed", said
    finally:
        server.stop()
    plan = load_pipeline(file)
    champion = Store.open(plan.state).champion("churn")
    assert champion is not None
    assert [d.version for d in ledger_of(plan).decisions(kinds=("promoted",))] == ["1"]
    assert not (folder / ".keepfit").exists(), "the state is the project's, wherever it runs"
