"""Whether each segment's rows could hurt, as whole windows are judged, at a shared level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import spread
from tasks.base.monitoring_records import SegmentDrift
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Kind
from tasks.monitoring.drift.column_values import column_of, levels_of
from tasks.monitoring.drift.compared_rows import MOST_ROWS, Side
from tasks.monitoring.drift.harm.ordinary_blocks import Read
from tasks.monitoring.drift.harm.verdict import Evidence, harm_of
from tasks.monitoring.drift.reference_summary import Reference

_MOST_SEGMENTS = 30


def segment_values(column: pd.Series[Any], kind: Kind) -> NDArray[Any]:
    """Return the value of each row as text, empty where it has none, shape (n_rows,)."""
    codes, levels = levels_of(column, "categorical" if kind == "numeric" else kind)
    return np.array([*levels, ""], dtype=object)[codes]


def harm_of_segments(
    reference: Reference,
    window: Side,
    evidence: Evidence,
    training: Mapping[str, NDArray[Any]],
    read: Read,
    watched: Mapping[str, float],
    *,
    min_rows: int,
    false_alarms: float,
) -> tuple[SegmentDrift, ...]:
    """Return whether each segment with rows enough on both sides could hurt, largest first."""
    # `training`: column that makes segments to the values of all training rows, which `read` gives.
    chosen: list[tuple[str, str, NDArray[np.bool_]]] = []
    for column, before in training.items():
        if column in window.frame:
            kind = reference.columns[column].kind if column in reference.columns else "categorical"
            values = segment_values(column_of(window.frame, column), kind)
            places, levels = pd.factorize(values, sort=True)
            earlier = pd.Series(before).value_counts().reindex(levels, fill_value=0).to_numpy()
            enough = (np.bincount(places) >= min_rows) & (earlier >= min_rows) & (levels != "")
            chosen += [(column, str(levels[k]), places == k) for k in np.flatnonzero(enough)]
    chosen = sorted(chosen, key=lambda one: -int(one[2].sum()))[:_MOST_SEGMENTS]
    level = false_alarms / max(len(chosen), 1)
    found = []
    for column, value, ours in chosen:
        rows = np.flatnonzero(training[column] == value)
        rows = rows[spread(len(rows), MOST_ROWS)]
        times = None if window.times is None else window.times[ours]
        others = {name: weight for name, weight in watched.items() if name != column}
        harm = harm_of(
            reference, Side(window.frame[ours], times), replace(evidence, sample=Side(read(rows))),
            others, false_alarms=level,
        )  # fmt: skip
        found.append(
            SegmentDrift(
                column=column, value=value, rows=int(ours.sum()), harm=tuple(harm),
                harmful=any(one.found for one in harm),
            )
        )  # fmt: skip
    return tuple(found)


def with_segments(names: Sequence[SegmentDrift]) -> str:
    """Return a sentence on the segments that could hurt, to append to the window's."""
    harmful = [segment.name for segment in names if segment.harmful]
    if not harmful:
        return ""
    more = f" and {len(harmful) - 3} more" if len(harmful) > 3 else ""
    return f"; could hurt in {', '.join(harmful[:3])}{more}"
