"""Successive halving: the rungs of a trial, and the score it needs at each to go on.

A trial climbs rungs: a fit on a part of the rows of the last fold, then the folds one by one. At a
rung it goes on only if it stands in the better half of all earlier trials that came as far, once
these are three. What it is compared with is fixed before its batch starts, so that its fate does
not depend on what happens to run beside it. Source: Li et al. (2020), A system for massively
parallel hyperparameter tuning (ASHA), MLSys.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from tasks.base.training_records import Trial

HALVING = 2
LEAST_STANDINGS = 3
"""With fewer trials the better half is chance."""
SMALL_SHARE = 1 / 3
SMALL_ROWS = 3_000
"""Training rows of a fold from which a part of them is tried first."""

Bars = dict[str, float]
"""Rung to the score that has to be reached, oriented so that greater is better."""


def checks(folds: int) -> tuple[int, ...]:
    """Return after how many folds a trial is compared: the effort doubles from one to the next.

    >>> checks(5), checks(3)
    ((1, 2, 4), (1, 2))
    """
    found, step = [], 1
    while step < folds:
        found.append(step)
        step *= 2
    return tuple(found)


def standing(trial: Trial, rung: int, *, greater: bool) -> float | None:
    """Return a trial's score (greater is better) after `rung` folds; 0: on a part of the rows."""
    sign = 1.0 if greater else -1.0
    if rung == 0:
        return None if trial.first is None else sign * trial.first
    if len(trial.scores) < rung:
        return None
    known = [score for score in trial.scores[:rung] if score is not None]
    return sign * sum(known) / len(known) if known else None


def best_trial(trials: Sequence[Trial], *, greater: bool) -> Trial | None:
    """Return the complete trial of the best score, of equal ones the first."""
    sign = 1.0 if greater else -1.0
    complete = [t for t in trials if t.state == "complete" and t.score is not None]
    return max(complete, key=lambda t: (sign * (t.score or 0.0), -t.number), default=None)


def bars(earlier: Sequence[Trial], folds: int, *, greater: bool) -> Bars:
    """Return the score that a trial has to reach at each rung, given trials of earlier batches.

    A rung that fewer than three of them reached stops nobody.

    >>> made = [Trial(number=n, state="complete", scores=3 * (n,)) for n in (1, 3, 2)]
    >>> bars(made, 3, greater=True)
    {'1': 2.0, '2': 2.0}
    """
    found: Bars = {}
    for rung in (0, *checks(folds)):
        stood = [standing(trial, rung, greater=greater) for trial in earlier]
        values = sorted((v for v in stood if v is not None), reverse=True)
        if len(values) >= LEAST_STANDINGS:
            found[str(rung)] = values[ceil(len(values) / HALVING) - 1]
    return found


def falls_short(trial: Trial, rung: int, given: Bars, *, greater: bool) -> bool:
    """Whether a trial that reached `rung` is not to go on."""
    bar = given.get(str(rung))
    if bar is None:
        return False
    stood = standing(trial, rung, greater=greater)
    return stood is None or stood < bar
