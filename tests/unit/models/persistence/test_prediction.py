from __future__ import annotations

import numpy as np
import pytest

from tasks.models.persistence import prediction
from tasks.models.persistence.prediction import in_order, predict
from tests.unit.models.factories import fitted, frame, target


def test_rows_in_chunks_are_predicted_as_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    X = frame(100)
    pipeline, _ = fitted("decision_tree", "multiclass", X, target(X, "multiclass"))
    labels, probability = predict(pipeline, X)
    monkeypatch.setattr(prediction, "CHUNK_ROWS", 7)
    again, again_probability = predict(pipeline, X)
    assert np.array_equal(labels, again)
    assert np.array_equal(np.asarray(probability), np.asarray(again_probability))


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_no_rows_give_no_predictions(task: str) -> None:
    X = frame(60)
    y = target(X, task)  # type: ignore[arg-type]
    pipeline, _ = fitted("decision_tree", task, X, y)  # type: ignore[arg-type]
    labels, probability = predict(pipeline, X.iloc[:0])
    assert labels.shape == (0,)
    if task == "binary":
        assert np.asarray(probability).shape == (0, 2)
    else:
        assert probability is None


def test_predicted_labels_are_the_native_ones_and_the_most_probable() -> None:
    X = frame(100)
    y = target(X, "binary")
    pipeline, _ = fitted("logistic_regression", "binary", X, y)
    labels, probability = predict(pipeline, X)
    assert set(labels) <= {"no", "yes"}
    assert np.array_equal(labels == "yes", np.asarray(probability)[:, 1] > 0.5)
    assert np.array_equal(labels, pipeline.predict(X))


def test_a_class_that_was_never_seen_has_probability_zero() -> None:
    spread = in_order(np.array([[0.2, 0.8]]), np.array([1, 3]), ("1", "2", "3"))
    assert spread.tolist() == [[0.2, 0.0, 0.8]]
