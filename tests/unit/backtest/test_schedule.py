"""The best schedule in hindsight."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.backtest.schedule import best_schedule


@settings(max_examples=30, deadline=None)
@given(kinds=st.integers(1, 2), n=st.integers(1, 5), seed=st.integers(0, 1_000))
def test_no_other_schedule_loses_less(kinds: int, n: int, seed: int) -> None:
    losses = np.random.default_rng(seed).random((kinds, n, n))
    found = best_schedule(losses)

    def total(choice: tuple[int, ...]) -> float:
        # A choice of 0 goes on with the model; k trains one of kind k - 1.
        kind, made, lost = max(0, choice[0] - 1), 0, 0.0
        for window, what in enumerate(choice):
            if what:
                kind, made = what - 1, window
            lost += losses[kind, made, window]
        return lost

    assert found.total <= min(total(c) for c in product(range(kinds + 1), repeat=n)) + 1e-9


def test_among_equals_it_trains_as_seldom_as_it_can() -> None:
    assert best_schedule(np.ones((1, 6, 6))).trained == ()


def test_losses_in_a_tiny_unit_have_the_same_schedule() -> None:
    losses = np.array([[[1.0, 5.0, 5.0], [0.0, 1.0, 4.0], [0.0, 0.0, 4.0]]])
    assert best_schedule(losses * 1e-14).trained == best_schedule(losses).trained == (1,)
