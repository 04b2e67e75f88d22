"""Metrics by the values of a column, and what groups of a sensitive column get.

Sources: Hardt, Price and Srebro (2016), Equality of opportunity in supervised learning: true
positive rates. Barocas, Hardt and Narayanan (2023), Fairness and machine learning, chapter 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.base.arrays import Floats, Ints, Mask
from tasks.base.runtime.libraries import scipy
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text.numbers import metric_words, number
from tasks.base.training_records import MetricValue, Schema
from tasks.evaluation.findings import ByColumn, GroupDifference, GroupRow, SliceScore
from tasks.metrics.bootstrap import interval, resampling
from tasks.metrics.label_codes import encode, encode_truth
from tasks.metrics.paired_bootstrap import Predictions
from tasks.metrics.scorer import sampled

LEAST_ROWS = 30
MOST_LEVELS = 12
_REPLICATES = 200
CONFIDENCE = 0.95


def by_column(
    column: str,
    levels: NDArray[np.object_],
    y_true: ArrayLike,
    model: Predictions,
    schema: Schema,
    metric: str,
    *,
    blocks: Ints | None = None,
    seed: int = 0,
) -> ByColumn:
    """Return the metric on the rows of each level, as text (rows,), that has rows enough."""
    found = [
        SliceScore(value=name, rows=int(rows.sum()), score=value)
        for name, rows in _levels(levels)
        if (value := _scored(rows, y_true, model, schema, metric, blocks, seed)).value is not None
    ]
    return ByColumn(
        column=column, metric=metric, levels=tuple(found), sentence=_weakest(column, found, metric)
    )


def _weakest(column: str, levels: list[SliceScore], metric: str) -> str:
    if len(levels) < 2:
        return f"{column} has fewer than two values with {LEAST_ROWS} rows."
    sign = 1.0 if greater_is_better(metric) else -1.0
    ordered = sorted(levels, key=lambda s: sign * (s.score.value or 0.0))
    worst, best = ordered[0], ordered[-1]
    gap = (
        f"{metric_words(metric)} goes from {_number(worst.score)} where {column} is {worst.value} "
        f"to {_number(best.score)} where it is {best.value}"
    )
    return f"{gap}; their intervals {'lie apart' if _apart(worst.score, best.score) else 'meet'}."


def _apart(a: MetricValue, b: MetricValue) -> bool:
    if None in (a.low, a.high, b.low, b.high):
        return False
    return bool(a.high < b.low or b.high < a.low)  # type: ignore[operator]


def _number(value: MetricValue) -> str:
    return number(value.value, value.half)


def _levels(levels: NDArray[np.object_]) -> Iterator[tuple[str, Mask]]:
    """Yield each level with rows enough, the commonest first, and its rows."""
    names, codes, counts = np.unique(levels.astype(str), return_inverse=True, return_counts=True)
    for k in np.argsort(-counts, kind="stable")[:MOST_LEVELS]:
        if counts[k] >= LEAST_ROWS:
            yield str(names[k]), np.asarray(codes.ravel() == k)


def _scored(
    rows: Mask,
    y_true: ArrayLike,
    model: Predictions,
    schema: Schema,
    metric: str,
    blocks: Ints | None,
    seed: int,
) -> MetricValue:
    part, y = model.only(rows), np.asarray(y_true)[rows]
    plan = resampling(len(y), None if blocks is None else blocks[rows], _REPLICATES, seed)
    return _valued(
        *sampled(metric, y, part.predicted, part.probability, schema, plan), plan.n_units
    )


def _valued(value: float, replicates: Floats, units: int) -> MetricValue:
    if not isfinite(value):
        return MetricValue(value=None)
    ends = interval(replicates, CONFIDENCE, units)
    if ends is None:
        return MetricValue(value=value)
    return MetricValue(value=value, low=min(ends[0], value), high=max(ends[1], value))


def group_differences(
    column: str,
    levels: NDArray[np.object_],
    y_true: ArrayLike,
    model: Predictions,
    schema: Schema,
    metric: str,
    *,
    blocks: Ints | None = None,
    seed: int = 0,
) -> GroupDifference:
    """Return each group's rates in a sensitive column, and the difference to the largest group."""
    # Binary: the share selected (predicted positive), the share of its positives that are found,
    # and the metric. Several classes: the share that is right, and the metric. Regression: the mean
    # prediction, the mean of prediction minus truth, and the metric. Intervals are bootstraps over
    # rows, or over `blocks`.
    groups = list(_levels(levels))
    truth = np.asarray(y_true)
    samples = {
        name: _rates(rows, truth, model, schema, metric, blocks, seed + place)
        for place, (name, rows) in enumerate(groups)
    }
    rated = []
    for name, rows in groups:
        rates = {k: _valued(*v) for k, v in samples[name].items()}
        first = samples[groups[0][0]]
        differences = {
            k: _difference(samples[name][k], first[k]) for k in rates if name != groups[0][0]
        }
        rated.append(
            GroupRow(value=name, rows=int(rows.sum()), rates=rates, differences=differences)
        )
    return GroupDifference(column=column, groups=tuple(rated), sentence=_compared(column, rated))


