"""A target whose newest rows cannot be labelled yet: they are not the contract's business."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from expectations.engine.libraries import pd
from expectations.facts.column_facts import facts_of
from expectations.text.time_spans import as_naive_utc


@dataclass(frozen=True)
class LateLabels:
    """From when on a missing target is no fault."""

    target: str
    time_column: str
    until: datetime  # newest time at which a label must be known, UTC

    def mature(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows must be labelled, of shape (n_rows,); those without a time must."""
        times = facts_of(rows[self.time_column])
        if times.stored != "time":
            return np.ones(len(rows), dtype=bool)
        return ~np.asarray(times.values > as_naive_utc(self.until), dtype=bool)
