from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.base.training_records import CandidateResult, Trial
from tasks.evaluation.findings import CurvePoint, Diagnosis, LearningCurve
from tasks.registry.mlflow.store import Store
from tasks.registry.tracking.training_runs import log_diagnosis, log_trials

TRIALS = (
    Trial(number=0, state="complete", score=0.7, scores=(0.6, 0.8), params={"C": 1.0}, seconds=2),
    Trial(number=1, state="pruned", score=0.2, scores=(0.2,), params={"C": 5.0}),
    Trial(number=2, state="failed", params={"C": 9.0}, reason="its process was ended"),
    Trial(number=3, state="complete", score=0.9, scores=(0.9, 0.9), params={"C": 2.0}, chosen=True),
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store.open(tmp_path)


def test_trials_are_a_table_and_a_metric_by_step(store: Store) -> None:
    run = store.start_run(store.experiment("tuned"), "svm")
    log_trials(store, run, CandidateResult(candidate="svm", status="ok", trials=TRIALS))
    kept = store.artifact(run, "trials.json")
    assert kept is not None
    table = json.loads(kept.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["trial"] for row in rows] == [0, 1, 2, 3]
    assert [row["C"] for row in rows] == [1.0, 5.0, 9.0, 2.0]
    assert rows[3]["chosen"]
    assert rows[2]["score"] is None
    history = store._client().get_metric_history(run, "trial.score")
    assert {(m.step, m.value) for m in history} == {(0, 0.7), (3, 0.9)}
    folds = store._client().get_metric_history(run, "trial.folds")
    assert {(m.step, m.value) for m in folds} == {(0, 2), (1, 1), (2, 0), (3, 2)}
    tags = store._client().get_run(run).data.tags
    assert tags["keepfit.tuned"] == "true"
    assert json.loads(tags["mlflow.loggedArtifacts"])[0]["path"] == "trials.json"


def test_without_tuning_nothing_is_stored(store: Store) -> None:
    run = store.start_run(store.experiment("untuned"), "svm")
    log_trials(store, run, CandidateResult(candidate="svm", status="ok"))
    assert store.artifact(run, "trials.json") is None
    assert "keepfit.tuned" not in store._client().get_run(run).data.tags


def test_a_learning_curve_has_the_number_of_rows_as_its_step(store: Store) -> None:
    run = store.start_run(store.experiment("learned"), "training")
    points = tuple(CurvePoint(rows=n, train=0.9, valid=n / 1000) for n in (100, 500))
    curve = LearningCurve(candidate="svm", metric="roc_auc", points=points)
    log_diagnosis(store, run, Diagnosis(learning=curve, trials={"svm": TRIALS}))
    history = store._client().get_metric_history(run, "learning_curve_validation")
    assert {(m.step, m.value) for m in history} == {(100, 0.1), (500, 0.5)}
    kept = store.artifact(run, "diagnosis.json")
    assert kept is not None
    assert json.loads(kept.read_text())["trials"] == {}
