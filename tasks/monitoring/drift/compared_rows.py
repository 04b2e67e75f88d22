"""Rows of the reference or of a window, which are compared with each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.base.runtime.libraries import pd

MOST_ROWS = 2_000  # of a side; the AUC of so many is known to 0.01


@dataclass(frozen=True)
class Side:
    """Rows of the reference or of a window."""

    frame: pd.DataFrame
    times: NDArray[np.datetime64] | None = None  # shape (n_rows,), UTC without a zone

    def capped(self, most: int = MOST_ROWS) -> Side:
        """Return at most so many of the rows, drawn alike each time, in the order of time."""
        order = np.arange(len(self.frame))
        if self.times is not None:
            order = np.argsort(self.times, kind="stable")
        if len(order) > most:
            order = order[np.sort(np.random.default_rng(0).choice(len(order), most, replace=False))]
        return Side(self.frame.iloc[order], None if self.times is None else self.times[order])
