"""Columns of numbers brought to one scale."""

from __future__ import annotations

from typing import Self

from sklearn.preprocessing import StandardScaler

from tasks.base.arrays import Array


class Scale(StandardScaler):  # type: ignore[misc]
    """StandardScaler that accepts zero columns, as moments of one month and wordless texts give."""

    def fit(self, X: Array, y: object = None) -> Self:
        """Learn mean and standard deviation of each column."""
        if X.shape[1]:
            super().fit(X, y)
        return self

    def transform(self, X: Array, copy: bool | None = None) -> Array:
        """Return `X` with mean 0 and variance 1 in what was learnt of."""
        return super().transform(X, copy) if X.shape[1] else X

    def __sklearn_is_fitted__(self) -> bool:
        """Return True: without columns there is nothing to fit."""
        return True
