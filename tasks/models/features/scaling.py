"""Columns of numbers brought to one scale."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler


class Scale(StandardScaler):  # type: ignore[misc]
    """StandardScaler that accepts zero columns, as moments of one month and wordless texts give."""

    def fit(self, X: NDArray[Any], y: object = None) -> Self:
        """Learn mean and standard deviation of each column."""
        if X.shape[1]:
            super().fit(X, y)
        return self

    def transform(self, X: NDArray[Any], copy: bool | None = None) -> NDArray[Any]:
        """Return `X` with mean 0 and variance 1 in what was learnt of."""
        return super().transform(X, copy) if X.shape[1] else X

    def __sklearn_is_fitted__(self) -> bool:
        """Return True: without columns there is nothing to fit."""
        return True
