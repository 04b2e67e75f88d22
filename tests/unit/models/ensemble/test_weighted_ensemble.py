"""Candidates that complete each other are mixed; such as say the same are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.base.errors import DataError
from tasks.base.training_records import Kind, Schema
from tasks.models.ensemble.blend_call import ensemble_of, weights_of
from tasks.models.ensemble.weighted_ensemble import SameColumns
from tasks.models.ensemble.weights import greedy_weights
from tasks.models.fitting import fit_candidates, refit
from tasks.models.out_of_fold import OutOfFold
from tasks.models.persistence.prediction import predict
from tasks.models.persistence.skops_io import load_model
from tasks.models.postprocessing.adjustment import as_served
from tasks.models.run_context import BLEND_FILE, ENSEMBLE, FitRun
from tests.unit.models.factories import snapshot, training
from tests.unit.registry.mlflow.served_models import differences

KINDS: dict[str, Kind] = {"a": "numeric", "b": "numeric", "c": "numeric", "d": "numeric"}


def table(rows: int, corner: float, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows with a straight part, which a line learns, and a corner, which a tree does."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(rows, 4)), columns=list(KINDS))
    value = X["a"] + X["b"] + corner * np.sign(X["c"]) * (X["d"] > 0)
    return X, np.asarray(value + rng.normal(size=rows) / 2)


def classes(value: np.ndarray) -> np.ndarray:
    return np.where(value > 0, "yes", "no")


@pytest.mark.slow
def test_candidates_that_complete_each_other_win_together(tmp_path: Path) -> None:
    X, value = table(1_500, 2.0)
    path, split, roles = snapshot(
        tmp_path, X, classes(value), "binary", kinds=KINDS, holdout=300, ordered=True
    )
    asked = training("logistic_regression", "decision_tree", ensemble=True, calibrate="auto")

    results = fit_candidates(
        path, split, roles, asked, "roc_auc", tmp_path / "fits", objective="f1"
    )

    *singles, ensemble = results
    assert ensemble.candidate == "ensemble"
    assert ensemble.status == "ok", ensemble.reason
    assert ensemble.cv_mean is not None
    assert ensemble.cv_mean > max(r.cv_mean or 0.0 for r in singles)
    assert "better than" in ensemble.notes[0]
    assert ensemble.model_bytes > sum(r.model_bytes for r in singles[1:]) / 2
    assert (ensemble.predict_seconds or 0.0) >= max(r.predict_seconds or 0.0 for r in singles[1:])
    pipeline = load_model(ensemble.model_path)
    with np.load(ensemble.predictions_path) as kept:
        labels, chances = predict(pipeline, X.iloc[-300:])
        assert chances is not None
        assert np.allclose(kept["probability"], chances)
        assert np.array_equal(kept["predicted"], labels)
        assert np.array_equal(pipeline.predict(X.iloc[-300:]), labels)
    assert differences(tmp_path / "served", ensemble.model_path, X.iloc[-300:], roles) == []
    held = OutOfFold.read(Path(ensemble.model_path).parent)
    assert held is not None

    again = fit_candidates(path, split, roles, asked, "roc_auc", tmp_path / "fits", objective="f1")
    assert again[-1].cached
    whole = refit(path, split, roles, asked, ensemble, tmp_path / "refit")
    assert whole.rows_fitted == 1_500
    assert load_model(whole.model_path)[-1].threshold == pipeline[-1].threshold
    assert np.mean(predict(load_model(whole.model_path), X)[0] == classes(value)) > 0.8


def test_candidates_that_say_the_same_are_not_mixed(tmp_path: Path) -> None:
    X, value = table(600, 0.0, seed=3)
    path, split, roles = snapshot(tmp_path, X, classes(value), "binary", kinds=KINDS)
    asked = training("logistic_regression", "decision_tree", ensemble=True)

    ensemble = fit_candidates(path, split, roles, asked, "roc_auc", tmp_path / "fits")[-1]

    assert ensemble.status == "skipped"
    assert ensemble.reason == "the best mixture is logistic_regression alone"
    assert not (tmp_path / "fits" / "ensemble" / "model.skops").exists()


def test_numbers_are_mixed_too(tmp_path: Path) -> None:
    X, value = table(1_200, 2.0, seed=1)
    path, split, roles = snapshot(tmp_path, X, value, "regression", kinds=KINDS, holdout=200)
    asked = training("logistic_regression", "decision_tree", ensemble=True)

    results = fit_candidates(path, split, roles, asked, "rmse", tmp_path / "fits")

    ensemble = results[-1]
    assert ensemble.status == "ok", ensemble.reason
    assert ensemble.cv_mean is not None
    assert ensemble.cv_mean < min(r.cv_mean or 9.0 for r in results[:-1])
    with np.load(ensemble.predictions_path) as kept:
        assert np.allclose(
            kept["predicted"], predict(load_model(ensemble.model_path), X.iloc[-200:])[0]
        )
    assert differences(tmp_path / "served", ensemble.model_path, X.iloc[-200:], roles) == []


def test_an_ensemble_has_what_is_left_of_the_budget(tmp_path: Path) -> None:
    X, value = table(300, 2.0, seed=1)
    data = snapshot(tmp_path, X, value, "regression", kinds=KINDS)
    asked = training("logistic_regression", "decision_tree")
    fitted = fit_candidates(*data, asked, "rmse", tmp_path / "fits")
    run = FitRun(*data, asked, "rmse", str(tmp_path / "fits"), str(tmp_path), ())

    none_left = ensemble_of(run, fitted, print, 0.0)
    too_little = ensemble_of(run, fitted, lambda _: None, 1e-3)

    assert none_left.status == too_little.status == "skipped"
    assert "have used up; raise training.budget" in none_left.reason
    assert "would overrun the time budget of 2m" in too_little.reason
    assert not (tmp_path / "fits" / "ensemble" / "result.json").exists()
    assert ensemble_of(run, fitted, lambda _: None, 60.0).reason != too_little.reason


def test_an_ensemble_is_weighed_again_once_a_missing_candidate_is_fitted(tmp_path: Path) -> None:
    X, value = table(600, 2.0, seed=1)
    data = snapshot(tmp_path, X, value, "regression", kinds=KINDS)
    asked = training("logistic_regression", "decision_tree", "svm")
    fitted = fit_candidates(*data, asked, "rmse", tmp_path / "fits")
    run = FitRun(*data, asked, "rmse", str(tmp_path / "fits"), str(tmp_path), ())
    some = [r for r in fitted if r.candidate != "svm"]

    first = ensemble_of(run, some, lambda _: None, 60.0)
    assert first.status == "ok", first.reason
    assert ensemble_of(run, some, lambda _: None, 60.0).cached

    second = ensemble_of(run, fitted, lambda _: None, 60.0)
    assert not second.cached
    assert set(weights_of(second)) <= {"logistic_regression", "decision_tree", "svm"}
    assert all(weights_of(second).values())
    assert ensemble_of(run, fitted, lambda _: None, 60.0).cached


def test_one_candidate_is_no_ensemble(tmp_path: Path) -> None:
    X, value = table(200, 0.0)
    path, split, roles = snapshot(tmp_path, X, value, "regression", kinds=KINDS)
    asked = training("logistic_regression", ensemble=True)

    results = fit_candidates(path, split, roles, asked, "rmse", tmp_path / "fits")

    assert results[-1].status == "skipped"
    assert "two fitted candidates" in results[-1].reason


def test_the_best_alone_stays_alone_where_nothing_helps() -> None:
    truth = np.zeros(100)
    parts = {"right": truth.copy(), "wrong": np.ones(100)}

    weights = greedy_weights(lambda p: float(abs(p - truth).mean()), parts, "right")

    assert weights == {"right": 1.0}


def test_an_ensemble_names_the_columns_it_lacks() -> None:
    with pytest.raises(DataError, match="'gr\"öße'"):
        SameColumns(["a", 'gr"öße']).transform(pd.DataFrame({"a": [1.0]}))


def test_an_ensembles_first_part_is_weighed_as_the_ensemble_is(tmp_path: Path) -> None:
    schema = Schema(target="y", task="regression", features={})

    def held(values: list[float]) -> OutOfFold:
        rows, part = np.arange(4, dtype=np.int64), np.array([0, 0, 1, 1])
        return OutOfFold(rows, np.zeros(4), np.array(values), None, part, ordered=True)

    held([1.0, 2.0, 3.0, 4.0]).save(tmp_path / "lightgbm")
    held([5.0, 6.0, 7.0, 8.0]).save(tmp_path / "mlp")
    # While candidates were compared the first part was mixed evenly.
    held([3.0, 4.0, 4.0, 5.0]).save(tmp_path / ENSEMBLE)
    blend = '{"knn": 0.0, "lightgbm": 0.75, "mlp": 0.25}'
    (tmp_path / ENSEMBLE / BLEND_FILE).write_text(blend)
    found = as_served(tmp_path, ENSEMBLE, schema)
    assert found is not None
    assert found.predicted.tolist() == [2.0, 3.0, 4.0, 5.0]
    assert as_served(tmp_path, "absent", schema) is None
