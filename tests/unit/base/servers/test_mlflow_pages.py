from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tasks.base.servers.mlflow_pages import pages_of

RUNS = ["a" * 32, "b" * 32]


def test_candidates_are_compared_on_the_server_that_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example/")

    pages = pages_of(tmp_path, "https://mlflow.example/", "7", "c" * 32, RUNS)

    assert pages.compare.startswith("https://mlflow.example/#/compare-runs?")
    asked = parse_qs(pages.compare.partition("?")[2])
    assert json.loads(asked["runs"][0]) == RUNS
    assert json.loads(asked["experiments"][0]) == ["7"]
    assert asked["workflowType"] == ["machine_learning"]
    assert "secret" not in pages.model_dump_json()
    assert pages.server == ""


def test_without_a_server_the_command_that_starts_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    pages = pages_of(tmp_path, "sqlite:////srv/mlflow.db", "7", "c" * 32, [])

    assert pages.run.startswith("http://127.0.0.1:5000/#/experiments/7/runs/ccc")
    assert "--backend-store-uri sqlite:////srv/mlflow.db" in pages.server
    assert pages.compare == ""
