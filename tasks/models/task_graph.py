"""Next tasks to start, and the time of the rest: plain values, no processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.models.estimators.candidates import find, place
from tasks.models.run_context import BASELINE

_ENCODING_COST = 1.0
_FIRST_COST = 0.3


@dataclass(frozen=True)
class Task:
    """One child's work."""

    number: int
    do: Literal["prepare", "encode", "trial", "fit"]
    about: str  # the encoding or candidate
    needs: tuple[int, ...] = ()  # tasks that end well before
    threads: int = 1
    cost: float = 1.0  # seconds in proportion
    trial: int | None = None  # its number


def plan(names: tuple[str, ...], threads: int, widest: int | None = None) -> tuple[Task, ...]:
    """Return the tasks that fit `names`, in the order in which they should start.

    Each candidate has one thread, as two multi-threaded fits must not share cores; with fewer
    candidates than `threads` each has its share, of `widest` threads at most.

    >>> [(task.do, task.about) for task in plan(("lightgbm",), 2)]
    [('prepare', 'baseline'), ('encode', 'native'), ('fit', 'lightgbm')]
    """
    tasks = [Task(0, "prepare", BASELINE, cost=_FIRST_COST)]
    encodings: dict[str, int] = {}
    share = min(widest or threads, max(1, threads // max(1, len(names))))
    for name in sorted(names, key=place):
        candidate = find(name)
        if candidate.encoding not in encodings:
            encodings[candidate.encoding] = len(tasks)
            tasks.append(Task(len(tasks), "encode", candidate.encoding, (0,), cost=_ENCODING_COST))
        needs = (encodings[candidate.encoding],)
        tasks.append(Task(len(tasks), "fit", name, needs, share, candidate.cost))
    return tuple(tasks)


def ready(
    tasks: tuple[Task, ...], done: set[int], failed: set[int], begun: set[int], threads: int
) -> tuple[Task, ...]:
    """Return the tasks to start now, no more than leave each running thread its core."""
    running = [task for task in tasks if task.number in begun - done - failed]
    free = threads - sum(task.threads for task in running)
    chosen: list[Task] = []
    for task in tasks:
        waits = not done.issuperset(task.needs)
        if waits or task.number in begun | failed or task.threads > free:
            continue
        chosen.append(task)
        free -= task.threads
    return tuple(chosen)


def foremost(tasks: tuple[Task, ...], name: str | None) -> tuple[Task, ...]:
    """Return the tasks with those of the candidate `name`, and what they need, before the others.

    >>> [task.about for task in foremost(plan(("lightgbm", "svm"), 2), "svm")]
    ['baseline', 'linear', 'svm', 'native', 'lightgbm']
    """
    own = {task.number for task in tasks if task.about == name}
    own |= {number for task in tasks if task.number in own for number in task.needs}
    return tuple(sorted(tasks, key=lambda task: task.number not in own | {0}))


def seconds_left(
    tasks: tuple[Task, ...], done: set[int], elapsed: float, threads: int, budget: float
) -> float | None:
    """Estimate the seconds to the end from what has been done so far; None before anything has.

    >>> seconds_left(plan(("lightgbm",), 1), {0, 1}, elapsed=1.3, threads=1, budget=120.0)
    4.0
    """
    finished = sum(task.cost for task in tasks if task.number in done)
    left = [task.cost for task in tasks if task.number not in done]
    if finished <= _FIRST_COST or not left:
        return None if left else 0.0
    side_by_side = min(threads, len(tasks))
    pace = elapsed / finished
    longest = max(left) * pace * side_by_side
    return round(max(0.0, min(max(sum(left) * pace, longest * 0.5), budget - elapsed)), 1)
