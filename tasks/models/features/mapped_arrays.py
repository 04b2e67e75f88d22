"""Matrices that are mapped from disk, used without a copy and without holding their pages."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Ints


def rows_at(X: Array, positions: Ints) -> Array:
    """Return rows of a matrix: a view where the positions follow one another, else a copy.

    >>> X = np.arange(8).reshape(4, 2)
    >>> rows_at(X, np.array([1, 2])).base is X.base, rows_at(X, np.array([0, 2])).base is X.base
    (True, False)
    """
    if len(positions) and bool((np.diff(positions) == 1).all()):
        return X[int(positions[0]) : int(positions[-1]) + 1]
    return X[positions]


def letting_go(X: Array) -> Callable[[Any], None]:
    """Return a callback by which LightGBM lets go of the pages of a mapped matrix."""
    # When its first round begins it has put the values into bins and reads the matrix no more. The
    # pages are read from disk again when needed.

    def let_go(round_: Any) -> None:
        mapped = getattr(X, "_mmap", None)
        if mapped is not None and round_.iteration == round_.begin_iteration:
            mapped.madvise(mmap.MADV_DONTNEED)

    let_go.before_iteration = True  # type: ignore[attr-defined]
    return let_go
