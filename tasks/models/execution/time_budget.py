"""The time budget of the fits, counted in the seconds that the machine gave them.

On a busy machine a fit waits for a core most of the time. Counted by the clock, a busy hour would
then decide which candidates are fitted, and so which model is chosen. So the budget counts the
clock only for the share of the time in which the fits ran rather than waited to run. Source: Linux
kernel documentation, scheduler statistics: ``/proc/<pid>/task/<tid>/schedstat`` holds the
nanoseconds that a thread spent on a processor and waiting on a run queue.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

MOST_WALL = 5.0
"""The clock stops the fits at so many times the budget, however little the machine gave them."""

Spent = tuple[float, float]
"""Seconds on a processor, and seconds of waiting for one."""
Spending = Callable[[Iterable[int]], Mapping[int, Spent]]


class Budget:
    """Seconds left to the fits; `spending` returns what each thread, by its id, has spent."""

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        spending: Spending | None = None,
    ) -> None:
        self.seconds = seconds
        self._clock, self._spending = clock, spending or threads_spent
        self._began = self._last = clock()
        self._elapsed = 0.0
        self._seen: Mapping[Any, Spent] = {}

    def count(self, processes: Iterable[int], elsewhere: Mapping[str, Spent] | None = None) -> None:
        """Count the time since the last call, in which `processes` and those `elsewhere` fitted."""
        now = self._clock()
        passed, self._last = now - self._last, now
        spent: dict[Any, Spent] = {**self._spending(processes), **(elsewhere or {})}
        ran = waited = 0.0
        for thread, (running, waiting) in spent.items():
            before = self._seen.get(thread, (0.0, 0.0))
            ran += max(0.0, running - before[0])
            waited += max(0.0, waiting - before[1])
        self._seen = spent
        share = ran / (ran + waited) if ran + waited > 0 else 1.0
        self._elapsed += passed * share

    @property
    def elapsed(self) -> float:
        """Seconds that the machine gave since the start."""
        return self._elapsed

    @property
    def left(self) -> float:
        """Seconds of the budget that are left; negative once it is overrun."""
        return self.seconds - self._elapsed

    @property
    def wall(self) -> float:
        """Seconds since the start, by the clock."""
        return self._clock() - self._began

    @property
    def over(self) -> bool:
        """Whether the fits have used their seconds, or the wall-clock limit is reached."""
        return self.left < 0 or self.capped

    @property
    def capped(self) -> bool:
        """Whether the wall-clock limit is reached."""
        return self.wall > MOST_WALL * self.seconds

    @property
    def wall_left(self) -> float:
        """Seconds until the wall-clock limit, at least 0."""
        return max(0.0, MOST_WALL * self.seconds - self.wall)

    @property
    def pace(self) -> float:
        """Seconds by the clock for one that the machine gives; at least 1."""
        return max(1.0, self.wall / self._elapsed) if self._elapsed > 0 else 1.0


def threads_spent(processes: Iterable[int]) -> dict[int, Spent]:
    """Return the time that each thread of some processes has spent; nothing outside Linux."""
    found: dict[int, Spent] = {}
    for process in processes:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{process}/task").iterdir():
                with contextlib.suppress(OSError, ValueError):
                    ran, waited, _ = (thread / "schedstat").read_text(encoding="ascii").split()
                    found[int(thread.name)] = int(ran) / 1e9, int(waited) / 1e9
    return found
