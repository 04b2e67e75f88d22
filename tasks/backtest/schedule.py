"""The best schedule in hindsight: which windows to train before, had the losses been known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Schedule:
    """Windows before which a model is trained, and which model serves each window."""

    # Windows, oldest first; the first model, of window 0, is not among them.
    trained: tuple[int, ...]
    # Of each window the kind of model and the window before which it was trained.
    serving: tuple[tuple[int, int], ...]
    total: float  # sum of the losses


def best_schedule(losses: NDArray[np.float64]) -> Schedule:
    """Return the schedule with the least total loss; among equals the one with fewer trainings.

    A model serves from the window before which it was trained until the next one does. The least
    total up to each window is found by dynamic programming over the window that its model was
    trained before: of n windows in n² steps.

    `losses`: shape (n_kinds, n_windows, n_windows): ``losses[k, i, j]`` is the total loss in window
    j of the model of kind k, such as a span of training rows, trained before window i, for i <= j;
    the rest is not read.

    References
    ----------
    Bellman (1957), Dynamic Programming, chapter 3: the equipment-replacement problem.

    >>> losses = np.array([[[1.0, 5.0, 5.0], [0.0, 1.0, 4.0], [0.0, 0.0, 4.0]]])
    >>> best_schedule(losses)
    Schedule(trained=(1,), serving=((0, 0), (0, 1), (0, 1)), total=6.0)
    """
    kinds, n, _ = losses.shape
    upper = np.where(np.triu(np.ones((n, n), dtype=bool)), losses, 0.0)
    sums = np.concatenate([np.zeros((kinds, n, 1)), np.cumsum(upper, axis=2)], axis=2)
    best = np.full(n + 1, np.inf)
    best[0] = 0.0
    made = np.zeros((n + 1, 2), dtype=np.int64)
    tiny = 1e-12 * float(np.abs(sums[0, 0, -1]))
    for end in range(1, n + 1):
        for i in range(end):
            spent = sums[:, i, end] - sums[:, i, i]
            kind = int(np.argmin(spent))
            total = best[i] + float(spent[kind]) + (tiny if i else 0.0)
            if total < best[end]:
                best[end], made[end] = total, (kind, i)
    serving: list[tuple[int, int]] = []
    end = n
    while end > 0:
        kind, i = (int(value) for value in made[end])
        serving = [(kind, i)] * (end - i) + serving
        end = i
    trained = tuple(dict.fromkeys(i for _, i in serving if i))
    total = float(sum(losses[kind, i, j] for j, (kind, i) in enumerate(serving)))
    return Schedule(trained, tuple(serving), total)
