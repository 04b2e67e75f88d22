"""Every bundled pipeline runs, promotes, and scores near what is known of its data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.registry.stores import store_of
from tests.program import keepfit

PIPELINES = Path(__file__).parents[2] / "deploy" / "pipelines"
# Loose: scikit-learn's own examples reach 0.97 accuracy on digits, RMSE 53 to 58 on diabetes.
BOUNDS = {
    "digits": ("multiclass", "accuracy", 0.95, 1.0),
    "diabetes": ("regression", "rmse", 45.0, 65.0),
    "breast_cancer": ("binary", "roc_auc", 0.97, 1.0),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_small_bundled_pipeline_runs(name: str, tmp_path: Path) -> None:
    task, metric, least, most = BOUNDS[name]

    ran = keepfit("run", PIPELINES / f"{name}.yaml", "--json", KEEPFIT_STATE=str(tmp_path / "s"))

    assert ran.status == 0, ran.err
    answer = ran.answer
    assert answer["task"] == task
    assert len(answer["leaderboard"]) == 7
    assert {row["status"] for row in answer["leaderboard"]} == {"ok"}
    assert least <= answer["metrics"][metric] <= most
    assert answer["verdict"]["promoted"] is True


@pytest.mark.slow
def test_the_default_pipeline_runs_with_all_its_candidates(tmp_path: Path) -> None:
    ran = keepfit(
        "run", PIPELINES / "flights.yaml", "--json", KEEPFIT_STATE=str(tmp_path / "s"), seconds=290
    )

    assert ran.status == 0, ran.err
    answer = ran.answer
    assert answer["rows"]["train"] + answer["rows"]["holdout"] == 327_346
    assert answer["metrics"]["roc_auc"] > 0.65
    assert answer["verdict"]["promoted"] is True
    assert all(row["status"] in {"ok", "skipped"} for row in answer["leaderboard"])
    leaks = {"dep_delay", "arr_delay", "dep_time", "arr_time", "air_time"}
    champion = store_of(tmp_path / "s").champion("flights")
    assert champion is not None
    assert champion.roles.features
    assert leaks.isdisjoint(champion.roles.features)


def test_the_demos_of_init_are_the_bundled_pipelines() -> None:
    from tasks.base.pipeline_file import load_pipeline
    from tasks.projects.demos import DEMOS

    for name, values in DEMOS.items():
        bundled = load_pipeline(PIPELINES / f"{name}.yaml", {}).config.model_dump(mode="json")
        for key in ("target", "time_column", "id_columns", "exclude", "metric"):
            assert bundled[key] == values.get(key, bundled[key]), (name, key)
        assert bundled["source"]["name"] == values["source"]["name"]
