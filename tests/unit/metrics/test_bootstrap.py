from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.metrics.bootstrap import (
    Groups,
    Sums,
    interval,
    ranked,
    resampling,
    time_blocks,
    whole,
)


def _all_weights(plan: object, widest: int) -> np.ndarray:
    return np.concatenate(list(plan.weights(widest)))  # type: ignore[attr-defined]


def test_each_replicate_draws_as_many_units_as_there_are() -> None:
    weights = _all_weights(resampling(50, None, 30, 0), 50)
    assert weights.shape == (30, 50)
    assert (weights.sum(axis=1) == 50).all()


def test_replicates_do_not_depend_on_how_they_are_chunked() -> None:
    plan = resampling(50, None, 30, 0)
    assert np.array_equal(_all_weights(plan, 50), _all_weights(plan, 10**9))


def test_blocks_are_drawn_whole() -> None:
    plan = resampling(6, [7, 7, -1, -1, 7, 3], 10, 0)
    assert plan.n_units == 3
    assert plan.units is not None
    assert plan.units.tolist() == [2, 2, 0, 0, 2, 1]


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_are_not_drawn(rows: int) -> None:
    assert resampling(rows, None, 200, 0) == whole(rows)


def test_many_rows_are_merged_into_even_units() -> None:
    plan = resampling(300_000, None, 200, 0)
    assert plan.n_units == 1000
    assert set(np.bincount(plan.units)) == {300}  # type: ignore[arg-type]


def test_time_blocks_are_not_merged_however_many_rows_there_are() -> None:
    plan = resampling(300_000, np.arange(300_000) // 10_000, 200, 0)
    assert plan.n_units == 30


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 99))
def test_sums_are_the_same_by_unit_and_by_row(rows: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = rng.integers(0, 6, rows)
    groups, values = rng.integers(0, k, rows), rng.random(rows)
    plan = resampling(rows, units, 20, seed)
    weights = _all_weights(plan, k)
    by_row = weights[:, plan.units] if plan.units is not None else weights
    expected = np.stack([np.bincount(groups, w * values, k) for w in by_row])
    assert Groups(groups, k, plan, values).under(weights) == pytest.approx(expected)
    sums = Sums(values[:, None], plan).under(weights)
    assert sums[:, 0] == pytest.approx(expected.sum(axis=1))


def test_wide_groups_are_summed_row_by_row_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    groups, values = rng.integers(0, 9, 80), rng.random(80)
    plan = resampling(80, np.arange(80) // 8, 5, 0)
    weights = _all_weights(plan, 9)
    table = Groups(groups, 9, plan, values).under(weights)
    monkeypatch.setattr("tasks.metrics.bootstrap._CELLS", 1)
    assert Groups(groups, 9, plan, values).under(weights) == pytest.approx(table)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1, width=16), min_size=1, max_size=200),
    st.one_of(st.none(), st.integers(1, 20)),
)
def test_ranks_keep_order_and_ties(scores: list[float], bins: int | None) -> None:
    values = np.array(scores)
    groups, stands = ranked(values, bins)
    assert set(groups) == set(range(len(stands)))
    assert (np.diff(stands) > 0).all()
    if bins is not None:
        assert len(stands) <= max(bins, 1)
    order = np.argsort(values, kind="stable")
    assert (np.diff(groups[order]) >= 0).all()
    for value in set(scores):
        assert len(set(groups[values == value])) == 1


def test_an_interval_needs_nearly_all_replicates() -> None:
    values = np.arange(100.0)
    values[:4] = np.nan
    assert interval(values, 0.95, 1000) is not None
    values[:10] = np.nan
    assert interval(values, 0.95, 1000) is None


def test_few_units_widen_the_interval() -> None:
    values = np.random.default_rng(0).standard_normal(5000)
    few, many = interval(values, 0.95, 10), interval(values, 0.95, 10_000)
    assert few is not None
    assert many is not None
    # Student's t with 9 degrees of freedom, and the bootstrap's own shrinkage.
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(1.054 * 2.262 / 1.96, abs=0.08)


@pytest.mark.parametrize(
    ("start", "stop", "unit", "blocks"),
    [
        ("2020-01-06", "2021-01-04", "D", 52),
        ("2020-01-06", "2020-02-06", "D", 31),
        ("2020-01-06", "2020-01-07", "h", 24),
        ("2020-01-06T00:00", "2020-01-06T00:40", "m", 40),
    ],
)
def test_time_falls_into_the_longest_of_week_day_hour_and_minute_that_is_enough(
    start: str, stop: str, unit: str, blocks: int
) -> None:
    times = np.repeat(np.arange(start, stop, dtype=f"datetime64[{unit}]"), 30)
    assert len(set(time_blocks(times).tolist())) == blocks


def test_weeks_begin_on_monday() -> None:
    days = np.arange("2020-01-06", "2021-01-04", dtype="datetime64[D]")
    assert set(np.bincount(time_blocks(np.repeat(days, 10)))) == {70}


def test_blocks_of_one_row_each_would_hide_that_neighbours_are_alike() -> None:
    hours = np.arange("2020-01-01", "2020-01-09", dtype="datetime64[h]")
    assert set(np.bincount(time_blocks(hours))) == {6}


def test_few_moments_fall_into_runs_of_neighbours() -> None:
    times = np.repeat(np.array(["2020-01-02", "2020-01-01"], dtype="datetime64[s]"), 500)
    blocks = time_blocks(times)
    assert blocks.max() == 99
    assert blocks[:500].min() >= blocks[500:].max()


def test_missing_times_lie_together() -> None:
    times = np.repeat(np.arange("2020-01-01", "2020-02-01", dtype="datetime64[D]"), 30)
    times[::31] = np.datetime64("NaT")
    assert len(set(time_blocks(times)[::31].tolist())) == 1


def test_no_moments_have_no_blocks() -> None:
    assert len(time_blocks(np.array([], dtype="datetime64[s]"))) == 0
