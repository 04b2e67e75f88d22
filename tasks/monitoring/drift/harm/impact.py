"""Whether what moved could hurt: rows that the champion did not learn from, and its predictions.

Two measures, both in units that a person can weigh.

*Outside* is the share of rows that hold something the champion never learned from: a level or a
null that its training rows lack, or a number beyond their 1st and 99th percentile by more than a
tenth of what lies between these. There the champion extrapolates.

*Moved predictions* is the Wasserstein distance of the predictions from those of rows that the
model was not trained on, in standard deviations of these (for classes, the total variation
distance). It bounds by how much the mean of any Lipschitz function of the predictions changes
(Villani 2009, remark 6.5), so that of the expected loss of a calibrated model too, which is a
function of its predictions; and shifts of the outputs are the most sensitive signal of a shift
that matters (Lipton, Wang and Smola 2018; Rabanser, Günnemann and Lipton 2019).

Of one column, the *effect* is the mean change of the predictions of training rows when the
column's values are carried over to the window's distribution, each to the value of its rank, the
other columns staying as they are (a transport map; Kulinski and Inouye 2023). A column that must
move, such as a date, is judged by it and not by how far it moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import spread
from tasks.base.runtime.libraries import pd, scipy
from tasks.base.training_records import Kind
from tasks.monitoring.drift.column_summary import Summary, cuts_of
from tasks.monitoring.drift.column_values import column_of, is_numeric, levels_of, numbers_of
from tasks.monitoring.drift.distances import Floats

Predict = Callable[["pd.DataFrame"], NDArray[np.generic]]

_TAIL = 0.01
_MARGIN = 0.1
_KNOWN_NULLS = 0.0005
_EFFECT_ROWS = 500
_GRID = 512


@dataclass(frozen=True)
class Bounds:
    """Values of a column in the training rows."""

    kind: Kind
    low: float = -math.inf  # low, high: between them lie the numbers learned from
    high: float = math.inf
    levels: frozenset[str] | None = None  # None where not all are known, and for numbers
    nulls: bool = True  # whether there were nulls to learn from

    def outside(self, column: pd.Series[Any]) -> NDArray[np.bool_]:
        """Return which rows hold something else, shape (n_rows,)."""
        if is_numeric(self.kind):
            values = numbers_of(column, self.kind).values
            null = np.isnan(values)
            found = (values < self.low) | (values > self.high)
        else:
            codes, texts = levels_of(column, self.kind)
            known = self.levels
            strange = [known is not None and text not in known for text in texts]
            null = codes < 0
            found = np.array([*strange, False])[codes]
        return np.asarray(found if self.nulls else found | null)


def bounds_of(
    summary: Summary, cells: NDArray[np.bool_] | None = None, *, fewest: int = 1
) -> Bounds:
    """Return the bounds of a column in the reference, or in `cells`, its stretches of time."""
    # Levels in fewer than `fewest` rows of the reference do not count as known.
    nulls = summary.nulls > _KNOWN_NULLS * max(summary.rows, 1)
    if summary.numeric:
        points, at_most = summary.points, summary.at_most
        if cells is not None and summary.cells.size:
            points, at_most = cuts_of(summary), np.cumsum(summary.cells[cells].sum(axis=0))
        if not len(points) or not at_most[-1]:
            return Bounds(summary.kind, nulls=nulls)
        low, high = points[
            np.searchsorted(at_most, [_TAIL * at_most[-1], (1 - _TAIL) * at_most[-1]])
        ]
        wide = _MARGIN * (high - low) if np.isfinite(high - low) else 0.0
        return Bounds(summary.kind, float(low - wide), float(high + wide), None, nulls)
    if not summary.complete:
        return Bounds(summary.kind, nulls=nulls)
    if cells is None or not summary.cells.size:
        known = zip(summary.levels, summary.counts, strict=True)
        levels = frozenset(text for text, count in known if count >= fewest)
        return Bounds(summary.kind, levels=levels, nulls=nulls)
    seen = summary.cells[cells].sum(axis=0) > 0
    kept = [text for text, known in zip(summary.levels, seen, strict=False) if known]
    return Bounds(
        summary.kind, levels=frozenset([*kept, *summary.levels[summary.told :]]), nulls=nulls
    )


def outside_rows(
    frame: pd.DataFrame, bounds: Mapping[str, Bounds]
) -> tuple[float, dict[str, float]]:
    """Return the share of rows that lie outside in any column, and the share of each column."""
    anywhere = np.zeros(len(frame), dtype=bool)
    shares = {}
    for name, bound in bounds.items():
        if name in frame.columns and len(frame):
            found = bound.outside(column_of(frame, name))
            anywhere |= found
            shares[name] = float(found.mean())
    return (float(anywhere.mean()) if len(frame) else 0.0), shares


def movement(predictions: NDArray[np.generic], references: NDArray[np.generic]) -> float:
    """Return the distance of predictions from the reference's.

    Returns: of numbers, the Wasserstein distance in standard deviations of the reference's; of
    classes, the total variation distance of their shares.

    >>> movement(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0]))
    1.2247
    """
    if references.dtype.kind not in "iuf":
        return _class_movement(predictions, references)
    ours, theirs = (_finite(side) for side in (predictions, references))
    if not len(ours) or not len(theirs):
        return 0.0
    scale = float(theirs.std())
    grid = (np.arange(_GRID) + 0.5) / _GRID
    distance = float(np.abs(np.quantile(ours, grid) - np.quantile(theirs, grid)).mean())
    if scale <= 0:
        return 0.0 if distance <= 0 else 1.0
    return round(distance / scale, 4)


def _finite(values: NDArray[np.generic]) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    return numbers[np.isfinite(numbers)]


def _class_movement(predictions: NDArray[np.generic], references: NDArray[np.generic]) -> float:
    ours = pd.Series(predictions).astype(str).value_counts(normalize=True)
    theirs = pd.Series(references).astype(str).value_counts(normalize=True)
    return round(float(ours.sub(theirs, fill_value=0.0).abs().sum() / 2), 4)


def effects_of(
    sample: pd.DataFrame, window: pd.DataFrame, columns: Mapping[str, Kind], predict: Predict
) -> dict[str, float]:
    """Return by how much the shift of each column alone changes the predictions of `sample`."""
    # Mean absolute change in standard deviations of the predictions, or the share of classes that
    # change; columns that `predict` cannot take so are left out.
    rows = sample.iloc[spread(len(sample), _EFFECT_ROWS)]
    found: dict[str, float] = {}
    if not len(window) or not len(rows):
        return found
    before = predict(rows)
    for name in columns:
        if name in rows.columns and name in window.columns:
            carried = _carried(column_of(rows, name), column_of(window, name), columns[name])
            found[name] = _change(before, predict(rows.assign(**{name: carried})))
    return found


def _carried(before: pd.Series[Any], window: pd.Series[Any], kind: Kind) -> Any:
    """Return values of the window for the rows of `before`, each of the rank that it had there."""
    # Of levels as many rows as possible keep theirs: the least that has to move does.
    if kind in ("numeric", "datetime"):
        values = numbers_of(before, kind).values
        ranked = window.iloc[np.argsort(numbers_of(window, kind).values, kind="stable")]
        rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
        place = ((rank + 0.5) * len(ranked) / len(values)).astype(np.int64)
        return ranked.iloc[place].array
    codes, texts = levels_of(pd.concat([before, window], ignore_index=True), kind)
    ours, theirs = codes[: len(before)], codes[len(before) :]
    wanted = np.bincount(theirs + 1, minlength=len(texts) + 1) * (len(ours) / len(theirs))
    place = np.full(len(ours), -1, dtype=np.int64)
    free = []
    for code in range(-1, len(texts)):
        rows = np.flatnonzero(ours == code)
        kept = min(len(rows), round(float(wanted[code + 1])))
        at = np.flatnonzero(theirs == code)
        place[rows[:kept]] = at[np.arange(kept) % len(at)] if len(at) else -1
        free.append(np.repeat(at, max(round(float(wanted[code + 1])) - kept, 0))[: len(ours)])
    missing = np.flatnonzero(place < 0)
    pool = np.concatenate(free)
    if not len(pool):
        pool = np.arange(len(window))
    place[missing] = np.random.default_rng(0).choice(pool, len(missing))
    return window.iloc[place].array


def _change(before: NDArray[np.generic], after: NDArray[np.generic]) -> float:
    if before.dtype.kind not in "iuf":
        return float((before.astype(str) != after.astype(str)).mean())
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    scale = float(np.nanstd(first))
    return float(np.nanmean(np.abs(first - second))) / scale if scale > 0 else 0.0


def upper_limit(past: Sequence[float], false_alarms: float) -> float | None:
    """Return the limit that one more value like `past` exceeds with a small probability."""
    # The prediction limit of a normal sample (Hahn 1970) of the logarithms of the values, which are
    # positive. None for fewer than three.
    if len(past) < 3:
        return None
    logs = np.log(np.clip(np.array(past, dtype=np.float64), 0.005, None))
    n = len(logs)
    deviation = max(float(logs.std(ddof=1)), 0.1)
    wide = float(scipy.stats.t.isf(false_alarms, n - 1)) * math.sqrt(1 + 1 / n)
    return float(np.exp(logs.mean() + deviation * wide))
