"""The models of an ensemble: fitted members, each with its encoding, weighed.

Files of registered versions name these classes here.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin

from tasks.base.arrays import Array, Floats, Matrix
from tasks.base.runtime.libraries import pd
from tasks.models.features.columns import features_of
from tasks.models.persistence.prediction import in_order


class SameColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The `features` of a frame as they are: each member of an ensemble has its own encoding."""

    def __init__(self, features: list[str]) -> None:
        self.features = features

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's
        """Learn nothing."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Return True: members are fitted before."""
        return True

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the features of `X`; a `DataError` where one has no column in it."""
        return features_of(X, self.features)


class _Ensemble(BaseEstimator):  # type: ignore[misc]
    """Fitted members by the name of their encoding, so that each encoding is computed once.

    Encodings and weights are those of each member; weights sum to one.
    """

    def __init__(
        self,
        encoders: dict[str, Any],
        members: list[Any],
        encodings: list[str],
        weights: list[float],
    ) -> None:
        self.encoders = encoders
        self.members = members
        self.encodings = encodings
        self.weights = weights

    def __sklearn_is_fitted__(self) -> bool:
        """Return True: members are fitted before."""
        return True

    def fit(self, X: object, y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's
        """Learn nothing: the members are fitted already."""
        return self

    def _weighed(self, X: pd.DataFrame, ask: Any) -> Floats:
        encoded = {name: encoder.transform(X) for name, encoder in self.encoders.items()}
        parts = zip(self.members, self.encodings, self.weights, strict=True)
        return np.asarray(sum(weight * ask(m, encoded[name]) for m, name, weight in parts))


class EnsembleClassifier(ClassifierMixin, _Ensemble):  # type: ignore[misc]
    """The weighted mean of its members' probabilities."""

    @property
    def classes_(self) -> Array:
        """Every label of any member, sorted."""
        return np.unique(np.concatenate([np.asarray(m.classes_) for m in self.members]))

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Return probabilities, shape (n_rows, n_classes)."""
        labels = tuple(str(label) for label in self.classes_)

        def ask(member: Any, encoded: Matrix) -> Floats:
            return in_order(np.asarray(member.predict_proba(encoded)), member.classes_, labels)

        return self._weighed(X, ask)

    def predict(self, X: pd.DataFrame) -> Array:
        """Return the likeliest label of each row."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])


class EnsembleRegressor(RegressorMixin, _Ensemble):  # type: ignore[misc]
    """The weighted mean of its members' values."""

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return values, shape (n_rows,)."""
        return self._weighed(X, lambda m, encoded: np.asarray(m.predict(encoded)).ravel())
