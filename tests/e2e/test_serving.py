"""Predictions over HTTP: a kill loses no answer, a new champion costs no request."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.ledger.ledger import ledger_of
from tasks.registry.mlflow.shared_stores import store_of
from tasks.serving.delivery import spool_folder
from tests.unit.registry.trained import SCHEMA, rows, train
from tests.unit.serving.served import records

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline with a champion and a second version that was verified."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "keepfit.yaml").write_text(
        "name: mine\ntarget: spät?\nsource: {kind: parquet, path: x.parquet}\ntime_column: moment\n"
    )
    pipeline = load_pipeline(tmp_path / "keepfit.yaml", {})
    store = store_of(pipeline)
    for seed in range(2):
        trained = train(tmp_path, seed)
        run_id = store.start_run(store.experiment("mine"), f"training {seed}")
        version = store.register(
            "mine", run_id=run_id, model=trained.path, sample=trained.X, schema=SCHEMA,
            predictions=trained.predicted, tags={"keepfit.schema": SCHEMA.model_dump_json()},
        )  # fmt: skip
        store.finish_run(run_id)
        store.verify(version, trained.X, trained.predicted)
    store.set_champion("mine", "1", None)
    return pipeline


class Client:
    """Sends rows one after the other and remembers what was answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answered: list[pd.DataFrame] = []
        self.versions: list[str] = []

    def ask(self, number: int) -> bool:
        """Ask for three new rows; return whether they were answered."""
        given = rows(3, seed=number)
        given["moment"] += pd.Timedelta(days=number)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            body = json.dumps({"rows": records(given.assign(**{"spät?": ""}))})
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/pipelines/mine/predict", body, headers)
            response = connection.getresponse()
            said: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if response.status != 200:
            return False
        self.answered.append(given)
        self.versions.append(said["version"])
        return True


def is_ready(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False


@contextmanager
def serving(pipeline: Pipeline, port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "serve", str(pipeline.path), "--port", str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=pipeline.base,
    )  # fmt: skip
    try:
        for _ in range(600):
            if is_ready(port):
                break
            time.sleep(0.2)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)


def test_a_kill_loses_no_answer_and_a_new_champion_no_request(pipeline: Pipeline) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    client = Client(port)

    with serving(pipeline, port) as process:
        assert all(client.ask(number) for number in range(20))
        os.kill(process.pid, signal.SIGKILL)
    with serving(pipeline, port) as process:
        assert client.ask(100)
        assert set(client.versions) == {"1"}
        store_of(pipeline).promote_by_hand("mine", "2")
        deadline, number = time.monotonic() + 60, 101
        while client.versions[-1] == "1" and time.monotonic() < deadline:
            assert client.ask(number)
            number += 1
        assert client.versions[-1] == "2"
        process.terminate()
        assert process.wait(timeout=60) == 0
    with serving(pipeline, port):
        for _ in range(300):
            if not list(spool_folder(pipeline).iterdir()):
                break
            time.sleep(0.2)

    answered = pd.concat(client.answered)
    ledger = ledger_of(pipeline)
    assert ledger.predicted_before("mine", answered, SCHEMA, None).all()
    found = ledger.window_rows("mine", None, SCHEMA)
    assert len(found) == len(answered)
    assert found["version"].value_counts().to_dict() == {
        version: 3 * client.versions.count(version) for version in ("1", "2")
    }
