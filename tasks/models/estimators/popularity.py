"""The baseline of rankings: popularity of the items, the same for everybody.

An item's score is the mean of its target over the training rows, leaning on the mean of all where
the rows are few, so that one enthusiast makes no favourite (the Bayesian average).
"""

from __future__ import annotations

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from tasks.base.arrays import Floats, Matrix

PRIOR_ROWS = 5.0
"""Rows that the mean of all counts for."""


class Popularity(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """The mean of the target by item; an item never seen has the mean of all.

    The mean of all counts for `prior_rows` beside an item's own; ``scores_`` go by the item's code.
    """

    def __init__(self, prior_rows: float = PRIOR_ROWS) -> None:
        self.prior_rows = prior_rows

    def fit(self, X: Matrix, y: Floats) -> Self:
        """Fit on codes of items, shape (n_rows, 1), -1 where there is none."""
        codes = X[:, 0].astype(np.int64)
        known = codes >= 0
        self.mean_ = float(np.mean(y))
        rows = np.bincount(codes[known])
        total = np.bincount(codes[known], y[known])
        self.scores_ = (total + self.prior_rows * self.mean_) / (rows + self.prior_rows)
        self.n_features_in_ = 1
        return self

    def predict(self, X: Matrix) -> Floats:
        """Return the score of each row's item, shape (n_rows,)."""
        codes = X[:, 0].astype(np.int64)
        known = (codes >= 0) & (codes < len(self.scores_))
        found: Floats = np.full(len(codes), self.mean_)
        found[known] = self.scores_[codes[known]]
        return found
