"""Mistakes on the holdout: how many of which kind, the worst rows, labels that may be wrong.

Source: Northcutt, Jiang and Chuang (2021), Confident learning: estimating uncertainty in dataset
labels, Journal of Artificial Intelligence Research 70.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Floats
from tasks.base.runtime.libraries import scipy
from tasks.base.text.numbers import number
from tasks.base.training_records import Schema
from tasks.evaluation.findings import Confusion, WorstRow
from tasks.metrics.losses import wrong_rows

SURE = 0.95
_MOST_CONFUSIONS = 5
_MOST_ALIKE = 10_000
_FAR = 6.0
_NORMAL = 1.4826
"""The median absolute deviation of a normal distribution times this is its deviation."""


def confusions(y_true: ArrayLike, predicted: ArrayLike, schema: Schema) -> tuple[Confusion, ...]:
    """Return the most frequent confusions of classes; `share` is of the true class's rows."""
    if not schema.classes:
        return ()
    truth, guess, wrong = wrong_rows(y_true, predicted, schema)
    k = len(schema.classes)
    usable = wrong & (guess < k)
    cells = np.bincount(truth[usable] * k + guess[usable], minlength=k * k)
    rows = np.bincount(truth, minlength=k)
    order = [int(c) for c in np.argsort(-cells, kind="stable")[:_MOST_CONFUSIONS] if cells[c]]
    return tuple(
        Confusion(
            true=schema.classes[c // k],
            predicted=schema.classes[c % k],
            rows=int(cells[c]),
            share=float(cells[c] / rows[c // k]),
        )
        for c in order
    )


def mistakes(y_true: ArrayLike, predicted: ArrayLike, schema: Schema, *, lean: bool = True) -> str:
    """Return a sentence on the kinds of mistakes; `lean`: with the effect of another threshold."""
    if not schema.classes:
        return _misses(y_true, predicted)
    truth, guess, wrong = wrong_rows(y_true, predicted, schema)
    if not wrong.any():
        return "No row of the holdout is predicted wrongly."
    if len(schema.classes) > 2:
        first = confusions(y_true, predicted, schema)[:2]
        named = " and ".join(f"{c.true} taken for {c.predicted} ({c.rows:,})" for c in first)
        return f"{int(wrong.sum()):,} of {len(truth):,} rows are wrong; most often {named}."
    positive = schema.positive or schema.classes[-1]
    k = schema.classes.index(positive)
    false_alarms, missed = int((wrong & (guess == k)).sum()), int((wrong & (truth == k)).sum())
    claimed, actual = int((guess == k).sum()), int((truth == k).sum())
    turn = ""
    if lean and max(false_alarms, missed) > 2 * max(1, min(false_alarms, missed)):
        low = missed > false_alarms
        more, fewer = ("Misses", "false alarms") if low else ("False alarms", "misses")
        turn = (
            f" {more} are more frequent than {fewer}; a {'lower' if low else 'higher'} threshold "
            "reverses that (`objective: f1`, or `cost` below it)."
        )
    return (
        f"Of {actual:,} rows that are {positive} it misses {missed:,} (false negatives); of "
        f"{claimed:,} that it calls {positive}, {false_alarms:,} are not (false positives).{turn}"
    )


def _misses(y_true: ArrayLike, predicted: ArrayLike) -> str:
    left = np.asarray(y_true, np.float64) - np.asarray(predicted, np.float64)
    if not len(left) or not np.isfinite(left).all():
        return ""
    size = np.abs(left)
    tenth = np.quantile(size, 0.9)
    share = float((size[size >= tenth] ** 2).sum() / max((size**2).sum(), 1e-300))
    scale = float(np.median(size))
    return (
        f"Half of the rows are missed by less than {number(scale, scale / 50)}, a tenth by "
        f"{number(float(tenth), scale / 50)} or more; that tenth makes {share:.0%} of the squared "
        "error."
    )


def worst_rows(
    y_true: ArrayLike,
    predicted: ArrayLike,
    probability: Floats | None,
    losses: Floats,
    names: Sequence[str] | None,
    most: int = 10,
) -> tuple[WorstRow, ...]:
    """Return the rows on which the model is most wrong, the worst first."""
    # `names` are what rows are called, where that may be shown; without, rows that look alike are
    # one.
    truth, guess = np.asarray(y_true), np.asarray(predicted)
    order = np.argsort(-losses, kind="stable")[: most if names is not None else _MOST_ALIKE]
    found: dict[tuple[object, ...], WorstRow] = {}
    for k in order[losses[order] > 0].tolist():
        values = isinstance(truth[k], float) and isinstance(guess[k], float)
        row = WorstRow(
            row="" if names is None else names[k],
            true=_text(truth[k]),
            predicted=_text(guess[k]),
            stated=None if probability is None else float(probability[k].max()),
            loss=abs(truth[k] - guess[k]) if values else float(losses[k]),
        )
        stated = None if row.stated is None else round(row.stated, 2)
        alike = (row.true, row.predicted, stated) if names is None else (k,)
        known = found.get(alike)
        found[alike] = row if known is None else known.model_copy(update={"rows": known.rows + 1})
    return tuple(found.values())[:most]


def _text(value: object) -> str:
    return number(float(value)) if isinstance(value, float) else str(value)


def label_suspects(
    y_true: ArrayLike, predicted: ArrayLike, probability: Floats | None, schema: Schema
) -> tuple[int, str]:
    """Return how many labels may be wrong, and a sentence on them; 0 and "" for none."""
    # Classification: rows whose class is stated with at least 95 % to be another one, where there
    # are more of them than the stated probabilities allow. Regression: rows missed by more than six
    # times what is usual.
    if not schema.classes:
        return _far_off(y_true, predicted)
    if probability is None:
        return 0, ""
    truth, _, _ = wrong_rows(y_true, predicted, schema)
    stated = np.asarray(probability, np.float64)
    top = stated.argmax(axis=1)
    sure = stated.max(axis=1) >= SURE
    suspect = sure & (top != truth)
    count = int(suspect.sum())
    if not count:
        return 0, ""
    allowed = float((1 - stated[sure].max(axis=1)).sum())
    share = count / len(truth)
    text = (
        f"On {count:,} rows ({share:.2%}) it is wrong while at least {SURE:.0%} sure, where its "
        f"own probabilities allow {allowed:,.0f} of {int(sure.sum()):,}"
    )
    chance = scipy.stats.poisson.sf(count - 1, max(allowed, 1e-9))
    if count >= 3 and chance < 0.01:
        return count, f"{text}: labels that may be wrong, or rows unlike any it has learned from."
    return 0, f"{text}: no sign of wrong labels."


def _far_off(y_true: ArrayLike, predicted: ArrayLike) -> tuple[int, str]:
    left: Floats = np.asarray(y_true, np.float64) - np.asarray(predicted, np.float64)
    if len(left) < 50 or not np.isfinite(left).all():
        return 0, ""
    centre = np.median(left)
    usual = _NORMAL * float(np.median(np.abs(left - centre)))
    if usual <= 0:
        return 0, ""
    count = int((np.abs(left - centre) > _FAR * usual).sum())
    if not count:
        return 0, ""
    share = count / len(left)
    text = f"{count:,} rows ({share:.2%}) are missed by more than {_FAR:.0f} times the usual error"
    if share > 0.01:
        return 0, f"{text}: the errors have a long tail; a logarithm of the target may help."
    return count, f"{text}: values that may be wrong, or a case that no column explains."
