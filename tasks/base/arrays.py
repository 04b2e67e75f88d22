"""Short names for arrays by what they hold, and rows drawn evenly: the same ones each time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Matrix = NDArray[np.float32]  # encoded rows, shape (n_rows, n_outputs)


def subsample_evenly(rows: int, limit: int) -> Ints:
    """Return at most `limit` positions out of `rows`, in order: the middles of equal parts.

    >>> subsample_evenly(10, 4).tolist()
    [1, 3, 6, 8]
    >>> subsample_evenly(3, 4).tolist()
    [0, 1, 2]
    """
    if rows <= limit:
        return np.arange(rows, dtype=np.int64)
    return ((np.arange(limit, dtype=np.int64) * 2 + 1) * rows) // (2 * limit)


def spread(rows: int, most: int) -> Ints:
    """Return at most `most` positions out of `rows`, in order, the first and the last with them.

    >>> spread(5, 3), spread(2, 3)
    (array([0, 2, 4]), array([0, 1]))
    """
    return np.linspace(0, max(0, rows - 1), min(rows, most)).astype(np.int64)
