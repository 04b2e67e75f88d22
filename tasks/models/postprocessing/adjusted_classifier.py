"""A fitted classifier with calibrated probabilities and a decision rule.

Model files name the class by this module.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from tasks.base.arrays import Array, Floats
from tasks.models.postprocessing.calibration import Calibration, Method
from tasks.models.postprocessing.decision_thresholds import decide


class AdjustedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted classifier whose probabilities are calibrated, and whose decision follows a rule.

    `method`, `tables` and `floor` are those of a `Calibration`. The label `positive` is predicted
    from the probability `threshold` on; None: the likeliest class. `costs` are those of predicting
    a class (columns) where another is true (rows), in the order of the estimator's classes; the
    class of least expected cost is predicted.
    """

    def __init__(
        self,
        estimator: Any,
        method: Method = "none",
        tables: dict[str, Floats] | None = None,
        floor: float = 0.0,
        threshold: float | None = None,
        positive: str | None = None,
        costs: Floats | None = None,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.tables = tables
        self.floor = floor
        self.threshold = threshold
        self.positive = positive
        self.costs = costs

    @property
    def classes_(self) -> Array:
        """Labels, in the order of the columns of probabilities."""
        return np.asarray(self.estimator.classes_)

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether the estimator is fitted."""
        return hasattr(self.estimator, "classes_")

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the estimator again; maps and rule stay as they were chosen."""
        self.estimator.fit(X, y)
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Return calibrated probabilities, shape (n_rows, n_classes)."""
        raw = np.asarray(self.estimator.predict_proba(X), dtype=np.float64)
        labels = tuple(str(label) for label in self.classes_)
        return Calibration(self.method, self.tables, self.floor).apply(raw, labels)

    def decide(self, probability: Floats) -> Array:
        """Return the label that each row of `probability` leads to."""
        labels = tuple(str(label) for label in self.classes_)
        places = decide(probability, labels, self.threshold, self.positive, self.costs)
        return np.asarray(self.classes_[places])

    def predict(self, X: Any) -> Array:
        """Return the label of each row, by the rule of decision."""
        return self.decide(self.predict_proba(X))


def innermost(model: Any) -> Any:
    """Return the estimator inside of what adjusts it."""
    while isinstance(model, AdjustedClassifier):
        model = model.estimator
    return model
