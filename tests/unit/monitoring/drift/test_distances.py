from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from tasks.monitoring.drift.distances import (
    RARE,
    Counts,
    Floats,
    corrected,
    either,
    ks,
    ks_critical,
    merged,
    nulls,
    tv,
    tv_noise,
)

VALUES = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=60)
COUNTS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=20)


def _counted(values: NDArray[np.float64]) -> tuple[Floats, Counts]:
    points, counts = np.unique(values, return_counts=True)
    return points, np.cumsum(counts).astype(np.int64)


@given(VALUES, VALUES)
def test_the_distance_of_numbers_is_scipys_with_ties_too(
    first: list[float], second: list[float]
) -> None:
    found = ks(*_counted(np.array(first)), np.sort(second))
    everything = np.array(first + second)
    shares = [(np.array(side) <= everything[:, None]).mean(axis=1) for side in (first, second)]
    expected = np.abs(shares[0] - shares[1]).max()
    assert found.distance == pytest.approx(expected)
    assert 0 <= found.p_value <= 1


def test_infinite_values_are_values() -> None:
    found = ks(*_counted(np.array([0.0, 1.0])), np.array([-np.inf, np.inf]))
    assert found.distance == 0.5


def test_the_p_value_is_scipys_exact_one_for_small_samples_and_asymptotic_for_large() -> None:
    rng = np.random.default_rng(0)
    for size, method in ((60, "exact"), (4_000, "asymp")):
        a, b = rng.normal(size=size), np.sort(rng.normal(0.1, 1, size // 2))
        found = ks(*_counted(a), b)
        assert found.p_value == pytest.approx(stats.ks_2samp(a, b, method=method).pvalue, rel=1e-6)


def test_noise_and_critical_distance_are_what_chance_gives() -> None:
    rng = np.random.default_rng(1)
    reference = _counted(rng.normal(size=3_000))
    found = [ks(*reference, np.sort(rng.normal(size=300)), level=0.05) for _ in range(300)]
    distances = np.array([one.distance for one in found])
    assert distances.mean() == pytest.approx(found[0].noise, rel=0.12)
    assert 0.01 < (distances > found[0].critical).mean() < 0.1
    assert ks_critical(1.0, 0.05) == 1.0


@given(COUNTS)
def test_merging_keeps_all_rows_and_leaves_no_rare_level(pairs: list[tuple[int, int]]) -> None:
    reference, sample = np.array(pairs, dtype=np.int64).T
    if not reference.sum() or not sample.sum():
        return
    r, s, common = merged(reference, sample, singles=0)
    assert r.sum() == reference.sum()
    assert s.sum() == sample.sum()
    m, n = r.sum(), s.sum()
    assert ((r + s)[:common] * min(m, n) / (m + n) >= RARE).all()
    found = tv(merged(reference, sample, singles=0))
    assert 0 <= found.p_value <= 1
    assert 0 <= found.distance <= np.abs(reference / m - sample / n).sum() / 2 + 1e-12


def test_unseen_levels_are_one_level_of_their_own_however_large_the_reference() -> None:
    for rows in (500, 500_000):
        reference, sample = np.array([rows, rows, 0, 0]), np.array([40, 40, 10, 10])
        levels = merged(reference, sample)
        assert levels.sample.tolist() == [40, 40, 0, 20]
        found = tv(merged(reference, sample))
        assert found.distance == pytest.approx(0.2)
        assert found.p_value < 1e-6


def test_levels_that_are_all_rare_have_no_noise_however_their_shares_are_rounded() -> None:
    beyond_one = 0
    for seed in range(300):
        shops = np.random.default_rng(seed).integers(0, 300, 5_000)
        counts = np.bincount(shops, minlength=300).astype(np.int64)
        beyond_one += bool((counts / counts.sum()).sum() > 1)
        assert tv_noise(counts, 250) == pytest.approx(0.0, abs=1e-6)
    assert beyond_one


def test_a_rare_level_that_surges_is_seen() -> None:
    found = tv(merged(np.array([100_000, 3]), np.array([50, 50])))
    assert found.distance == pytest.approx(0.5, abs=0.001)
    assert found.p_value < 1e-6


def test_the_test_of_levels_is_the_pooled_chi_square() -> None:
    table = np.array([[500, 300, 200], [60, 25, 15]])
    found = tv(merged(table[0], table[1]))
    assert found.p_value == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
    assert found.distance == pytest.approx(0.1)


def test_one_level_has_no_distance() -> None:
    found = tv(merged(np.array([10]), np.array([5])))
    assert (found.distance, found.p_value) == (0.0, 1.0)


def test_levels_keep_their_level_under_chance() -> None:
    rng = np.random.default_rng(2)
    shares = 1 / np.arange(1, 41)
    shares /= shares.sum()
    found = [
        tv(merged(rng.multinomial(5_000, shares), rng.multinomial(400, shares))) for _ in range(300)
    ]
    assert (np.array([one.p_value for one in found]) <= 0.05).mean() < 0.09
    assert (np.array([one.distance for one in found]) > found[0].critical).mean() < 0.1
    assert np.mean([one.distance for one in found]) == pytest.approx(found[0].noise, rel=0.15)


def test_few_nulls_are_tested_by_fisher_and_many_by_two_proportions() -> None:
    few = nulls(0, 1_000, 3, 100)
    assert few.p_value == pytest.approx(stats.fisher_exact([[0, 1_000], [3, 97]]).pvalue)
    many = nulls(100, 1_000, 200, 1_000)
    assert many.distance == pytest.approx(0.1)
    assert many.p_value == pytest.approx(
        stats.chi2_contingency([[100, 900], [200, 800]], correction=False).pvalue
    )
    assert nulls(0, 10, 0, 10).p_value == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_corrected_p_values_are_scipys(values: list[float]) -> None:
    expected = stats.false_discovery_control(values)
    assert corrected(values) == pytest.approx(list(expected))


def test_a_column_pays_for_its_two_tests() -> None:
    assert either(0.01, 0.5) == 0.02
    assert either(0.9, 0.8) == 1.0
    assert corrected([]) == []


def test_unseen_levels_are_no_news_where_most_levels_stand_in_one_row() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(200):
        drawn = rng.geometric(0.0005, 3_000)
        before, after = drawn[:2_500], drawn[2_500:]
        levels = np.unique(drawn)
        counts = [(side[:, None] == levels).sum(axis=0) for side in (before, after)]
        found.append(tv(merged(counts[0], counts[1])))
    assert np.mean([one.p_value <= 0.05 for one in found]) < 0.1
    assert np.mean([one.distance > one.critical for one in found]) < 0.15
    unique = tv(merged(np.append(np.ones(1_000, np.int64), np.zeros(200, np.int64)),
                       np.append(np.zeros(1_000, np.int64), np.ones(200, np.int64))))  # fmt: skip
    assert (unique.distance, unique.p_value) == (0.0, 1.0)
