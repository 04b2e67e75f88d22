"""The best schedule in hindsight: which windows to train before, had the losses been known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Schedule:
    """Windows before which a model is trained, and which model serves each window.

    Attributes
    ----------
    trained
        Windows, oldest first; the first model, of window 0, is not among them.
    serving
        Of each window the one whose model serves it.
    total
        Sum of the losses.
    """

    trained: tuple[int, ...]
    serving: tuple[int, ...]
    total: float


def best_schedule(losses: NDArray[np.float64], cost: float = 0.0) -> Schedule:
    """Return the schedule with the least total of losses and costs.

    A model serves from the window before which it was trained until the next one does. The least
    total up to each window is found by dynamic programming over the window that its model was
    trained before: of n windows in n² steps.

    Parameters
    ----------
    losses
        Shape (n_windows, n_windows): ``losses[i, j]`` is the total loss in window j of the model
        trained before window i, for i <= j; the rest is not read.
    cost
        Of one training, in units of the losses; among equals fewer trainings win.

    References
    ----------
    Bellman (1957), Dynamic Programming, chapter 3: the equipment-replacement problem.

    Examples
    --------
    >>> losses = np.array([[1.0, 5.0, 5.0], [0.0, 1.0, 4.0], [0.0, 0.0, 4.0]])
    >>> best_schedule(losses)
    Schedule(trained=(1,), serving=(0, 1, 1), total=6.0)
    """
    n = len(losses)
    upper = np.where(np.triu(np.ones((n, n), dtype=bool)), losses, 0.0)
    sums = np.concatenate([np.zeros((n, 1)), np.cumsum(upper, axis=1)], axis=1)
    best = np.full(n + 1, np.inf)
    best[0] = 0.0
    start = np.zeros(n + 1, dtype=np.int64)
    tiny = 1e-12 * max(1.0, float(np.abs(sums[0, -1])))
    for end in range(1, n + 1):
        for i in range(end):
            total = best[i] + (cost + tiny if i else 0.0) + sums[i, end] - sums[i, i]
            if total < best[end]:
                best[end], start[end] = total, i
    serving: list[int] = []
    end = n
    while end > 0:
        i = int(start[end])
        serving = [i] * (end - i) + serving
        end = i
    trained = tuple(dict.fromkeys(i for i in serving if i))
    total = float(sum(losses[i, j] for j, i in enumerate(serving)))
    return Schedule(trained, tuple(serving), total)
