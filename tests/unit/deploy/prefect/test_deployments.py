"""The table of deployments, as a runner gets it."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from deploy.prefect.deployments import DEPLOYED, Deployed, runner_deployments
from tasks.base.pipeline_file import Pipeline, load_pipeline

ROOT = Path(__file__).parents[4]


def _pipeline(folder: Path, **keys: Any) -> Pipeline:
    folder.mkdir(exist_ok=True)
    settings = {
        "name": folder.name,
        "target": "progression",
        "source": {"kind": "demo", "name": "diabetes"},
        **keys,
    }
    (folder / "keepfit.yaml").write_text(json.dumps(settings))
    return load_pipeline(folder)


def test_every_flow_of_every_pipeline_is_deployed_by_its_module(tmp_path: Path) -> None:
    pipelines = [_pipeline(tmp_path / "churn"), _pipeline(tmp_path / "credit")]

    made = {one.full_name: one for one in runner_deployments(pipelines)}

    flows = ("training", "scoring", "monitoring", "noticing")
    assert set(made) == {f"{flow}/{name}" for flow in flows for name in ("churn", "credit")}
    for name, one in made.items():
        flow, _, pipeline = name.partition("/")
        assert one.entrypoint == f"flows.deployed.{flow}"
        assert one._path is None  # nothing changes into a folder that another machine lacks
        assert one.tags == ["keepfit", f"keepfit.pipeline:{pipeline}"]
        assert one.version == version("keepfit")
        assert pipeline in str(one.description)
        assert Path(one.parameters["pipeline"]).is_absolute()
        assert one.schedules == []


def test_schedules_keep_their_time_zone(tmp_path: Path) -> None:
    schedules = {"training": "30 2 * * 0", "monitoring": "0 4 * * *", "timezone": "Europe/Berlin"}

    made = {
        one.flow_name: [(s.schedule.cron, s.schedule.timezone) for s in one.schedules or ()]  # type: ignore[union-attr]
        for one in runner_deployments([_pipeline(tmp_path / "churn", schedules=schedules)])
    }

    assert made == {
        "training": [("30 2 * * 0", "Europe/Berlin")],
        "scoring": [],
        "monitoring": [("0 4 * * *", "Europe/Berlin")],
        "noticing": [],
    }


def test_refits_and_searches_are_schedules_of_one_deployment(tmp_path: Path) -> None:
    schedules = {"training": "30 2 1 * *", "refit": "30 2 * * 1"}

    training = runner_deployments([_pipeline(tmp_path / "churn", schedules=schedules)])[0]

    made = [(s.schedule.cron, s.parameters) for s in training.schedules or ()]  # type: ignore[union-attr]
    assert made == [("30 2 1 * *", {}), ("30 2 * * 1", {"refit": True})]


def test_one_run_of_a_model_at_a_time_and_every_failure_told(tmp_path: Path) -> None:
    made = {
        one.flow_name: (
            one.concurrency_limit,
            one.concurrency_options and one.concurrency_options.collision_strategy.value,
        )
        for one in runner_deployments([_pipeline(tmp_path / "churn")])
    }

    assert made == {
        "training": (1, "ENQUEUE"),
        "scoring": (1, "CANCEL_NEW"),
        "monitoring": (1, "CANCEL_NEW"),
        "noticing": (None, None),
    }


@pytest.mark.parametrize("row", DEPLOYED, ids=lambda row: row.flow)
def test_what_events_pass_is_what_the_flow_takes(row: Deployed) -> None:
    flow = getattr(import_module(f"flows.{row.flow}"), row.flow)
    taken = set(signature(flow.fn).parameters)
    given = {"noticing": {"flow_run", "flow", "state", "message"}}.get(row.flow, {"cause"})

    assert given | {"pipeline"} <= taken


@pytest.mark.parametrize("row", DEPLOYED, ids=lambda row: row.flow)
def test_prefect_finds_a_flow_by_its_entrypoint_which_is_no_file_path(row: Deployed) -> None:
    from prefect.flows import load_flow_from_entrypoint

    assert load_flow_from_entrypoint(row.entrypoint).name == row.flow
    assert ":" not in row.entrypoint
