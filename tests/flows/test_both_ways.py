"""The same flows with Prefect and without: one result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from tests.prefect_api import prefect_api_in
from tests.program import keepfit
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
# Identities, moments and places; everything else is a result.
_OF_ONE_RUN = {
    "mlflow_run_id", "mlflow_uri", "prefect_flow_run_id", "report", "finished", "seconds", "output",
    "fit_seconds", "latency_ms_per_1k", "key", "mlflow_pages", "page", "run_id", "correlation",
    "file", "files",
}  # fmt: skip


def results(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return what training, scoring and monitoring answered, and the predictions."""
    data = write_churn(folder / "rows.csv", rows=600)
    file = write_pipeline(folder, data, FAST, time=True)
    answers = {}
    for command in ("run", "score --all", "monitor"):
        name, *options = command.split()
        done = keepfit(name, file, *options, "--json")
        assert done.status == 0, done.err
        told = json.dumps(done.answer).replace(str(folder), "FOLDER")
        answers[name] = without_identities(json.loads(told))
        if name == "score":
            frame = pd.read_parquet(done.answer["output"])
    return answers, frame.drop(columns=[c for c in frame if c in ("run_id", "scored_at")])


def without_identities(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: without_identities(v) for k, v in value.items() if k not in _OF_ONE_RUN}
        return {k: v for k, v in kept.items() if not str(k).endswith(("_seconds", "_at"))}
    if isinstance(value, list):
        return [without_identities(one) for one in value]
    return value


def test_with_prefect_and_without_the_flows_give_one_result(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "prefect").mkdir()
    alone, predictions = results(tmp_path / "alone")
    assert not (tmp_path / "alone" / ".keepfit" / "prefect").exists()
    with prefect_api_in(tmp_path_factory.mktemp("api")) as api:
        served, served_predictions = results(tmp_path / "prefect")
        runs = runs_of(api)

    assert json.dumps(alone, indent=1) == json.dumps(served, indent=1)
    pd.testing.assert_frame_equal(predictions, served_predictions)
    assert runs["flows"] == {
        "training churn": "COMPLETED", "scoring churn": "COMPLETED", "monitoring churn": "COMPLETED"
    }  # fmt: skip
    assert {"fit candidates", "judge challenger", "score rows", "measure drift"} <= runs["tasks"]
    assert {"leaderboard-churn", "verdict-churn", "scoring-churn"} <= runs["artifacts"]
    assert not runs["heartbeats"], "they make a command by hand wait up to a second"


def runs_of(api: str) -> dict[str, Any]:
    with httpx.Client(base_url=api) as client:
        flows = client.post("/flow_runs/filter", json={}).json()
        tasks = client.post("/task_runs/filter", json={}).json()
        artifacts = client.post("/artifacts/latest/filter", json={}).json()
        beats = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}}
        heartbeats = client.post("/events/filter", json=beats).json()["events"]
    return {
        "flows": {run["name"]: run["state_type"] for run in flows},
        "tasks": {run["name"].rpartition("-")[0] for run in tasks},
        "artifacts": {one["key"] for one in artifacts},
        "heartbeats": heartbeats,
    }


def test_a_command_by_hand_imports_no_prefect_and_listens_nowhere(tmp_path: Path) -> None:
    file = write_pipeline(tmp_path, write_churn(tmp_path / "rows.csv", rows=300), FAST)
    code = (
        "import sys; from flows.commands import run_training; from pathlib import Path; "
        "run_training(Path(sys.argv[1])); print('prefect' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], cwd=ROOT, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip

    assert done.stdout.split() == ["False"], done.stderr
