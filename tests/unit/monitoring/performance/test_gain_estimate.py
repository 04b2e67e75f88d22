from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tasks.base.monitoring_records import Gain, Window, WindowDifference
from tasks.base.settings.monitoring import PolicyConfig
from tasks.base.training_records import Schema
from tasks.metrics.paired_bootstrap import Predictions
from tasks.monitoring.performance.gain_estimate import (
    inside,
    material,
    measured,
    retraining_gain,
)
from tasks.monitoring.performance.gain_sequence import log_evidence
from tasks.policy.gain_rule import expected_gain, saving, weigh
from tasks.policy.gain_sentences import (
    gain_headline,
    gain_sentence,
    gain_skipped,
)

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = timedelta(weeks=1)
REGRESSION = Schema(target="y", task="regression", features={}, time_column="t")


def weeks(count: int) -> list[Window]:
    return [Window(start=START + n * WEEK, end=START + (n + 1) * WEEK) for n in range(count)]


def compared(gain: float, rows: int = 600, count: int = 2, seed: int = 0, **given: Any) -> Gain:
    """Measure a refreshed model whose absolute error is lower by about `gain`."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=rows)
    error = np.abs(rng.normal(1.0, 0.2, rows)) + 0.5
    champion = y + error
    refreshed = y + error - gain + rng.normal(0, 0.05, rows)
    span = count * 7 * 86_400
    times = np.datetime64("2026-01-05", "us") + (np.arange(rows) * span // rows).astype(
        "timedelta64[s]"
    )
    return measured(
        "mae",
        y,
        Predictions(refreshed),
        Predictions(champion),
        REGRESSION,
        times=times,
        windows=weeks(count),
        **{"min_rows": 100, **given},
    )


def test_a_better_refreshed_model_is_measured_with_an_interval_that_excludes_zero() -> None:
    found = compared(0.1)
    assert found.gain == pytest.approx(0.1, abs=0.01)
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.high
    assert (found.rows, len(found.windows), found.observed) == (600, 2, 2)
    assert found.champion is not None
    assert found.refreshed is not None
    assert found.champion - found.refreshed == pytest.approx(found.gain)
    assert weigh(PolicyConfig(), found) == "pays"


def test_the_same_model_again_brings_nothing_that_matters() -> None:
    found = compared(0.0)
    assert weigh(PolicyConfig(), found) == "none"
    assert found.evidence < 1


def test_a_window_is_observed_once() -> None:
    first = compared(0.1, count=2)
    again = compared(0.1, rows=900, count=3, earlier=first.differences)
    assert [d.window for d in again.differences] == weeks(3)[2:]
    assert again.observed == 3
    assert again.evidence > first.evidence > 0


def test_few_rows_and_one_class_give_no_number_and_a_reason() -> None:
    few = compared(0.1, rows=60)
    assert (few.skipped, few.gain) == ("too few rows", None)
    assert "too few labelled rows" in gain_skipped(few)
    classes = Schema(target="y", task="binary", features={}, classes=("a", "b"), positive="b")
    one = np.array(["a"] * 300, dtype=object)
    shares = np.full((300, 2), 0.5)
    times = np.arange("2026-01-05", "2026-01-08", dtype="datetime64[h]").repeat(5)[:300]
    found = measured(
        "roc_auc",
        one,
        Predictions(one, shares),
        Predictions(one, shares),
        classes,
        times=times.astype("datetime64[us]"),
        windows=weeks(1),
    )
    assert found.skipped == "undefined"
    assert weigh(PolicyConfig(), found) == ""


def stale(policy: PolicyConfig, shift: float, earlier: tuple[Gain, ...] = ()) -> Gain:
    """Compare two models of one ranking; the champion's log odds are off by `shift`."""
    rng = np.random.default_rng(0)
    odds = rng.normal(-1.0, 1.0, 2_000)
    true = rng.random(2_000) < 1 / (1 + np.exp(-odds))
    both = [1 / (1 + np.exp(-(odds - off))) for off in (0.0, shift)]
    refreshed, champion = (Predictions(p > 0.5, np.column_stack([1 - p, p])) for p in both)
    times = np.datetime64("2026-01-05", "us") + np.arange(2_000) * np.timedelta64(600, "s")
    return retraining_gain(
        policy,
        "roc_auc",
        np.where(true, "b", "a").astype(object),
        refreshed,
        champion,
        Schema(target="y", task="binary", features={}, classes=("a", "b"), positive="b"),
        earlier=earlier,
        aged=earlier[::-1],
        learned=START - WEEK,
        length=WEEK,
        stated={"boundary": START, "family": "lightgbm"},
        false_alarms=0.05,
        times=times,
        windows=weeks(2),
    )


def test_probabilities_that_went_stale_call_for_a_training_though_the_order_is_as_good() -> None:
    found = stale(PolicyConfig(), 1.0)

    assert (found.metric, weigh(PolicyConfig(), found)) == ("log_loss", "pays")
    assert found.beside is not None
    assert (found.beside.metric, found.beside.gain) == ("roc_auc", pytest.approx(0.0, abs=1e-9))
    assert found.confidence > found.beside.confidence
    assert (found.family, found.beside.family) == ("lightgbm", "lightgbm")
    assert "gain in ROC AUC 0 (0 to 0)" in gain_sentence(found, "pays")


