"""Loss of each row's prediction."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Array, Floats, Ints, Mask
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Schema
from tasks.metrics.label_codes import encode, encode_truth

ABSOLUTE = frozenset({"mae", "median_ae", "mape"})
"""Metrics of the absolute error, of which the median is the best constant."""
_LEAST = 1e-6


def row_losses(
    y_true: ArrayLike, predicted: ArrayLike, probability: Floats | None, schema: Schema, metric: str
) -> Floats:
    """Return the loss of each row, shape (rows,), greater is worse."""
    # Classification: minus the logarithm of the probability of the true class, at most 13.8, or 0
    # and 1 without probabilities. Regression: the absolute error under an absolute metric, else the
    # squared one.
    if not schema.classes:
        errors: Floats = np.abs(np.asarray(y_true, np.float64) - np.asarray(predicted, np.float64))
        of_value: Floats = errors if metric in ABSOLUTE else np.square(errors)
        return of_value
    truth = encode_truth(y_true, schema.classes)
    if probability is None:
        wrong: Floats = np.asarray(truth != encode(predicted, schema.classes), dtype=np.float64)
        return wrong
    stated = np.asarray(probability, np.float64)[np.arange(len(truth)), truth]
    losses: Floats = -np.log(np.clip(stated, _LEAST, 1.0))
    return losses


def expected_losses(probability: Floats | None) -> Floats | None:
    """Return the loss that the model itself expects of each row: the entropy it states."""
    if probability is None:
        return None
    p = np.clip(np.asarray(probability, np.float64), _LEAST, 1.0)
    entropy: Floats = -(p * np.log(p)).sum(axis=1)
    return entropy


def wrong_rows(y_true: ArrayLike, predicted: ArrayLike, schema: Schema) -> tuple[Ints, Ints, Mask]:
    """Return positions of true and predicted classes, and which rows differ."""
    truth, guess = encode_truth(y_true, schema.classes), encode(predicted, schema.classes)
    return truth, guess, truth != guess


def level_texts(column: Any) -> Array:
    """Return a column as text, nulls as ``(null)``, numbers of many values as quartiles.

    >>> import pandas as pd
    >>> level_texts(pd.Series(["a", None])).tolist()
    ['a', '(null)']
    """
    null = column.isna().to_numpy()
    if column.dtype.kind in "iuf" and column.nunique() > 12:
        values = column.astype("float64").replace([np.inf, -np.inf], np.nan)
        place, edges = pd.qcut(values, 4, duplicates="drop", labels=False, retbins=True)
        ends = [f"{low} to {high}" for low, high in pairwise(_apart(edges))]
        texts = ["(null)" if np.isnan(k) else ends[int(k)] for k in place]
    elif column.dtype.kind == "M":
        texts = [f"{v:%Y-%m}" if not gone else "" for v, gone in zip(column, null, strict=True)]
    else:
        texts = [_level(v) for v in column]
    found = np.asarray(texts, dtype=object)
    found[null] = "(null)"
    return found


def _apart(edges: Floats) -> list[str]:
    """Return numbers with four digits, or as many as distinguish them: months such as 202301."""
    texts = [[f"{edge:,.{digits}g}" for edge in edges] for digits in range(4, 18)]
    return next(each for each in texts if len(set(each)) == len(edges))


def _level(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)
