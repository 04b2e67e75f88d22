"""What a refit now is expected to bring, by how champions aged so far."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.base.monitoring_records import AgedGain, Gain
from tasks.base.settings.monitoring import CostConfig, PolicyConfig
from tasks.policy.ageing import MOST, with_ageing
from tasks.policy.gain_rule import weigh
from tasks.policy.gain_sentences import gain_headline, gain_sentence

WEEK = timedelta(days=7)
LEARNED = datetime(2026, 1, 5, tzinfo=UTC)


def measured(gain: float, *, error: float = 0.01, weeks: float = 2.0) -> Gain:
    """Return a measurement of a refreshed model that is half of so many weeks ahead."""
    return Gain(
        version="1", metric="roc_auc", gain=gain, low=gain - 1.645 * error,
        high=gain + 1.645 * error, matters=0.01, rows=900, rows_expected=450,
        boundary=LEARNED + weeks / 2 * WEEK, newest=LEARNED + weeks * WEEK,
    )  # fmt: skip


def aged(gain: float, error: float = 0.01, weeks: float = 1.0) -> AgedGain:
    return AgedGain(gain=gain, error=error, ahead=weeks * WEEK)


def test_a_refit_is_ahead_by_the_rows_that_the_refreshed_model_left_out() -> None:
    found = with_ageing(measured(0.004), LEARNED, (), WEEK)

    assert found.expected == pytest.approx(0.008, rel=0.01)
    assert found.aged[-1].ahead == WEEK


def test_earlier_champions_tell_what_one_measurement_leaves_open() -> None:
    alone = with_ageing(measured(0.0), LEARNED, (), WEEK)
    beside = with_ageing(measured(0.0), LEARNED, [aged(0.01)] * 5, WEEK)

    assert weigh(PolicyConfig(), alone) == "unclear"
    assert beside.expected is not None
    assert 0.01 < beside.expected < 0.02
    assert weigh(PolicyConfig(), beside) == "ages"


def test_what_was_measured_long_after_a_training_counts_by_the_week() -> None:
    old = with_ageing(measured(0.0), LEARNED, [aged(0.01, weeks=10)] * 5, WEEK)

    assert old.expected is not None
    assert old.expected < 0.003
    assert weigh(PolicyConfig(), old) == "unclear"


def test_a_table_on_which_nothing_changes_calls_for_nothing() -> None:
    found = with_ageing(measured(0.001), LEARNED, [aged(0.001), aged(-0.002)] * 4, WEEK)

    assert weigh(PolicyConfig(), found) in ("none", "unclear")


def test_what_is_expected_is_asked_by_the_files_own_least_gain_or_cost() -> None:
    found = with_ageing(measured(0.0), LEARNED, [aged(0.01)] * 5, WEEK)

    assert weigh(PolicyConfig(min_gain=0.05), found) != "ages"
    cheap, dear = (CostConfig(training=cost, unit_loss=10.0) for cost in (20.0, 200.0))
    assert weigh(PolicyConfig(cost=cheap), found) == "ages"
    assert weigh(PolicyConfig(cost=dear), found) == "none"


def test_a_measurement_that_shows_a_loss_calls_for_no_refit_whatever_earlier_ones_showed() -> None:
    earlier = [aged(0.03)] * 5
    lost = with_ageing(measured(-0.02), LEARNED, earlier, WEEK)

    assert lost.high is not None
    assert lost.high < 0
    assert weigh(PolicyConfig(), lost) != "ages"
    assert weigh(PolicyConfig(), with_ageing(measured(0.0), LEARNED, earlier, WEEK)) == "ages"


def test_what_could_not_be_measured_keeps_what_was() -> None:
    before = [aged(0.01)] * 3
    skipped = Gain(version="1", metric="roc_auc", skipped="too few rows")

    assert with_ageing(skipped, LEARNED, before, WEEK).aged == tuple(before)
    assert with_ageing(skipped, LEARNED, before, WEEK).expected is None


def test_the_newest_measurements_count() -> None:
    found = with_ageing(measured(0.0), LEARNED, [aged(0.05)] * 3 + [aged(0.0)] * MOST, WEEK)

    assert len(found.aged) == MOST
    assert found.expected == pytest.approx(0.0, abs=1e-6)


def test_the_sentence_names_what_is_expected_and_why() -> None:
    found = with_ageing(measured(0.0), LEARNED, [aged(0.01)] * 5, WEEK)

    assert "a refit is expected to bring 0.017 ROC AUC" in gain_sentence(found, "ages")
    assert "6 measurements" in gain_sentence(found, "ages")
    assert gain_headline(found, "ages") == "a refit is expected to bring 0.017 ROC AUC"