def test_the_metric_comes_first_where_probabilities_are_as_good_or_the_file_prices_it() -> None:
    same = stale(PolicyConfig(), 0.0)
    priced = stale(PolicyConfig(min_gain=0.01), 1.0)

    assert same.metric == "roc_auc"
    assert same.beside is not None
    assert (priced.metric, priced.beside) == ("roc_auc", None)


def test_each_of_the_two_metrics_goes_on_with_its_own_earlier_measurements() -> None:
    first = stale(PolicyConfig(), 1.0)
    again = stale(PolicyConfig(), 1.0, earlier=(first,))

    for metric in ("roc_auc", "log_loss"):
        before, after = first.within(metric), again.within(metric)
        assert before is not None
        assert after is not None
        assert len(before.differences) == 2
        assert (after.differences, after.observed) == ((), 2)
        assert len(after.aged) == 1 + len(before.aged) or metric == "roc_auc"


def test_windows_are_closed_at_their_start_and_open_at_their_end() -> None:
    times = np.array(["2026-01-05", "2026-01-12"], dtype="datetime64[us]")
    assert inside(times, weeks(1)[0]).tolist() == [True, False]


def test_what_matters_is_a_twentieth_of_the_odds_or_of_the_error() -> None:
    assert material("roc_auc", 0.95) < material("roc_auc", 0.8)
    assert material("rmse", 200.0) == pytest.approx(10 * material("rmse", 20.0))
    assert material("r2", 0.5) == pytest.approx(0.5 * (1 - np.exp(-0.05)))


def gain(value: float, low: float, high: float, **given: Any) -> Gain:
    found = {"version": "1", "metric": "roc_auc", "matters": 0.008, "rows": 5402, **given}
    return Gain(gain=value, low=low, high=high, **found)


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        (gain(0.04, 0.03, 0.05), "pays"),
        (gain(0.004, 0.001, 0.007), "pays"),
        (gain(-0.002, -0.01, 0.006), "none"),
        (gain(0.005, -0.002, 0.012), "unclear"),
        (gain(0.002, -0.02, 0.024), "unclear"),
        (gain(0.005, -0.002, 0.012, evidence=3.0, mean=0.004), "steady"),
        (gain(0.005, -0.002, 0.012, evidence=2.9, mean=0.004), "unclear"),
    ],
)
def test_the_interval_says_whether_retraining_pays(found: Gain, answer: str) -> None:
    assert weigh(PolicyConfig(), found) == answer


def test_a_least_gain_is_asked_of_the_lower_end_and_of_the_mean() -> None:
    config = PolicyConfig(min_gain=0.02)
    assert weigh(config, gain(0.04, 0.03, 0.05)) == "pays"
    assert weigh(config, gain(0.02, 0.01, 0.03)) == "unclear"
    assert weigh(config, gain(0.01, 0.005, 0.015, evidence=5.0, mean=0.01)) == "none"


def test_with_a_cost_it_trains_where_the_gain_saves_more_until_the_next_look() -> None:
    cost = {"training": 20.0, "unit_loss": 0.5}
    config = PolicyConfig.model_validate({"cost": cost})
    found = gain(0.04, 0.03, 0.05, rows_expected=1_200)
    assert saving(config, found, expected_gain(found)) == pytest.approx(23.4, abs=0.1)
    assert weigh(config, found) == "pays"
    assert weigh(config, found.model_copy(update={"rows_expected": 700})) == "none"
    assert weigh(config, gain(0.04, -0.02, 0.1, rows_expected=1_200)) == "unclear"


def test_noise_is_no_saving() -> None:
    assert expected_gain(gain(0.01, -0.05, 0.07)) == 0.0
    assert expected_gain(gain(-0.01, -0.02, 0.0)) == 0.0


def test_evidence_grows_with_a_steady_small_gain_and_stays_small_without() -> None:
    limit = np.log(20)
    assert log_evidence([(0.002, 0.002)] * 20) > limit
    assert log_evidence([(0.002, 0.002), (-0.002, 0.002)] * 7) < 0
    assert log_evidence([(1.0, 0.001)]) < limit, "no single window crosses it"
    assert log_evidence([(0.0, 0.0)]) == pytest.approx(0.0)


def test_level_of_the_sequence_over_a_hundred_looks() -> None:
    rng = np.random.default_rng(3)
    crossed = 0
    for _ in range(100):
        path = [(z, 1.0) for z in rng.normal(size=100)]
        crossed += any(log_evidence(path[: n + 1]) >= np.log(20) for n in range(0, 100, 5))
    assert crossed <= 8  # the benchmark counts 5,000 paths; 5 % here would be 5 +- 2.2


def test_a_title_names_the_gain_and_nothing_that_is_not_there() -> None:
    assert gain_headline(gain(0.04, 0.03, 0.05), "pays") == "retraining would bring 0.040 ROC AUC"
    assert gain_headline(gain(-0.002, -0.01, 0.006), "none") == ""
    steady = gain(0.005, -0.002, 0.012, mean=0.0041, observed=12)
    assert "0.0041" in gain_headline(steady, "steady")
    assert "12 windows" in gain_sentence(steady, "steady")


def test_differences_of_earlier_measurements_come_first() -> None:
    bad = [WindowDifference(window=w, rows=300, gain=-0.1, spread=0.01) for w in weeks(2)]
    later = compared(0.1, count=2, earlier=bad)
    assert later.differences == ()
    assert later.mean == pytest.approx(-0.1)