Sampled = tuple[float, Floats, int]


def _difference(ours: Sampled, theirs: Sampled) -> MetricValue:
    # Groups share no row, so their replicates are independent.
    units = min(ours[2], theirs[2])
    if len(ours[1]) != len(theirs[1]):
        return MetricValue(value=ours[0] - theirs[0] if isfinite(ours[0] - theirs[0]) else None)
    return _valued(ours[0] - theirs[0], ours[1] - theirs[1], units)


def _rates(
    rows: Mask,
    truth: NDArray[np.generic],
    model: Predictions,
    schema: Schema,
    metric: str,
    blocks: Ints | None,
    seed: int,
) -> dict[str, Sampled]:
    y, part = truth[rows], model.only(rows)
    plan = resampling(len(y), None if blocks is None else blocks[rows], _REPLICATES, seed)
    value, replicates = sampled(metric, y, part.predicted, part.probability, schema, plan)
    columns = _row_values(y, np.asarray(part.predicted), schema)
    rng = np.random.default_rng(seed)
    found: dict[str, Sampled] = {}
    units = _units(len(y), None if blocks is None else blocks[rows])
    count = int(units.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=len(replicates) or _REPLICATES)
    for name, (top, bottom) in columns.items():
        above = drawn @ np.bincount(units, weights=top, minlength=count)
        below = drawn @ np.bincount(units, weights=bottom, minlength=count)
        with np.errstate(all="ignore"):
            whole = float(top.sum() / bottom.sum()) if bottom.sum() else float("nan")
            found[name] = (whole, above / below, count)
    return {**found, metric: (value, replicates, plan.n_units)}


def _units(rows: int, blocks: Ints | None) -> Ints:
    if blocks is None:
        # Rows merged at random stay independent, and 2,000 units are enough for an interval.
        return np.arange(rows, dtype=np.int64) % 2_000
    return np.unique(blocks, return_inverse=True)[1].ravel().astype(np.int64)


def _row_values(
    y: NDArray[np.generic], predicted: NDArray[np.generic], schema: Schema
) -> dict[str, tuple[Floats, Floats]]:
    ones = np.ones(len(y))
    if not schema.classes:
        guess, truth = predicted.astype(np.float64), y.astype(np.float64)
        return {"mean prediction": (guess, ones), "mean error": (guess - truth, ones)}
    label, true = encode(predicted, schema.classes), encode_truth(y, schema.classes)
    if len(schema.classes) > 2:
        return {"right": ((label == true).astype(np.float64), ones)}
    k = schema.classes.index(schema.positive or schema.classes[-1])
    selected, positive = (label == k).astype(np.float64), (true == k).astype(np.float64)
    return {
        "selected": (selected, ones),
        "true positives found": (selected * positive, positive),
        "actually positive": (positive, ones),
    }


def _differs(value: MetricValue, tried: int) -> bool:
    """Whether a difference is beyond chance for the number of differences looked at (Dunn 1961)."""
    if value.value is None or value.half is None:
        return False
    deviation = value.half / scipy.stats.norm.ppf((1 + CONFIDENCE) / 2)
    return bool(
        abs(value.value)
        > deviation * scipy.stats.norm.ppf(1 - (1 - CONFIDENCE) / 2 / max(1, tried))
    )


def _compared(column: str, groups: list[GroupRow]) -> str:
    if len(groups) < 2:
        return f"{column} has fewer than two groups with {LEAST_ROWS} rows, so none are compared."
    first = groups[0].value
    tried = sum(name != "actually positive" for g in groups for name in g.differences)
    differing = []
    for group in groups[1:]:
        for name, value in group.differences.items():
            if name == "actually positive" or value.half is None:
                continue
            if _differs(value, tried):
                ours, theirs = group.rates[name], groups[0].rates[name]
                differing.append(
                    f"{name}: {_number(ours)} of {group.value} against {_number(theirs)} of {first}"
                )
    if not differing:
        return f"No difference between the groups of {column} is shown on these rows."
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    return f"Groups of {column} differ beyond chance in {'; '.join(differing[:3])}{more}."
