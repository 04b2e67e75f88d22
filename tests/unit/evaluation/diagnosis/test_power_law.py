from __future__ import annotations

import numpy as np
import pytest

from tasks.evaluation.diagnosis.power_law import extrapolate, power_law, sizes
from tasks.evaluation.findings import CurvePoint


def _points(law: tuple[float, float, float], most: int = 20_000, seed: int = 0) -> list[CurvePoint]:
    rng = np.random.default_rng(seed)
    offset, slope, rate = law
    found = []
    for rows in sizes(most):
        noise = 0.02 * (100 / rows) ** 0.5
        repeats = 5 if rows <= 1000 else 1
        value = offset + slope * rows**-rate + rng.standard_normal() * noise / repeats**0.5
        found.append(
            CurvePoint(
                rows=rows,
                train=value * 0.9,
                valid=value,
                valid_std=noise if repeats > 1 else 0.0,
                repeats=repeats,
            )
        )
    return found


@pytest.mark.parametrize("law", [(0.3, 2.0, 0.5), (0.0, 5.0, 0.3), (1.0, 0.0, 1.0)])
def test_a_power_law_is_found_again(law: tuple[float, float, float]) -> None:
    rows = np.array(sizes(50_000), np.float64)
    losses = law[0] + law[1] * rows ** -law[2]
    found = power_law(rows, losses, np.ones(len(rows)))
    expected = law[0] + law[1] * 100_000.0 ** -law[2]
    assert found[0] + found[1] * 100_000.0 ** -found[2] == pytest.approx(expected, abs=1e-6)


def test_a_curve_that_has_flattened_says_that_more_data_brings_little() -> None:
    found = extrapolate("ridge", "rmse", _points((1.0, 20.0, 1.0)), baseline=3.0)
    assert found.sentence.startswith("More data brings little")


def test_a_curve_that_still_falls_says_that_more_data_helps() -> None:
    found = extrapolate("lightgbm", "rmse", _points((0.0, 5.0, 0.35)), baseline=3.0)
    assert found.sentence.startswith("More data helps")
    assert found.gain is not None
    assert found.gain == pytest.approx(5 * (20_000**-0.35 - 40_000**-0.35), rel=0.2)


def test_a_score_is_turned_so_that_greater_is_better() -> None:
    points = [
        p.model_copy(update={"valid": 1 - p.valid, "train": 1 - p.train})
        for p in _points((0.02, 2.0, 0.4))
    ]
    found = extrapolate("lightgbm", "roc_auc", points, baseline=0.5)
    assert found.gain is not None
    assert found.gain > 0


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    law = (0.5, 3.0, 0.5)
    truth = law[1] * (20_000.0 ** -law[2] - 40_000.0 ** -law[2])
    held = 0
    for seed in range(60):
        found = extrapolate("x", "rmse", _points(law, seed=seed), 3.0, seed=seed)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    # 90 % of 60, less three deviations.
    assert held >= 47


def test_two_points_say_nothing() -> None:
    found = extrapolate("x", "rmse", _points((1.0, 1.0, 1.0))[:2], 3.0)
    assert found.gain is None
    assert "Too few" in found.sentence


def test_sizes_end_with_all_rows_and_grow() -> None:
    for rows in (50, 100, 105, 1000, 4800, 60_000):
        found = sizes(rows)
        assert found[-1] == rows
        assert list(found) == sorted(set(found))


@pytest.mark.parametrize(("metric", "sign"), [("profit", 1), ("saved_cost", -1)])
def test_a_metric_without_a_bound_goes_on_as_it_went(metric: str, sign: int) -> None:
    reached = {100: 100.0, 500: 180.0, 1_000: 230.0, 5_000: 330.0, 10_000: 370.0}
    points = [CurvePoint(rows=n, train=0.0, valid=sign * v) for n, v in reached.items()]

    found = extrapolate("lightgbm", metric, points, 0.0)

    assert found.verdict == "helps"
    assert found.gain is not None
    assert 20 < found.gain < 60
