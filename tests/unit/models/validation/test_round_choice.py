from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.base.training_records import Kind, Rounds
from tasks.models.execution import worker_pool
from tasks.models.fitting import fit_candidates
from tasks.models.fold_noise import shared_rows
from tasks.models.validation.round_choice import choose_rounds, usual_better
from tests.unit.models.factories import snapshot, training

FALLS = [1 / (1 + n) for n in range(40)]
RISES = [1 + n / 10 for n in range(40)]


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    yield
    worker_pool.close_all()


def chosen(*losses: list[float], usual: int = 20, ordered: bool = True) -> Rounds:
    shared = shared_rows(len(losses), ordered=ordered)
    shorten = len(losses) > 1 or not ordered
    return choose_rounds(losses, usual, most=40, shared=shared, shorten=shorten)


def test_folds_that_agree_are_followed_either_way() -> None:
    assert chosen(FALLS, FALLS, FALLS).chosen == 40
    early = chosen(RISES, RISES, RISES)
    assert (early.chosen, early.rule) == (1, "best")


def test_one_season_among_the_folds_does_not_end_the_fit() -> None:
    found = chosen(FALLS, FALLS, [2 * x for x in RISES], FALLS, FALLS)
    assert found.best < 20
    assert (found.chosen, found.rule) == (20, "usual")


@pytest.mark.parametrize("parts", [1, 2])
def test_too_few_parts_to_know_noise_never_shorten_the_usual_rounds(parts: int) -> None:
    assert chosen(*([RISES] * parts)).chosen == 20


def test_parts_of_one_stretch_of_time_or_of_a_sample_never_shorten_the_usual_rounds() -> None:
    found = choose_rounds([RISES] * 5, 20, most=40, shared=0.0, shorten=False)
    assert found.chosen == 20
    assert choose_rounds([RISES] * 5, 20, most=40, shared=0.0).chosen == 1


def test_a_fold_that_stopped_early_counts_on_with_its_last_value() -> None:
    assert chosen(FALLS, FALLS, FALLS[:25]).chosen == 40


def test_rounds_at_an_end_of_what_was_tried_are_unsettled() -> None:
    assert chosen(FALLS, FALLS, FALLS).unsettled == "last"
    assert chosen(RISES, RISES, RISES).unsettled == "first"
    turns = [abs(n - 15) + 1.0 for n in range(40)]
    assert chosen(turns, turns, turns).unsettled == ""


@given(
    st.lists(
        st.lists(st.floats(0, 10), min_size=12, max_size=20),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 12),
)
def test_fewer_than_usual_are_taken_only_where_the_mean_loss_is_less(
    losses: list[list[float]], usual: int
) -> None:
    found = choose_rounds(losses, usual, most=20, shared=0.2)
    assert 1 <= found.chosen <= 20
    if found.chosen < usual:
        longest = max(map(len, losses))
        mean = np.mean([part + [part[-1]] * (longest - len(part)) for part in losses], axis=0)
        assert mean[found.chosen - 1] < mean[usual - 1] or found.rule == "within noise"


def test_other_rounds_than_the_usual_have_to_hold_out_in_the_metric() -> None:
    level, better, mixed = [0.70, 0.72, 0.74], [0.71, 0.73, 0.75], [0.69, 0.76, 0.74]
    given = {"shared": 0.2, "greater": True}
    assert usual_better(level, better, fewer=False, **given)
    assert not usual_better(level, mixed, fewer=False, **given)
    assert not usual_better(level[:2], better[:2], fewer=False, **given)
    assert usual_better(mixed, level, fewer=True, **given)
    assert not usual_better(better, level, fewer=True, **given)
    assert not usual_better([None], [None], fewer=True, **given)


def year_of_one_season(rows: int = 2_400) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows in time whose newest tenth behaves otherwise than all before and after it.

    There the columns tell nothing, so that a learner stopped by it stops after a few rounds.
    """
    rng = np.random.default_rng(7)
    X = pd.DataFrame({f"x{n}": rng.normal(size=rows) for n in range(4)})
    y = 3 * np.sin(2 * X["x0"]) + X["x1"] * X["x2"] + rng.normal(size=rows) / 2
    season = slice(int(rows * 0.72), int(rows * 0.8))
    y[season] = y[season].mean() - 2 * (y[season] - y[season].mean())
    return X, y.to_numpy()


@pytest.mark.parametrize("name", ["lightgbm", "mlp"])
def test_the_newest_season_does_not_choose_the_rounds(name: str, tmp_path: Path) -> None:
    X, y = year_of_one_season()
    kinds: dict[str, Kind] = dict.fromkeys(X.columns, "numeric")
    held = len(X) // 5
    made = snapshot(tmp_path / "d", X, y, "regression", kinds=kinds, holdout=held, ordered=True)
    config = training(name, cv=3)
    result = fit_candidates(*made, config, "rmse", tmp_path / "o")[1]
    assert result.rounds is not None
    assert result.rounds.stops[-1] < result.rounds.usual / 2
    assert result.params["iterations"] >= result.rounds.usual * 0.8
    with np.load(result.predictions_path) as kept:
        missed = float(np.sqrt(np.mean((kept["predicted"] - y[-held:]) ** 2)))
    assert missed < 0.7 * float(np.std(y[-held:]))
