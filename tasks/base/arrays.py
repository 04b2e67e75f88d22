"""Short names for arrays by what they hold; shapes stand where an array is used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Matrix = NDArray[np.float32]
"""Encoded rows, shape (n_rows, n_outputs)."""
