"""Noise of a mean over validation folds.

Folds share training rows, so that their differences are not independent: the variance of the mean
is taken as ``s² (1/k + v)`` for k folds, where v is the rows that validate for one that is fitted
on.

Source: Nadeau and Bengio (2003), Inference for the generalization error, Machine Learning 52.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from tasks.base.arrays import Floats
from tasks.base.runtime.libraries import scipy

CONFIDENCE = 0.95
"""Of one side."""
LEAST_PARTS = 3
"""Of fewer parts noise is not known."""


def standard_error(differences: Floats, shared: float) -> float:
    """Return the standard error of the mean over parts whose training rows overlap."""
    parts = len(differences)
    return float(np.std(differences, ddof=1)) * sqrt(1 / parts + shared)


def noise(differences: Floats, shared: float) -> float:
    """Return the limit that the mean over parts exceeds by chance in 5 % of cases, one-sided."""
    quantile = float(scipy.special.stdtrit(len(differences) - 1, CONFIDENCE))
    return quantile * standard_error(differences, shared)


def shared_rows(folds: int, *, ordered: bool) -> float:
    """Return the rows that validate for one that is fitted on.

    Forward in time half of the rows come before the first fold.

    >>> shared_rows(5, ordered=False), round(shared_rows(5, ordered=True), 3)
    (0.25, 0.143)
    """
    if folds < 2:
        return 0.0
    return 2 / (3 * folds - 1) if ordered else 1 / (folds - 1)
