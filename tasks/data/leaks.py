"""Features that look too good to be true, and features that are there twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import Array, Floats, Ints, Mask
from tasks.base.runtime.libraries import pa, pc, pd
from tasks.base.runtime.mapped_files import let_mapped_pages_go, prefetch
from tasks.base.training_records import NUMBERS, Kind, Schema
from tasks.data.targets import Judged, labels_of

SAMPLE_ROWS = 20_000
SAMPLE_CELLS = 3_000_000  # wide tables: fewer rows, at least 1,000
LEAK_AUC = 0.99
LEAK_RANK_CORRELATION = 0.999
LATER_SHARE = 0.5
_BOTH_SIDES = 30
_BY_CHANCE = 1e-6
_SEED = 0


def suspicions(
    table: Any,
    features: Mapping[str, Kind],
    target: str,
    judged: Judged,
    time_column: str | None = None,
) -> dict[str, str]:
    """Return each feature that looks like a leak, with a sentence on it."""
    # Judged on at most 20,000 rows. A feature is suspicious when it equals the target, when it
    # alone reaches a ROC AUC above 0.99 (binary), gives each row's class (multiclass), or ranks the
    # rows as the target does (regression: Spearman's correlation above 0.999). A moment is when it
    # mostly lies after the row's own time: it was written once the event was over. So is one that
    # is empty, or 0, in all rows without a label, and not in as many labelled rows next to them.
    judged_by = [target, *([time_column] if time_column else [])]
    sample = _sampled(table, [*features, *judged_by], len(features))
    schema = Schema(target=target, task=judged.task, features={}, classes=judged.classes)
    y, keep = labels_of(sample[target], schema)
    if len(y) < 20:
        return {}
    codes = y if judged.task in NUMBERS else np.unique(y, return_inverse=True)[1]
    found = {}
    labelled = _labelled_rows(sample, keep, time_column)
    for name, kind in features.items():
        values = _values(sample[name], keep)
        if values is not None:
            why = _too_good(values, kind, codes, judged)
        else:
            why = _afterwards(sample, name, time_column)
        why = why or _with_the_label(sample[name], keep, labelled)
        if why:
            found[name] = (
                f"{name!r} looks like a leak: {why}; unless it is known before the prediction is "
                "made, put it under `exclude`"
            )
    return found


def _sampled(table: Any, names: Sequence[str], features: int) -> Any:
    most = max(1000, min(SAMPLE_ROWS, SAMPLE_CELLS // max(features, 1)))
    if table.num_rows <= most:
        return table
    rows = np.random.default_rng(_SEED).choice(table.num_rows, most, replace=False)
    chosen, columns = pa.array(np.sort(rows)), {}
    for name in dict.fromkeys(names):
        # One at a time: of a table larger than memory they would push each other out.
        prefetch(table.select([name]))
        columns[name] = table[name].take(chosen)
        let_mapped_pages_go()
    return pa.table(columns)


def _values(column: Any, keep: Mask) -> Floats | None:
    """Return a column as numbers, nulls as NaN; text by codes."""
    if pa.types.is_string(column.type):
        encoded = column.combine_chunks().dictionary_encode()
        column = pa.chunked_array([encoded.indices])
    elif pa.types.is_timestamp(column.type):
        return None
    numbers: Floats = column.cast(pa.float64(), safe=False).to_numpy()
    return numbers[keep]


def _afterwards(sample: Any, name: str, time_column: str | None) -> str:
    """Return that a moment mostly lies after the row's own time; empty where it does not."""
    if time_column is None or name == time_column:
        return ""
    moment, at = (_instants(sample[column]) for column in (name, time_column))
    if moment is None or at is None:
        return ""
    known = ~(np.isnat(moment) | np.isnat(at))
    if known.sum() < 20:
        return ""
    later = float(np.mean(moment[known] > at[known]))
    if later < LATER_SHARE:
        return ""
    return (
        f"it lies after the row's own time, {time_column!r}, in {later:.0%} of the rows that have "
        "it, as what is written after the event does"
    )


def _labelled_rows(sample: Any, keep: Mask, time_column: str | None) -> Ints:
    """Return labelled rows, by time the newest, as many as there are without a label."""
    rows, absent = np.flatnonzero(keep), int((~keep).sum())
    times = None if time_column is None else _instants(sample[time_column])
    if times is not None:
        rows = rows[np.argsort(times[rows], kind="stable")][-absent:] if absent else rows[:0]
    return rows


