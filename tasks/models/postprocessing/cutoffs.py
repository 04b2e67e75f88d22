"""The threshold that is best on given rows: by cost, F1, a least precision or recall."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tasks.base.arrays import Floats, Ints, Mask

Rule = Callable[[Floats, Mask], float]


def costs_of(called: Mask, hit: Mask, false_positive: float, false_negative: float) -> Floats:
    """Return the cost of each row."""
    return np.where(called & ~hit, false_positive, np.where(~called & hit, false_negative, 0.0))


def mean_cost(called: Mask, hit: Mask, false_positive: float, false_negative: float) -> float:
    """Return the mean cost a row of calling rows positive.

    >>> mean_cost(np.array([True, False]), np.array([False, True]), 1.0, 5.0)
    3.0
    """
    return float(costs_of(called, hit, false_positive, false_negative).mean())


def _steps(chance: Floats, hit: Mask) -> tuple[Floats, Ints, Ints]:
    """Return every threshold half-way between two probabilities; its true and false positives."""
    order = np.argsort(-chance, kind="stable")
    ranked, hits = chance[order], hit[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true = np.concatenate([[0], np.cumsum(hits)[ends]])
    false = np.concatenate([[0], np.cumsum(~hits)[ends]])
    between = (ranked[ends[:-1]] + ranked[ends[:-1] + 1]) / 2
    above = np.nextafter(max(ranked[0], 1.0), 2.0)
    return np.concatenate([[above], between, [0.0]]), true, false


def cheapest(chance: Floats, hit: Mask, false_positive: float, false_negative: float) -> float:
    """Return the threshold of least cost on these rows.

    >>> cheapest(np.array([0.1, 0.2, 0.6, 0.8]), np.array([False, True, False, True]), 1, 5)
    0.15000000000000002
    """
    thresholds, true, false = _steps(chance, hit)
    costs = false * false_positive + (hit.sum() - true) * false_negative
    return float(thresholds[int(costs.argmin())])


def best_f1(chance: Floats, hit: Mask) -> float:
    """Return the threshold of the greatest F1 on these rows."""
    thresholds, true, false = _steps(chance, hit)
    return float(thresholds[int((2 * true / np.maximum(1, true + false + hit.sum())).argmax())])


def least_precision(least: float) -> Rule:
    """Return the rule: the most recall with a precision of `least`, else the most precision."""

    def rule(chance: Floats, hit: Mask) -> float:
        thresholds, true, false = _steps(chance, hit)
        precision = true / np.maximum(1, true + false)
        able = np.flatnonzero((precision >= least) & (true > 0))
        if len(able):
            return float(thresholds[able[-1]])
        return float(thresholds[int(precision.argmax())])

    return rule


def least_recall(least: float) -> Rule:
    """Return the rule: the most precision with a recall of `least`."""

    def rule(chance: Floats, hit: Mask) -> float:
        thresholds, true, false = _steps(chance, hit)
        able = np.flatnonzero(true >= least * hit.sum() - 1e-9)
        precision = true[able] / np.maximum(1, true[able] + false[able])
        return float(thresholds[able[int(precision.argmax())]])

    return rule


def rates(called: Mask, hit: Mask) -> tuple[float, float, float]:
    """Return precision, recall and F1; 0 where nothing is called or nothing is there."""
    both = int((called & hit).sum())
    precision, recall = both / max(1, int(called.sum())), both / max(1, int(hit.sum()))
    f1 = 2 * both / max(1, int(called.sum()) + int(hit.sum()))
    return precision, recall, f1


def rate_words(found: tuple[float, float, float]) -> str:
    """Return the three rates in words."""
    return f"precision {found[0]:.3f}, recall {found[1]:.3f}, F1 {found[2]:.3f}"
