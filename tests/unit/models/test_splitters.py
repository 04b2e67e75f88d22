from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.base.arrays import subsample_evenly
from tasks.models.splitters import inner_part, make_folds

labels = st.lists(st.integers(0, 3), min_size=2, max_size=80)


@given(st.integers(0, 500), st.integers(1, 500))
def test_thinning_keeps_order_and_spreads_evenly(rows: int, limit: int) -> None:
    kept = subsample_evenly(rows, limit)
    assert len(kept) == min(rows, limit)
    assert (np.diff(kept) > 0).all()
    assert ((kept >= 0) & (kept < rows)).all()
    if rows > limit:
        assert np.diff(kept).max(initial=1) <= -(-rows // limit)


@given(labels, st.integers(0, 6), st.booleans(), st.booleans())
def test_folds_never_validate_on_rows_they_fit(
    values: list[int], folds: int, ordered: bool, classification: bool
) -> None:
    y = np.array(values)
    made, _ = make_folds(y, folds, ordered=ordered, classification=classification, seed=0)
    for fold in made:
        assert not set(fold.train) & set(fold.valid)
        assert len(fold.train)
        assert (np.diff(fold.train) > 0).all()


@given(st.integers(12, 200), st.integers(2, 5))
def test_ordered_folds_only_look_back(rows: int, folds: int) -> None:
    y = np.arange(rows)
    made, _ = make_folds(y, folds, ordered=True, classification=False, seed=0)
    assert all(fold.train.max() < fold.valid.min() for fold in made)
    # Every model has half of the history at least, and the newer half validates, row by row once.
    assert np.array_equal(made[0].train, np.arange(rows - rows // 2))
    assert np.array_equal(np.concatenate([f.valid for f in made]), np.arange(rows)[-(rows // 2) :])


def test_shuffled_folds_validate_every_row_once_with_every_class() -> None:
    y = np.repeat([0, 1], [90, 10])
    made, notes = make_folds(y, 5, ordered=False, classification=True, seed=1)
    together = np.sort(np.concatenate([fold.valid for fold in made]))
    assert np.array_equal(together, np.arange(100))
    assert all((y[fold.valid] == 1).sum() == 2 for fold in made)
    assert notes == ()


def test_a_small_class_lowers_the_number_of_folds_and_says_so() -> None:
    y = np.repeat([0, 1], [50, 3])
    made, notes = make_folds(y, 5, ordered=False, classification=True, seed=0)
    assert len(made) == 3
    assert "smallest class has 3" in notes[0]


def test_the_same_seed_gives_the_same_folds_and_another_one_others() -> None:
    y = np.arange(50) % 2

    def valid(seed: int) -> list[int]:
        made, _ = make_folds(y, 3, ordered=False, classification=True, seed=seed)
        return [int(row) for row in made[0].valid]

    assert valid(1) == valid(1)
    assert valid(1) != valid(2)


@given(labels, st.floats(0.05, 0.5), st.booleans())
def test_a_class_is_never_set_aside_whole(values: list[int], share: float, ordered: bool) -> None:
    y = np.array(values)
    part = inner_part(y, share, ordered=ordered, classification=True, seed=0)
    assert set(y[part.valid]) <= set(y[part.train])
    assert len(part.train) + len(part.valid) == len(y)


@pytest.mark.parametrize("rows", [2, 3])
def test_hardly_any_rows_still_make_one_part(rows: int) -> None:
    made, notes = make_folds(
        np.arange(rows, dtype=float), 5, ordered=False, classification=False, seed=0
    )
    assert len(made) == 1
    assert notes


grouped = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=2, max_size=80)


@given(grouped, st.integers(0, 6), st.booleans())
def test_rows_of_one_group_are_in_one_fold(
    values: list[tuple[int, int]], folds: int, classification: bool
) -> None:
    groups, y = (np.array(column) for column in zip(*values, strict=True))
    made, notes = make_folds(
        y, folds, ordered=False, classification=classification, seed=0, groups=groups
    )
    # Where each group alone has some class, none can be set aside: rows are.
    alone = [set(groups[y == label]) for label in np.unique(y)]
    needed = set().union(*(found for found in alone if len(found) == 1))
    whole = len(np.unique(groups)) > 1 and not (classification and needed == set(groups))
    for fold in made:
        assert sorted([*fold.train, *fold.valid]) == list(range(len(y)))
        assert not (whole and len(fold.valid) and set(groups[fold.train]) & set(groups[fold.valid]))
    if folds > 1 and whole:
        together = np.concatenate([fold.valid for fold in made])
        assert sorted(together) == list(range(len(y)))
        assert len(made) == folds or notes


def test_folds_of_groups_have_about_as_many_rows_of_each_class() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 1_000)
    y = (rng.random(1_000) < 0.1 + 0.3 * (groups % 2)).astype(int)
    made, _ = make_folds(y, 5, ordered=False, classification=True, seed=0, groups=groups)
    assert max(abs(len(fold.valid) - 200) for fold in made) <= 20
    assert max(abs(y[fold.valid].mean() - y.mean()) for fold in made) < 0.02


def test_rows_in_time_order_go_forward_whatever_their_groups() -> None:
    y = np.arange(30)
    made, _ = make_folds(y, 3, ordered=True, classification=False, seed=0, groups=np.arange(30) % 4)
    assert all(fold.train.max() < fold.valid.min() for fold in made)


@given(grouped)
def test_a_part_set_aside_of_groups_never_holds_a_class_alone(
    values: list[tuple[int, int]],
) -> None:
    groups, y = (np.array(column) for column in zip(*values, strict=True))
    part = inner_part(y, 0.2, ordered=False, classification=True, seed=0, groups=groups)
    assert set(y[part.valid]) <= set(y[part.train])
    assert sorted([*part.train, *part.valid]) == list(range(len(y)))
