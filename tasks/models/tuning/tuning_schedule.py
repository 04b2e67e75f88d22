"""Schedule of one run's searches: the next trial, its deadline, and each search's result.

Every candidate has its untuned trial first, however long: it is its validation. Then the one
whose turn it is by the seconds spent goes on, and a candidate that stands at the top by now may
spend four times as much as the second, nine times as much as the third. Trials end in time for
every candidate to be fitted; a fit that has to start goes before what is still to be validated.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasks.base.settings.search_spaces import Value
from tasks.base.training_records import Trial
from tasks.models.estimators.candidates import find, place
from tasks.models.run_context import FitRun
from tasks.models.task_graph import Task
from tasks.models.tuning.sampler import spaces_for
from tasks.models.tuning.selection import choose, write_choice
from tasks.models.tuning.study import Search

_UNTUNED_NEEDS = 2.0
"""The fit's seconds by the rate of the folds, times this, are kept free for it."""


class Tuning:
    """The searches of one run; none without tuning."""

    def __init__(self, run: FitRun, threads: int, budget: float) -> None:
        self._run, self._threads, self._budget = run, threads, budget
        tuning = None if run.recipe else run.training.tuning
        self._most = tuning.trials if tuning else 0
        self._share = tuning.share if tuning else 0.0
        searched = [name for name in run.names if spaces_for(run, name)]
        names = sorted(searched, key=place) if tuning else []
        self._searches = {name: Search(run, name, self._most) for name in names}
        self._chosen: set[str] = set()

    @property
    def open(self) -> tuple[str, ...]:
        """Candidates whose choice is still to be made: their fit waits."""
        return tuple(name for name in self._searches if name not in self._chosen)

    def next(self, names: set[str]) -> tuple[str, dict[str, Any]] | None:
        """Return the candidate of `names` and the trial to start now; None for none."""
        for search in self._in_turn(names):
            trial = search.next()
            if trial is not None:
                return search.name, trial
        return None

    def _in_turn(self, names: set[str]) -> list[Search]:
        waiting = [s for s in self._searches.values() if s.name in names]
        best = sorted((s.best for s in waiting if s.best is not None), reverse=True)

        def turn(search: Search) -> tuple[int, float]:
            if search.untuned is None or search.best is None:
                return (0 if search.untuned is None else 1), search.spent
            return 1, search.spent * (1 + best.index(search.best)) ** 2

        return sorted(waiting, key=turn)

    def tell(self, name: str, trial: Trial) -> None:
        """Note what became of a trial."""
        self._searches[name].tell(trial)

    def params_of(self, name: str, number: int) -> dict[str, Value]:
        """Return the proposed parameters of a running trial."""
        return self._searches[name].params_of(number)

    def to_come(self, first: int) -> tuple[Task, ...]:
        """Return trials that may still be started, numbered from `first` on, for an estimate."""
        names = [n for n in self.open for _ in range(self._searches[n].to_come)]
        return tuple(
            Task(number, "trial", name, cost=find(name).cost / 2)
            for number, name in enumerate(names, first)
        )

    def drop(self, name: str, number: int) -> None:
        """Forget a trial that was stopped."""
        self._searches[name].drop(number)

    def give_up(self, name: str) -> None:
        """Make no choice for a candidate that cannot be fitted."""
        if name in self._searches:
            self._searches[name].close()
            self._chosen.add(name)

    def due(self, elapsed: float) -> bool:
        """Whether trials other than the untuned ones have to stop now."""
        return bool(self._searches) and elapsed >= self._until()

    def _close_if_due(self, elapsed: float) -> None:
        """Close searches at the end of trials, or where one more cannot be complete by then."""
        until = self._until()
        for search in self._searches.values():
            needed = 0.0 if search.untuned is None else search.untuned.seconds
            if elapsed + needed >= until:
                search.close()

    def _until(self) -> float:
        """Return the second from which on no trial goes on, so that every fit has its time."""
        return min(self._share * self._budget, self._latest(self.open))

    def pressing(self, unfitted: Iterable[str], elapsed: float) -> bool:
        """Whether every trial has to stop now, so that what is validated can still be fitted."""
        waiting = [n for n in unfitted if n in self._searches and self._searches[n].untuned]
        return bool(waiting) and elapsed >= self._latest(waiting)

    def _latest(self, names: Iterable[str]) -> float:
        each = [self._seconds_to_fit(name) for name in names]
        # Side by side, yet each by itself needs its time.
        return self._budget - max(sum(each) / self._threads, max(each, default=0.0))

    def _seconds_to_fit(self, name: str) -> float:
        """Return an estimate from the untuned trial, or from the best if that took longer."""
        search = self._searches[name]
        if search.untuned is None:
            return 0.0
        complete = [t for t in search.trials if t.state == "complete" and t.rows > 0]
        folds = max(1, self._run.training.cv)
        final = min(self._run.split.n_train, find(name).max_rows)
        # Forward in time the folds before the last have fewer rows.
        more = 1.5 if self._run.ordered else 1.0
        each = [more * t.seconds / folds * final / t.rows for t in complete]
        return _UNTUNED_NEEDS * max(each, default=0.0)

    def settle(self, running: set[str], elapsed: float) -> None:
        """Make the choice of every candidate whose search is over and has no trial running."""
        self._close_if_due(elapsed)
        for name in self.open:
            search = self._searches[name]
            if search.over and name not in running and search.untuned is not None:
                choice = choose(search.trials, self._run, self._most)
                write_choice(self._run, name, choice)
                self._chosen.add(name)
