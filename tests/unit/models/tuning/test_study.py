"""Proposals, halving and the choice: plain values, no processes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.base.settings.search_spaces import SPACES, Space, spaces_of
from tasks.base.training_records import Trial
from tasks.models.tuning.pruner import bars, falls_short, standing
from tasks.models.tuning.sampler import neighbour, propose
from tasks.models.tuning.selection import choose, gain_of

FOREST = spaces_of("random_forest", {}, classification=True)


def _trial(number: int, *scores: float, state: str = "complete", **more: Any) -> Trial:
    return Trial.model_validate(
        {
            "number": number,
            "state": state,
            "scores": scores,
            "score": float(np.mean(scores)) if scores else None,
            **more,
        }
    )


def _ask(earlier: list[Trial], **given: Any) -> list[dict[str, Any]]:
    asked = {"seed": 0, "batch": 1, "name": "random_forest", "greater": True, **given}
    return propose(FOREST, earlier, 4, **asked)  # type: ignore[arg-type]


def test_a_batch_depends_on_seed_number_candidate_and_earlier_trials_only() -> None:
    start = {
        "min_samples_leaf": 1,
        "max_features": 0.3,
        "criterion": "gini",
        "class_weight": "none",
    }
    earlier = [_trial(0, 0.7, 0.7, 0.7, params=start)]
    once = _ask(earlier)
    assert once == _ask(earlier)
    assert len({str(p) for p in once}) == 4
    others = [_ask(earlier, seed=1), _ask(earlier, batch=2), _ask(earlier, name="other")]
    assert once not in others


def test_proposals_lie_in_their_spaces_and_are_new() -> None:
    earlier: list[Trial] = []
    for batch in range(8):
        for params in _ask(earlier, batch=batch):
            assert params not in [t.params for t in earlier]
            assert all(space.nearest(params[space.name]) == params[space.name] for space in FOREST)
            score = float(params["max_features"])
            earlier.append(_trial(len(earlier), score, score, score, params=params))
    best = max(float(t.params["max_features"]) for t in earlier)
    assert best > 0.95


def test_trials_that_failed_or_lie_outside_the_spaces_do_not_stop_a_search() -> None:
    outside = {"min_samples_leaf": 1, "max_features": 0.3, "criterion": "entropy"}
    earlier = [
        _trial(0, 0.7, params=outside),
        Trial(number=1, state="failed", params=outside, reason="its process ended"),
    ]
    assert len(_ask(earlier)) == 4


@given(st.integers(0, 2**31), st.sampled_from(sorted(SPACES)))
def test_a_neighbour_stays_in_its_spaces(seed: int, name: str) -> None:
    spaces = spaces_of(name, {}, classification=True)
    start = {s.name: s.choices[0] if s.choices else s.low for s in spaces}
    moved = neighbour(start, spaces, np.random.default_rng(seed))
    assert moved is not None
    assert all(space.nearest(moved[space.name]) == moved[space.name] for space in spaces)


def test_a_neighbour_of_what_lies_in_no_space_is_none() -> None:
    space = Space("x", choices=("a", "b"))
    assert neighbour({"x": "c"}, (space,), np.random.default_rng(0)) is None
    assert (
        neighbour({}, (replace(space, choices=(), low=1, high=2),), np.random.default_rng(0))
        is None
    )


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20), st.booleans())
def test_the_better_half_goes_on(scores: list[float], greater: bool) -> None:
    earlier = [_trial(n, s, s, s) for n, s in enumerate(scores)]
    given_bars = bars(earlier, 3, greater=greater)
    on = [t for t in earlier if not falls_short(t, 1, given_bars, greater=greater)]
    assert len(on) * 2 >= len(earlier)
    if len(earlier) < 3:
        assert on == earlier
        return
    worst_on = min(standing(t, 1, greater=greater) or 0.0 for t in on)
    off = [standing(t, 1, greater=greater) or 0.0 for t in earlier if t not in on]
    assert all(value < worst_on for value in off)


def test_without_earlier_trials_nothing_is_cut() -> None:
    assert bars([], 5, greater=True) == {}
    assert not falls_short(_trial(1, 0.1), 1, {}, greater=True)


@pytest.mark.parametrize(("earlier", "stopped"), [(1, False), (2, False), (3, True)])
def test_fewer_than_three_standings_stop_nobody(earlier: int, stopped: bool) -> None:
    given_bars = bars([_trial(n, 0.9, 0.9, 0.9) for n in range(earlier)], 3, greater=True)
    assert falls_short(_trial(9, 0.1), 1, given_bars, greater=True) is stopped


def test_a_rung_that_few_reached_stops_nobody_though_others_do() -> None:
    reached = [_trial(0, 0.9, 0.9, 0.9), _trial(1, 0.5, state="pruned"), _trial(2, 0.6)]
    given_bars = bars(reached, 3, greater=True)
    assert falls_short(_trial(9, 0.1), 1, given_bars, greater=True)
    assert not falls_short(_trial(9, 0.7, 0.1), 2, given_bars, greater=True)


def _choose(trials: list[Trial], metric: str = "roc_auc", ordered: bool = False) -> Any:
    run: Any = SimpleNamespace(metric=metric, ordered=ordered)
    return choose(trials, run, len(trials))


def test_a_steady_gain_is_taken_and_an_unsteady_one_is_not() -> None:
    untuned = _trial(0, 0.70, 0.75, 0.72, 0.71, 0.74)
    steady = _trial(1, 0.72, 0.772, 0.741, 0.729, 0.76, params={"C": 2.0})
    unsteady = _trial(1, 0.70, 0.80, 0.69, 0.78, 0.75, params={"C": 2.0})
    taken, refused = _choose([untuned, steady]), _choose([untuned, unsteady])
    assert taken.params == {"C": 2.0}
    assert taken.chosen.number == 1
    assert "better in roc_auc, paired over 5 folds" in taken.note
    assert refused.params == {}
    assert refused.chosen.number == 0
    assert "not beyond noise" in refused.note


def test_losses_gain_by_falling_and_pruned_trials_are_never_chosen() -> None:
    untuned = _trial(0, 10.0, 11.0, 12.0)
    better = _trial(1, 8.0, 9.0, 10.1, params={"C": 2.0})
    pruned = _trial(2, 1.0, state="pruned", params={"C": 3.0})
    chosen = _choose([untuned, better, pruned], metric="rmse")
    assert chosen.params == {"C": 2.0}
    assert "2 complete, 1 pruned" in chosen.note


def test_chance_alone_is_seldom_taken_for_a_gain() -> None:
    rng = np.random.default_rng(0)
    taken = 0
    for _ in range(300):
        trials = [_trial(n, *rng.normal(size=5)) for n in range(2)]
        gain = gain_of(trials[1], trials[0], ordered=False, greater=True)
        taken += gain is not None and gain.least > 0
    assert taken / 300 < 0.05


def test_folds_without_a_score_are_left_out_and_two_are_too_few() -> None:
    untuned = Trial(number=0, state="complete", score=0.5, scores=(0.5, None, 0.5, 0.4))
    other = Trial(number=1, state="complete", score=0.9, scores=(0.9, 0.9, 0.9, None))
    assert gain_of(other, untuned, ordered=False, greater=True) is None
    choice = _choose([untuned, other])
    assert choice.params == {}
    assert "fewer than three folds" in choice.note
