"""What is recommended, and how it is written into the pipeline file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tasks.backtest.policies import Policy
from tasks.backtest.recommendation import recommend
from tasks.backtest.results import PolicyResult, Recommendation
from tasks.backtest.run import apply_settings
from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import load_pipeline
from tasks.base.settings.monitoring import PolicyConfig
from tasks.base.training_records import MetricValue
from tests.tables import write_churn, write_pipeline
from tests.unit.backtest.replays import config_of

WEEK = timedelta(days=7)


def result(name: str, loss: float, low: float | None, fitted: int) -> PolicyResult:
    gain = MetricValue(value=1.0 - loss, low=low, high=1.0 - loss + 0.1)
    return PolicyResult(
        policy=name,
        sentence="",
        loss=loss,
        score=None,
        captured=None,
        gain_over_never=gain,
        gain_over_every=MetricValue(value=0.0),
        trainings=fitted,
        refits=0,
        promotions=0,
        refusals=0,
        alarms=0,
        alarms_paid=0,
        seconds=1.0,
    )


POLICIES = {
    "never": Policy(name="never", sentence=""),
    "every_window": Policy(name="every_window", sentence="", every=1),
    "every_window_gated": Policy(name="every_window_gated", sentence="", every=1, gated=True),
    "gain": Policy(
        name="gain",
        sentence="",
        senses=("gain",),
        rule=PolicyConfig(retrain_on=("gain",)),
        gated=True,
        span=timedelta(days=21),
    ),
}


def recommended(*results: PolicyResult) -> Recommendation:
    never = result("never", 1.0, 0.0, 0)
    given = (never, *results)
    return recommend(given, POLICIES, config_of(), length=WEEK, loss_name="log_loss")


def test_nearly_the_best_gain_with_fewer_trainings_is_recommended() -> None:
    found = recommended(
        result("every_window", 0.40, 0.5, 20),
        result("every_window_gated", 0.50, 0.4, 20),
        result("gain", 0.52, 0.4, 4),
    )

    assert found.policy == "gain"
    assert found.sure
    assert found.settings == {"policy.retrain_on": ["gain"]}


def test_a_policy_that_production_cannot_follow_is_not_recommended() -> None:
    found = recommended(
        result("every_window", 0.40, 0.5, 20),
        result("every_window_gated", 0.60, 0.3, 20),
        result("gain", 0.95, -0.1, 1),
    )

    assert found.policy == "every_window_gated"
    assert found.settings["schedules.refit"] == "0 3 * * 1"
    assert found.settings["training.window"] is None


def test_where_nothing_is_gained_beyond_noise_the_model_trains_only_on_a_measured_gain() -> None:
    found = recommended(result("every_window_gated", 0.99, -0.2, 20), result("gain", 1.0, -0.1, 0))

    assert (found.policy, found.sure) == ("gain", False)


def test_settings_are_written_and_comments_stay(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "churn.csv", 50)
    extra = "training: {window: 30d}  # a month\nmonitoring: {window: 7d}\n# the end\n"
    pipeline = load_pipeline(write_pipeline(tmp_path / "p", data, extra, time=True))
    settings = {
        "training.window": None,
        "monitoring.window": "2w",
        "policy.retrain_on": ["gain"],
    }

    assert apply_settings(pipeline, Recommendation(policy="gain", sentence="", settings=settings))

    text = pipeline.path.read_text(encoding="utf-8")
    changed = load_pipeline(pipeline.path).config
    assert "# a month" in text
    assert "# the end" in text
    assert changed.training.window is None
    assert changed.monitoring.window == timedelta(days=14)
    assert changed.policy.retrain_on == ("gain",)


def test_settings_that_the_file_cannot_have_leave_it_as_it_is(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "churn.csv", 50)
    pipeline = load_pipeline(write_pipeline(tmp_path / "p", data, time=True))
    before = pipeline.path.read_bytes()

    with pytest.raises(ConfigError):
        apply_settings(
            pipeline,
            Recommendation(policy="x", sentence="", settings={"monitoring.window": "soon"}),
        )

    assert pipeline.path.read_bytes() == before


def test_one_training_is_written_in_the_singular() -> None:
    found = recommended(result("gain", 0.55, 0.2, 1), result("every_window_gated", 0.5, 0.2, 1))
    assert "trained 1 time in" in found.sentence