def _with_the_label(column: Any, keep: Mask, labelled: Ints) -> str:
    """Return that a column is filled in with the label; empty where it is not."""
    # Rows without a label are like those that will be scored. A share of filled cells as among the
    # labelled rows would leave all of them empty by chance in one case of a million at most.
    absent = int((~keep).sum())
    if min(absent, len(labelled)) < _BOTH_SIDES:
        return ""
    empty = column.is_null().to_numpy()
    what = "empty"
    if not empty[~keep].all():
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            return ""
        empty = empty | np.asarray(pc.fill_null(pc.equal(column, 0), True).to_numpy())
        what = "empty or 0"
    filled = 1 - float(empty[labelled].mean())
    if not empty[~keep].all() or (1 - filled) ** absent > _BY_CHANCE:
        return ""
    return (
        f"it is {what} in every row without a label and filled in {filled:.1%} of the "
        "labelled ones, so it seems to be known with the label only"
    )


def _instants(column: Any) -> NDArray[np.datetime64] | None:
    """Return moments, those with a zone in UTC; None where the column holds none."""
    if not pa.types.is_timestamp(column.type):
        return None
    return np.asarray(column.cast(pa.timestamp("us"), safe=False).to_numpy())


def _too_good(values: Floats, kind: Kind, y: Array, judged: Judged) -> str:
    if judged.task in NUMBERS:
        if kind in ("categorical", "text"):
            return ""
        correlation = _rank_correlation(values, y)
        if correlation > LEAK_RANK_CORRELATION:
            return f"it ranks the rows as the target does (rank correlation {correlation:.4f})"
        return ""
    if judged.task == "multiclass":
        purity = _purity(values, y)
        return "each of its values stands for one class" if purity > LEAK_AUC else ""
    scored = _target_rate(values, y) if kind in ("categorical", "text") else (values, y)
    if scored is None:
        return ""
    area = auc(*scored)
    return f"it alone reaches a ROC AUC of {area:.3f}" if area > LEAK_AUC else ""


def auc(values: Floats, y: Array) -> float:
    """Return the ROC AUC of one feature, or of its negative where that is greater.

    Nulls rank below all values. Shape of both: (n,); `y` is 0 or 1. Source: Hanley and McNeil
    (1982), The meaning and use of the area under a ROC curve, Radiology 143.
    >>> auc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1]))
    1.0
    """
    ranks = _ranks(values)
    positives = int(np.sum(y == 1))
    negatives = len(y) - positives
    if not positives or not negatives:
        return 0.5
    above = ranks[y == 1].sum() - positives * (positives + 1) / 2
    area = float(above / (positives * negatives))
    return max(area, 1 - area)


def _ranks(values: Floats) -> Floats:
    """Return average ranks from 1, those of nulls first; ties share theirs."""
    return np.asarray(pd.Series(values).rank(na_option="top"), dtype=np.float64)


def _rank_correlation(values: Floats, y: Array) -> float:
    present = np.isfinite(values)
    if present.sum() < max(20, 0.5 * len(values)):
        return 0.0
    a, b = _ranks(values[present]), _ranks(np.asarray(y[present], np.float64))
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(abs(np.corrcoef(a, b)[0, 1]))


def _half(rows: int) -> Mask:
    # By chance, not by turns: tables often alternate.
    return np.random.default_rng(_SEED).random(rows) < 0.5


def _target_rate(values: Floats, y: Array) -> tuple[Floats, Array] | None:
    """Return each category's rate of positives in one half of the rows, for the other half."""
    half = _half(len(y))
    codes = np.unique(np.where(np.isnan(values), -1, values), return_inverse=True)[1]
    seen = np.bincount(codes[half], minlength=codes.max() + 1)
    hits = np.bincount(codes[half], weights=y[half] == 1, minlength=codes.max() + 1)
    rate = np.divide(
        hits, seen, out=np.full(len(seen), float(np.mean(y[half] == 1))), where=seen > 0
    )
    if len(np.unique(y[~half])) < 2:
        return None
    return rate[codes[~half]], y[~half]


def _purity(values: Floats, y: Array) -> float:
    """Return the share of one half's rows whose class their value's most frequent class is."""
    codes = np.unique(np.where(np.isnan(values), -1, values), return_inverse=True)[1]
    half = _half(len(y))
    classes = int(y.max()) + 1
    if codes.max() > 4 * classes + 10 or codes.max() < 1:
        return 0.0
    counts = np.zeros((codes.max() + 1, classes), np.int64)
    np.add.at(counts, (codes[half], y[half]), 1)
    guess = counts.argmax(axis=1)
    return float(np.mean(guess[codes[~half]] == y[~half]))


def twins(table: Any, features: Mapping[str, Kind]) -> list[str]:
    """Return a sentence on each feature that equals an earlier one in every row."""
    first: dict[tuple[Any, ...], list[str]] = {}
    notes = []
    for name in features:
        column = table[name]
        head = (str(column.type), column.null_count, tuple(column[:50].to_pylist()))
        known = first.setdefault(head, [])
        twin = next((other for other in known if table[other].equals(column)), None)
        if twin is None:
            known.append(name)
        else:
            notes.append(
                f"{name!r} equals {twin!r} in every row; one of them may go under `exclude`"
            )
    return notes
