"""What is ordinary from window to window: rates over many drawn histories, without any rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.base.training_records import MetricValue
from tasks.monitoring.performance.expected_range import Measured, Ordinary, combined

TRIALS = 800
BOUND = 0.05


def _measured(value: float, spread: float) -> Measured:
    return Measured(float(value), spread, MetricValue(value=float(value)))


def _usual(holdout: NDArray[np.float64], spread: float, metric: str) -> Ordinary:
    found = [_measured(value, spread) for value in holdout]
    return combined(None, found, [], metric)


def _rate(histories: NDArray[np.float64], spread: float, metric: str, *, greater: bool) -> float:
    """Return how often the last of each history lies beyond the limit that the others set."""
    worse = 0
    for *holdout, last in histories:
        usual = _usual(np.asarray(holdout), spread, metric)
        limit = usual.limit(spread, BOUND, greater=greater)
        worse += last < limit if greater else last > limit
    return worse / len(histories)


def _shares(weeks: int, fallen: float = 0.0, like: float = 0.0) -> NDArray[np.float64]:
    rng = np.random.default_rng(weeks)
    moved = rng.standard_normal((TRIALS, weeks + 1))
    for week in range(1, weeks + 1):
        moved[:, week] = like * moved[:, week - 1] + np.sqrt(1 - like**2) * moved[:, week]
    true = 1 / (1 + np.exp(-(1.4 + 0.2 * moved)))
    true[:, -1] -= fallen
    return true + 0.007 * rng.standard_normal(true.shape)


@pytest.mark.parametrize("weeks", [2, 4, 12, 50])
@pytest.mark.parametrize("like", [0.0, 0.5])
def test_weeks_that_differ_alarm_less_often_than_stated(weeks: int, like: float) -> None:
    assert 0.01 < _rate(_shares(weeks, like=like), 0.007, "roc_auc", greater=True) < BOUND


@pytest.mark.parametrize("weeks", [4, 12])
def test_an_error_that_varies_by_a_factor_alarms_less_often_than_stated(weeks: int) -> None:
    rng = np.random.default_rng(weeks)
    histories = 50 * np.exp(0.25 * rng.standard_normal((TRIALS, weeks + 1)))
    assert 0.02 < _rate(histories, 0.5, "rmse", greater=False) < BOUND
    # On the metric's own numbers the same limit lets more pass than is stated.
    assert _rate(histories, 0.5, "unknown_error", greater=False) > BOUND


@pytest.mark.parametrize(("weeks", "fallen", "least"), [(4, 0.15, 0.7), (8, 0.1, 0.6)])
def test_a_model_that_fell_is_found(weeks: int, fallen: float, least: float) -> None:
    assert _rate(_shares(weeks, fallen), 0.007, "roc_auc", greater=True) > least


def test_a_limit_of_a_share_stays_a_share_and_one_of_an_error_above_nothing() -> None:
    shares = _usual(np.array([0.97, 0.995, 0.9]), 0.01, "accuracy")
    assert 0 < shares.limit(0.01, 0.001, greater=True) < 0.9
    errors = _usual(np.array([0.1, 1.0, 10.0]), 0.01, "mae")
    assert 1.9 < errors.limit(0.01, 0.001, greater=False) < 2.5
    whole = _usual(np.array([1.0, 1.0, 1.0]), 0.0, "accuracy")
    assert whole.limit(0.0, BOUND, greater=True) == 1.0


@pytest.mark.parametrize("blocks", [1, 2, 7, 50])
@pytest.mark.parametrize("apart", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("metric", ["roc_auc", "ndcg_at_10", "map_at_10"])
def test_a_fall_of_a_tenth_is_worse_on_any_history(blocks: int, apart: float, metric: str) -> None:
    rng = np.random.default_rng(blocks)
    held = 1 / (1 + np.exp(-(2.75 + apart * rng.standard_normal(blocks))))
    found = [_measured(value, 0.004) for value in held]
    usual = combined(_measured(0.94, 0.004), found, [], metric)
    assert 0.84 < usual.limit(0.006, BOUND, greater=True) < 0.94


def test_few_windows_vary_as_much_as_is_assumed_and_many_as_they_did() -> None:
    def width(blocks: int) -> float:
        usual = combined(_measured(0.8, 0.001), [_measured(0.8, 0.001)] * blocks, [], "roc_auc")
        return 0.8 - usual.limit(0.001, BOUND, greater=True)

    assert 0.14 > width(1) > width(2) > width(4) > width(20) > 0.0005


def test_shorter_parts_of_a_short_holdout_widen_what_is_ordinary() -> None:
    one = [_measured(0.8, 0.01)]
    parts = [_measured(value, 0.01) for value in (0.5, 0.9, 0.7, 0.95, 0.6, 0.85)]
    wide = combined(one[0], one, parts, "roc_auc").limit(0.01, BOUND, greater=True)
    assert wide < combined(one[0], one, [], "roc_auc").limit(0.01, BOUND, greater=True) - 0.05


def test_the_error_of_a_regression_in_shares_has_the_scale_of_an_error() -> None:
    held = [_measured(value, 0.005) for value in (0.8, 0.82, 0.78)]
    assert 0.6 < combined(None, held, [], "r2").limit(0.005, BOUND, greater=True) < 0.78
