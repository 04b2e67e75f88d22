"""One suite over all candidates and tasks."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import r2_score, roc_auc_score

from tasks.base.errors import DataError
from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import Task
from tasks.models.estimators.candidates import CANDIDATES, START_ORDER, find
from tasks.models.persistence.prediction import predict
from tasks.models.persistence.skops_io import load_model, save_model
from tasks.models.validation.candidate_fit import importance_of
from tests.unit.models.factories import fitted, frame, target

NAMES = TrainingConfig().candidates
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
every_candidate = pytest.mark.parametrize("name", NAMES)
every_task = pytest.mark.parametrize("task", TASKS)


def test_the_table_has_what_the_pipeline_file_may_name() -> None:
    assert tuple(candidate.name for candidate in CANDIDATES) == NAMES
    assert set(START_ORDER) == set(NAMES)


@every_candidate
@every_task
def test_a_candidate_learns_survives_what_is_new_and_round_trips(
    name: str, task: Task, tmp_path: Path
) -> None:
    X = frame()
    y = target(X, task)
    pipeline, learned = fitted(name, task, X, y)
    predicted, probability = predict(pipeline, X)
    _is_better_than_chance(task, y, predicted, probability)

    new = X.iloc[:5].assign(colour="ultraviolet", plant="p999")
    assert len(predict(pipeline, new)[0]) == 5
    with pytest.raises(DataError, match="'colour'"):
        predict(pipeline, X.drop(columns="colour"))

    save_model(pipeline, tmp_path / "model.skops")
    loaded = load_model(tmp_path / "model.skops")
    again, again_probability = predict(loaded, X)
    assert np.array_equal(again, predicted)
    if probability is not None and again_probability is not None:
        assert np.array_equal(again_probability, probability)

    shares = importance_of(learned.estimator, pipeline[0].sources_, pipeline[0].transform(X))
    assert set(shares) <= set(X.columns)
    if shares:
        assert sum(shares.values()) == pytest.approx(1.0)


def _is_better_than_chance(
    task: Task, y: np.ndarray, predicted: np.ndarray, probability: np.ndarray | None
) -> None:
    if probability is None:
        assert r2_score(y, predicted) > 0.5
        return
    assert probability.sum(axis=1) == pytest.approx(1.0)
    if task == "binary":
        assert roc_auc_score(y == "yes", probability[:, 1]) > 0.75
    else:
        assert (predicted == y).mean() > 0.55


@every_candidate
@every_task
def test_the_same_seed_gives_the_same_model(name: str, task: Task) -> None:
    X = frame(160)
    y = target(X, task)
    one, two = (predict(fitted(name, task, X, y)[0], X) for _ in range(2))
    assert np.array_equal(one[0], two[0])
    if one[1] is not None and two[1] is not None:
        assert np.array_equal(one[1], two[1])


@every_candidate
def test_a_fitted_pipeline_can_be_cloned_and_fitted_by_scikit_learn(name: str) -> None:
    X = frame(120)
    y = target(X, "binary")
    again = clone(fitted(name, "binary", X, y)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again.fit(X, y)
    assert again.predict(X).shape == (120,)


@every_candidate
@every_task
def test_rows_in_time_order_and_balanced_weights_are_fitted(name: str, task: Task) -> None:
    X = frame(160)
    y = target(X, task)
    weight = None if task == "regression" else "balanced"
    pipeline, _ = fitted(name, task, X, y, ordered=True, class_weight=weight)
    assert len(predict(pipeline, X)[0]) == 160


@every_task
def test_a_large_svm_goes_through_nystroem_features(task: Task) -> None:
    X = frame(400)
    y = target(X, task)
    pipeline, _ = fitted("svm", task, X, y, rows=10_000)
    assert any(key.endswith("n_components") for key in pipeline[-1].get_params())
    predicted, probability = predict(pipeline, X)
    _is_better_than_chance(task, y, predicted, probability)


def test_lightgbm_gives_the_same_numbers_on_one_thread_and_two() -> None:
    X = frame(600)
    y = target(X, "regression")
    one, two = (predict(fitted("lightgbm", "regression", X, y, threads=n)[0], X)[0] for n in (1, 2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("name", ["mlp", "lightgbm"])
def test_known_iterations_are_kept_to(name: str) -> None:
    X = frame(120)
    y = target(X, "binary")
    _, found = fitted(name, "binary", X, y)
    assert found.iterations
    losses = {part: len(curve) for part, curve in found.curves.items()}
    assert {part.partition("_")[0] for part in losses} == {"training", "validation"}
    assert len(set(losses.values())) == 1
    first, *_, last = found.curves[next(part for part in losses if part.startswith("training"))]
    assert last < first
    _, kept = fitted(name, "binary", X, y, iterations=3)
    assert kept.iterations == 3


def test_a_class_of_one_row_is_no_trouble() -> None:
    X = frame(120)
    y = target(X, "multiclass")
    y[7] = 9
    for name in NAMES:
        pipeline, learned = fitted(name, "multiclass", X, y)
        assert len(predict(pipeline, X)[0]) == 120
        if name == "svm":
            assert "9" in learned.notes[0]


@pytest.mark.parametrize(("rows", "columns"), [(10_000_000, 20), (50_000, 5_000)])
def test_every_candidate_states_how_many_rows_it_takes(rows: int, columns: int) -> None:
    for candidate in CANDIDATES:
        taken = candidate.rows_for(rows, columns)
        assert 0 < taken <= candidate.max_rows
        assert taken * columns <= max(candidate.max_cells, 1_000 * columns)
    assert find("lightgbm").rows_for(10_000_000, 20) == 10_000_000
