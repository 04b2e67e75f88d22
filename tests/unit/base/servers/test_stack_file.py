"""How other commands find a running stack, and which pages they name."""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.base.known_pipelines import known_pipelines, remember_pipeline
from tasks.base.monitoring_records import own_run_id
from tasks.base.pipeline_file import load_pipeline
from tasks.base.servers.stack_file import (
    LOCK,
    RunningStack,
    mlflow_run_page,
    prediction_token,
    prefect_run_page,
    program_credentials,
    renew_program_credentials,
    running_stack,
    stack_key,
    write_stack,
)
from tests.tables import write_pipeline

STACK = RunningStack(
    pid=1, prefect_api="http://127.0.0.1:4200/api", prefect="http://127.0.0.1:4200",
    mlflow="http://127.0.0.1:5000", page="http://127.0.0.1:4280", started=datetime.now(UTC),
)  # fmt: skip


def test_a_stack_runs_while_its_lock_is_held(tmp_path: Path) -> None:
    write_stack(tmp_path, STACK)
    with (tmp_path / LOCK).open("w") as lock:
        assert running_stack(tmp_path) is None
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert running_stack(tmp_path) == STACK
        user, _, key = program_credentials(tmp_path).partition(":")
        found = running_stack(tmp_path)
        assert found is not None
        assert found.environment["PREFECT_API_AUTH_STRING"] == f"{user}:{key}"
        assert found.environment["MLFLOW_TRACKING_PASSWORD"] == key
        assert key not in f"{found!r}{found.model_dump_json()}"
        assert prefect_run_page(tmp_path, "abc") == "http://127.0.0.1:4200/runs/flow-run/abc"
        page = mlflow_run_page(tmp_path, "7", "r")
        assert page == "http://127.0.0.1:5000/#/experiments/7/runs/r?workflowType=machine_learning"
    assert running_stack(tmp_path) is None


def test_the_secret_of_programs_is_new_at_each_start_and_of_nothing_else(tmp_path: Path) -> None:
    before = (stack_key(tmp_path), program_credentials(tmp_path), prediction_token(tmp_path))
    assert len(set(before)) == 3
    assert program_credentials(tmp_path) == before[1]

    renew_program_credentials(tmp_path)

    after = (stack_key(tmp_path), program_credentials(tmp_path), prediction_token(tmp_path))
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]


def test_a_running_stack_of_an_earlier_version_has_its_key_as_password(tmp_path: Path) -> None:
    write_stack(tmp_path, STACK)
    key = stack_key(tmp_path)
    with (tmp_path / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = running_stack(tmp_path)
    assert found is not None
    assert found.credentials == f"keepfit:{key}"


def test_predictions_of_a_stack_require_their_token() -> None:
    keyed = STACK.model_copy(update={"credentials": "keepfit:k", "token": "t"})

    assert "KEEPFIT_SERVE_TOKEN" not in keyed.environment
    serving = keyed.model_copy(update={"predictions": "http://127.0.0.1:4290"})
    assert serving.environment["KEEPFIT_SERVE_TOKEN"] == "t"


def test_without_a_stack_the_environment_names_the_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4300/api/")
    assert prefect_run_page(tmp_path, "abc") == "http://127.0.0.1:4300/runs/flow-run/abc"
    assert prefect_run_page(tmp_path, own_run_id()) is None, "Prefect never had it"
    monkeypatch.delenv("PREFECT_API_URL")
    assert prefect_run_page(tmp_path, "abc") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x.db")
    assert mlflow_run_page(tmp_path, "7", "r") is None


def test_pipelines_of_a_state_folder_are_known_while_their_files_stand(tmp_path: Path) -> None:
    pipeline = load_pipeline(write_pipeline(tmp_path, tmp_path / "rows.csv"))
    assert known_pipelines(pipeline.state) == ()
    remember_pipeline(pipeline)
    assert [p.config.name for p in known_pipelines(pipeline.state)] == ["churn"]
    pipeline.path.write_text("name: [broken\n")
    assert known_pipelines(pipeline.state) == ()
