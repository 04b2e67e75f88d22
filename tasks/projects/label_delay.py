"""Time after a row until its label is known, as a table shows it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST_ROWS = 30
_NEWER = 0.9


def label_delay(times: NDArray[np.datetime64], labelled: NDArray[np.bool_]) -> int:
    """Return the days from the newest labelled row to the newest row; 0 where no delay is shown.

    It is shown by 30 unlabelled rows at least, nine in ten of which are newer than every label,
    while nothing else is.

    `times`: of the rows, in any order; shape (n,). Missing ones do not count; `labelled`: whether a
    row has a usable label; shape (n,).

    >>> days = np.arange("2026-01-01", "2026-05-01", dtype="datetime64[D]")
    >>> label_delay(days, days < np.datetime64("2026-03-01"))
    61
    """
    known = ~np.isnat(times)
    times, labelled = times[known].astype("datetime64[s]"), labelled[known]
    if not labelled.any() or (~labelled).sum() < _LEAST_ROWS:
        return 0
    newest = times[labelled].max()
    if (times[~labelled] > newest).mean() < _NEWER:
        return 0
    return int(np.ceil((times.max() - newest) / np.timedelta64(1, "D")))
