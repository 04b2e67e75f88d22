"""Monitored windows in MLflow: one run a champion, one step a window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.base.monitoring_records import ColumnFinding, DriftResult, Performance, Window
from tasks.base.training_records import MetricValue, ModelVersion
from tasks.registry.mlflow.store import Store
from tasks.registry.tracking.monitoring_runs import experiment_name, record_window, step_of

CHAMPION = ModelVersion(name="churn", version="2", run_id="r", tags={"keepfit.metric": "roc_auc"})


def week(number: int) -> Window:
    start = datetime(2026, 3, 2, tzinfo=UTC) + number * timedelta(days=7)
    return Window(start=start, end=start + timedelta(days=7))


def drift(statistic: float, *, alarm: bool = False) -> DriftResult:
    found = ColumnFinding(column="fee <b>", statistic=statistic, threshold=0.2, missing=0.1)
    return DriftResult(
        rows=500, reference_rows=900, enough=True, alarm=alarm, score=statistic, limit=0.2,
        false_alarms=0.05, columns=(found,),
    )  # fmt: skip


def test_windows_become_steps_of_one_run(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    runs = {
        record_window(store, "churn", CHAMPION, week(n), drift(0.1 * n), (), None, {})
        for n in (1, 2)
    }
    realised = Performance(
        window=week(1), version="2", metric="roc_auc", rows=500, labelled=480,
        realised=MetricValue(value=0.8, low=0.75, high=0.85),
    )  # fmt: skip
    runs.add(record_window(store, "churn", CHAMPION, week(3), None, (realised,), None, {"a": "b"}))

    (run,) = runs
    client = store._client()
    history = client.get_metric_history(run, "drift.score")
    assert [(m.step, m.value) for m in history] == [
        (step_of(week(1)), 0.5), (step_of(week(2)), 1.0),
    ]  # fmt: skip
    (point,) = client.get_metric_history(run, "realised.roc_auc")
    assert (point.step, point.value) == (step_of(week(1)), 0.8)
    found = client.get_run(run)
    assert found.info.status == "FINISHED"
    assert found.data.tags["a"] == "b"
    assert client.get_experiment(found.info.experiment_id).name == experiment_name("churn")


def test_a_column_may_have_the_name_of_a_figure_of_the_window(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    found = drift(0.3)
    named = found.columns[0].model_copy(update={"column": "score", "statistic": 0.1})
    run = record_window(
        store,
        "churn",
        CHAMPION,
        week(1),
        found.model_copy(update={"columns": (named,)}),
        (),
        None,
        {},
    )

    values = store._client().get_run(run).data.metrics
    assert values["drift.score"] == 0.3 / 0.2
    assert values["drift.column score"] == 0.1 / 0.2


def test_windows_before_the_first_have_steps_of_their_own() -> None:
    weeks = [datetime(1970, 1, 1, tzinfo=UTC) + n * timedelta(days=7) for n in (-1, 0, 1)]
    steps = [step_of(Window(start=at, end=at + timedelta(days=7))) for at in weeks]
    assert steps == [-2, -1, 0]


def test_each_champion_has_a_run_of_its_own(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    first = record_window(store, "churn", CHAMPION, week(1), drift(0.1), (), None, {})
    other = CHAMPION.model_copy(update={"version": "3"})

    assert record_window(store, "churn", other, week(2), drift(0.1), (), None, {}) != first
