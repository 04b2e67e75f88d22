"""Small tasks with predictions, drawn by seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.training_records import Schema


def schema_of(classes: tuple[str, ...] = (), positive: str | None = None) -> Schema:
    task = "regression" if not classes else "binary" if len(classes) == 2 else "multiclass"
    return Schema(target="y", task=task, features={}, classes=classes, positive=positive)


def binary(
    rows: int = 400, seed: int = 0, *, ties: bool = False
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64], Schema]:
    """Return truth, predictions, probabilities and the schema; labels are "no" and "yes"."""
    rng = np.random.default_rng(seed)
    truth = rng.random(rows) < 0.3
    p = 1 / (1 + np.exp(-(1.5 * truth - 1 + rng.standard_normal(rows))))
    if ties:
        p = p.round(1)
    labels = np.array(["no", "yes"])
    y = labels[truth.astype(int)]
    predicted = labels[(p > 0.5).astype(int)]
    return y, predicted, np.column_stack([1 - p, p]), schema_of(("no", "yes"), "yes")


def multiclass(
    rows: int = 400, seed: int = 0, k: int = 4
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64], Schema]:
    """Return truth, predictions, probabilities and the schema; labels are integers."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, rows)
    scores = rng.standard_normal((rows, k))
    scores[np.arange(rows), y] += 1
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return y, p.argmax(axis=1), p, schema_of(tuple(str(c) for c in range(k)))


def regression(
    rows: int = 400, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], Schema]:
    """Return truth, predictions and the schema."""
    rng = np.random.default_rng(seed)
    y = 50 + 10 * rng.standard_normal(rows)
    return y, y + rng.standard_normal(rows), schema_of()
