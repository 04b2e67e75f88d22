"""Columns of running text turned into a few dense dimensions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from tasks.base.arrays import Matrix
from tasks.base.runtime.libraries import pd, sklearn
from tasks.data.typing.distinct_values import texts_of
from tasks.models.features.columns import Output

MAX_WORDS = 20_000
MAX_CHARACTERS = 20_000


class TextTopics(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Text as TF-IDF weights reduced to its leading directions, at most `dimensions` a column.

    Source: Deerwester et al. (1990), Indexing by latent semantic analysis. ``vectorizers_`` and
    ``reducers_`` are None for a column with too few words in training to distinguish rows.
    """

    def __init__(self, dimensions: int = 24, random_state: int = 0) -> None:
        self.dimensions = dimensions
        self.random_state = random_state

    def fit(
        self,
        X: pd.DataFrame,
        y: object = None,  # noqa: ARG002 - scikit-learn's signature
    ) -> Self:
        """Learn words and directions of each column."""
        self.vectorizers_: list[Any] = []
        self.reducers_: list[Any] = []
        for place in range(X.shape[1]):
            vectorizer, reducer = self._learn(_documents(X.iloc[:, place]))
            self.vectorizers_.append(vectorizer)
            self.reducers_.append(reducer)
        return self

    def _learn(self, documents: list[str]) -> tuple[Any, Any]:
        vectorizer = sklearn.feature_extraction.text.TfidfVectorizer(
            max_features=MAX_WORDS,
            min_df=2 if len(documents) >= 100 else 1,
            sublinear_tf=True,
            strip_accents="unicode",
            dtype=np.float32,
        )
        try:
            weights = vectorizer.fit_transform(documents)
        except ValueError:  # no word at all
            return None, None
        dimensions = min(self.dimensions, weights.shape[1] - 1, weights.shape[0] - 1)
        if dimensions < 1:
            return None, None
        reducer = sklearn.decomposition.TruncatedSVD(dimensions, random_state=self.random_state)
        return vectorizer, reducer.fit(weights)

    def transform(self, X: pd.DataFrame) -> Matrix:
        """Return shape (n_rows, n_dimensions of all columns); a null is an empty text."""
        return self.topics_of([_documents(X.iloc[:, place]) for place in range(X.shape[1])], len(X))

    def topics_of(self, columns: list[list[str]], rows: int) -> Matrix:
        """Return the dimensions of columns of documents, each of `rows` texts."""
        out = [np.empty((rows, 0), dtype=np.float32)]
        parts = zip(self.vectorizers_, self.reducers_, columns, strict=True)
        for vectorizer, reducer, documents in parts:
            if vectorizer is not None:
                weights = vectorizer.transform(documents)
                out.append(reducer.transform(weights).astype(np.float32))
        return np.hstack(out)

    def outputs(self, columns: Iterable[Output]) -> list[Output]:
        """Name the columns that come out for the `columns` that went in."""
        return [
            Output(f"{column.name} topic {topic + 1}", column.source)
            for column, reducer in zip(columns, self.reducers_, strict=True)
            if reducer is not None
            for topic in range(reducer.n_components)
        ]


def _documents(column: pd.Series[Any]) -> list[str]:
    return [(text or "")[:MAX_CHARACTERS] for text in texts_of(column).to_pylist()]
