"""Number of rounds of an iterative learner: judged over all validation parts, never by one alone.

The newest rows of a history are one season, and a learner that is stopped where its loss on them no
longer falls may stop after a handful of rounds. So the rounds are chosen on the losses of all folds
together, and the usual number of rounds is always among the choices: fewer are taken only where
they are better beyond the folds' noise.

Source: Breiman, Friedman, Olshen and Stone (1984), Classification and Regression Trees, section
3.4.3: the one-standard-error rule, here towards the usual rounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.base.arrays import Floats
from tasks.base.training_records import Rounds
from tasks.models.fold_noise import LEAST_PARTS, standard_error


def choose_rounds(
    losses: Sequence[Sequence[float]], usual: int, *, most: int, shared: float, shorten: bool = True
) -> Rounds:
    """Return the rounds to fit for, by the losses of each validation part after each round.

    A part that ended early, as its loss no longer fell, counts on with its last value. Every fit
    ends at `most` rounds; `shared` is as in `shared_rows`. Fewer than the `usual` rounds are chosen
    only with `shorten`: parts of one stretch of time do not show the noise, and parts of a sample
    of the rows rest earlier than all rows would.

    >>> early, late, rises = [3.0, 2.0, 2.1], [3.0, 2.2, 2.1], [3.0, 3.1, 3.2]
    >>> choose_rounds([early, late, early], 3, most=4, shared=0.2).chosen
    3
    >>> choose_rounds([rises, rises, rises], 3, most=4, shared=0.2).chosen
    1
    """
    curves = even(losses)
    best = int(curves.mean(axis=0).argmin()) + 1
    stops = tuple(int(np.argmin(part)) + 1 for part in losses)
    given = {"best": best, "usual": usual, "most": most, "stops": stops}
    if best >= usual:
        return Rounds(chosen=best, rule="best", **given)
    if len(curves) < LEAST_PARTS or not shorten:
        return Rounds(chosen=usual, rule="usual", **given)
    for rounds in range(min(usual, curves.shape[1]), best, -1):
        worse = curves[:, rounds - 1] - curves[:, best - 1]
        if worse.mean() <= standard_error(worse, shared):
            rule = "usual" if rounds == usual else "within noise"
            return Rounds(chosen=rounds, rule=rule, **given)
    return Rounds(chosen=best, rule="best", **given)


def even(losses: Sequence[Sequence[float]]) -> Floats:
    """Return curves of one length, the shorter ones going on with their last value."""
    length = max(map(len, losses))
    return np.array([[*part, *[part[-1]] * (length - len(part))] for part in losses])


def usual_better(
    chosen: Sequence[float | None],
    usual: Sequence[float | None],
    shared: float,
    *,
    fewer: bool,
    greater: bool,
) -> bool:
    """Return whether the usual rounds do better in the metric, on the folds, than the chosen."""
    # The loss that a learner follows is not the metric that selects. Where the chosen rounds are
    # `fewer`, they have to be better in the metric too by a standard error, else the usual ones
    # have to be.
    sign = 1.0 if greater else -1.0
    pairs = zip(chosen, usual, strict=True)
    gains = np.array([sign * (b - a) for a, b in pairs if a is not None and b is not None])
    if len(gains) < LEAST_PARTS:
        return fewer and len(gains) > 0 and bool(gains.mean() >= 0)
    error = standard_error(gains, shared)
    return bool(gains.mean() > (-error if fewer else error))
