"""Transforms and predictions of a few rows: what a step computes, without what it does around it.

LightGBM's and scikit-learn's own ``predict_proba`` look at their input and start threads before
they compute, which is a hundred times as slow as computing a few rows; so do transformers, 0.2 ms
each. A version whose predictions differ by a bit on made-up rows goes through its own, see
`ServedModel`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder

from tasks.models.persistence.prediction import outputs
from tasks.models.postprocessing.adjusted_classifier import AdjustedClassifier
from tasks.models.postprocessing.calibration import Calibration

Floats = NDArray[np.float64]
FEW_ROWS = 2_000


def outputs_of_few(model: Any, X: NDArray[np.float32]) -> tuple[NDArray[Any], Floats | None]:
    """Return the predictions of a pipeline's last step for encoded rows, as `outputs` does."""
    if len(X) > FEW_ROWS:
        return outputs(model, X)
    if not hasattr(model, "classes_"):
        return _values(model, X).reshape(len(X)), None
    probability = _shares(model, X)
    if hasattr(model, "decide"):
        return model.decide(probability), probability
    return model.classes_[probability.argmax(axis=1)], probability


def _shares(model: Any, X: NDArray[np.float32]) -> Floats:
    if isinstance(model, AdjustedClassifier):
        raw = _shares(model.estimator, X)
        labels = tuple(str(label) for label in model.classes_)
        return Calibration(model.method, model.tables, model.floor).apply(raw, labels)
    if type(model).__name__ == "LGBMClassifier":
        share = _boosted(model, X)
        return share if share.ndim == 2 else np.vstack((1.0 - share, share)).transpose()
    if isinstance(model, RandomForestClassifier) and model.n_outputs_ == 1:
        classes = int(model.n_classes_)
        total = np.zeros((len(X), classes), dtype=np.float64)
        for tree in model.estimators_:
            total += tree.tree_.predict(X)[:, :classes]
        total /= len(model.estimators_)
        return total
    return np.asarray(model.predict_proba(X), dtype=np.float64)


def _values(model: Any, X: NDArray[np.float32]) -> Floats:
    if type(model).__name__ in ("LGBMRegressor", "LGBMRanker"):
        return _boosted(model, X)
    if isinstance(model, RandomForestRegressor) and model.n_outputs_ == 1:
        total = np.zeros(len(X), dtype=np.float64)
        for tree in model.estimators_:
            total += tree.tree_.predict(X)[:, 0]
        total /= len(model.estimators_)
        return total
    return np.asarray(model.predict(X), dtype=np.float64)


def _boosted(model: Any, X: NDArray[np.float32]) -> Floats:
    found: Floats = np.asarray(model.booster_.predict(X, num_threads=1), dtype=np.float64)
    return found


Matrix = NDArray[Any]


def transform_of(step: Any) -> Callable[[Matrix], Matrix]:
    """Return the fitted transformer as a function of an array of shape (n_rows, n_columns)."""
    if isinstance(step, StandardScaler) and hasattr(step, "mean_"):
        return _scaled(step)
    if type(step) is OneHotEncoder and step.handle_unknown == "ignore" and step.drop is None:
        return _spread(step)
    if type(step) is TargetEncoder and step.target_type_ != "multiclass":
        return _target_means(step)
    transform: Callable[[Matrix], Matrix] = step.transform
    return transform


def _scaled(step: StandardScaler) -> Callable[[Matrix], Matrix]:
    def scaled(X: Matrix) -> Matrix:
        kind = X.dtype if X.dtype.kind == "f" else np.dtype(np.float64)
        return np.asarray((X.astype(kind) - step.mean_.astype(kind)) / step.scale_.astype(kind))

    return scaled


def _spread(step: OneHotEncoder) -> Callable[[Matrix], Matrix]:
    def spread(X: Matrix) -> Matrix:
        return np.hstack(
            [X[:, [place]] == levels for place, levels in enumerate(step.categories_)]
        ).astype(step.dtype)

    return spread


def _target_means(step: TargetEncoder) -> Callable[[Matrix], Matrix]:
    def means(X: Matrix) -> Matrix:
        out = np.full(X.shape, step.target_mean_, dtype=np.float64)
        for place, (levels, found) in enumerate(
            zip(step.categories_, step.encodings_, strict=True)
        ):
            at = np.searchsorted(levels, X[:, place]).clip(max=len(levels) - 1)
            known = levels[at] == X[:, place]
            out[known, place] = found[at[known]]
        return out

    return means
