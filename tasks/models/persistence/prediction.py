"""Predictions of a fitted pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.base.arrays import Array, Floats, Matrix
from tasks.base.runtime.libraries import pd

CHUNK_ROWS = 50_000
"""Some models spread each row over hundreds of numbers to predict it."""


def predict(pipeline: Any, X: pd.DataFrame) -> tuple[Array, Floats | None]:
    """Return labels or values (n_rows,), and probabilities (n_rows, n_classes) or None."""
    # Probabilities are in the order of ``pipeline.classes_``. A feature that `X` lacks is a
    # DataError.
    encoder, model = pipeline[0], pipeline[-1]
    if not len(X):
        encoder.transform(X)  # which refuses rows without the features
        return _nothing(model)
    parts = (encoder.transform(X.iloc[s : s + CHUNK_ROWS]) for s in range(0, len(X), CHUNK_ROWS))
    return _joined([outputs(model, part) for part in parts])


def _nothing(model: Any) -> tuple[Array, Floats | None]:
    if not hasattr(model, "classes_"):
        return np.empty(0), None
    return model.classes_[:0], np.empty((0, len(model.classes_)))


def outputs(model: Any, X: Matrix) -> tuple[Array, Floats | None]:
    """Return the predictions of a pipeline's last step for encoded rows, as ``predict`` does."""
    if not hasattr(model, "classes_"):
        values = np.asarray(model.predict(X), dtype=np.float64)
        return values.reshape(len(X)), None
    probability = np.asarray(model.predict_proba(X), dtype=np.float64)
    if hasattr(model, "decide"):
        return model.decide(probability), probability
    return model.classes_[probability.argmax(axis=1)], probability


def outputs_of_matrix(model: Any, X: Matrix) -> tuple[Array, Floats | None]:
    """Return the predictions of the last step for a matrix on disk, read a part at a time."""
    starts = range(0, max(1, len(X)), CHUNK_ROWS)
    if not len(X):
        return _nothing(model)
    return _joined([outputs(model, np.array(X[s : s + CHUNK_ROWS])) for s in starts])


def _joined(parts: list[tuple[Array, Floats | None]]) -> tuple[Array, Floats | None]:
    predicted = np.concatenate([labels for labels, _ in parts])
    probabilities = [p for _, p in parts if p is not None]
    return predicted, np.concatenate(probabilities) if probabilities else None


def in_order(probability: Floats, labels: Array, classes: tuple[str, ...]) -> Floats:
    """Return `probability` with a column for each of `classes`; 0 for one the model never saw.

    >>> in_order(np.array([[0.3, 0.7]]), np.array(["a", "c"]), ("a", "b", "c")).tolist()
    [[0.3, 0.0, 0.7]]
    """
    spread = np.zeros((len(probability), len(classes)))
    places = {name: place for place, name in enumerate(classes)}
    for column, label in enumerate(labels):
        spread[:, places[str(label)]] = probability[:, column]
    return spread
