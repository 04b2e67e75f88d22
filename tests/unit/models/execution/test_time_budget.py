from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from hypothesis import given
from hypothesis import strategies as st

from tasks.models.execution.time_budget import MOST_WALL, Budget, Spent, threads_spent


class Machine:
    """A clock, and one fit that is given a share of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._spent: dict[int, Spent] = {7: (0.0, 0.0)}

    def clock(self) -> float:
        return self.now

    def spending(self, processes: Iterable[int]) -> Mapping[int, Spent]:
        return dict(self._spent) if list(processes) else {}

    def passes(self, seconds: float, share: float) -> None:
        ran, waited = self._spent[7]
        self.now += seconds
        self._spent[7] = ran + seconds * share, waited + seconds * (1 - share)


def budget_of(machine: Machine, seconds: float = 100.0) -> Budget:
    return Budget(seconds, clock=machine.clock, spending=machine.spending)


def test_a_busy_hour_counts_for_what_it_gave() -> None:
    machine = Machine()
    budget = budget_of(machine)
    machine.passes(60, share=1.0)
    budget.count([1])
    machine.passes(120, share=0.25)
    budget.count([1])
    assert budget.elapsed == 90.0
    assert not budget.over
    assert budget.pace == 2.0
    assert budget.wall_left == MOST_WALL * 100 - 180
    machine.passes(11, share=1.0)
    budget.count([1])
    assert budget.over
    assert not budget.capped


def test_the_clock_ends_what_the_machine_starves() -> None:
    machine = Machine()
    budget = budget_of(machine, 10.0)
    machine.passes(MOST_WALL * 10 + 1, share=0.01)
    budget.count([1])
    assert budget.left > 9
    assert budget.over
    assert budget.capped


def test_without_a_process_or_without_figures_the_clock_counts() -> None:
    machine = Machine()
    budget = budget_of(machine)
    machine.passes(30, share=0.5)
    budget.count([])
    assert budget.elapsed == 30.0


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 1)), max_size=20))
def test_the_machine_never_gives_more_than_the_clock(parts: list[tuple[float, float]]) -> None:
    machine = Machine()
    budget = budget_of(machine)
    for seconds, share in parts:
        machine.passes(seconds, share)
        budget.count([1])
        assert 0 <= budget.elapsed <= budget.wall + 1e-6


def test_threads_tell_what_they_spent_and_a_process_that_is_gone_nothing() -> None:
    spent = threads_spent([os.getpid()])
    assert not spent or max(ran for ran, _ in spent.values()) > 0
    assert threads_spent([2**30]) == {}
