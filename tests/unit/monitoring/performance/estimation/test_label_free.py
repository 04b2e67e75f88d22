from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.base.training_records import Kind, Schema
from tasks.metrics.bootstrap import whole
from tasks.metrics.random_effects import random_effects
from tasks.monitoring.performance.estimation.covariate_shift import thinned
from tasks.monitoring.performance.estimation.estimate_error import Missed, OwnError
from tasks.monitoring.performance.estimation.expected_metrics import ExpectedScores
from tasks.monitoring.performance.estimation.label_free import Estimate, _stated, estimate
from tasks.monitoring.performance.expected_range import measure
from tasks.monitoring.performance.labelled_predictions import answers_of
from tasks.monitoring.performance.metric_scales import Scale
from tests.unit.monitoring.windows_made import BINARY, DIGITS, VALUES, binary, digits, values

CLASS_METRICS = (
    "accuracy", "balanced_accuracy", "f1", "precision", "recall", "roc_auc", "log_loss", "brier",
)  # fmt: skip


def estimated(
    window: pd.DataFrame, holdout: pd.DataFrame, roles: Schema, metric: str
) -> tuple[Estimate, float]:
    """Return the estimate without labels and what came true."""
    blind = answers_of(window.drop(columns="label"), roles)
    true = measure(answers_of(window, roles), roles, metric)
    found = estimate(blind, answers_of(holdout, roles), roles, metric)
    return found, float("nan") if true is None else true.value


def near(found: Estimate, true: float) -> bool:
    """Return whether what came true lies within four standard errors."""
    assert found.value.value is not None
    return abs(found.value.value - true) <= 4 * found.spread + 4 * 0.012


@pytest.mark.parametrize("metric", CLASS_METRICS)
def test_a_shift_of_the_rows_is_seen_without_labels(metric: str) -> None:
    holdout, shifted = binary(6_000, 1), binary(6_000, 2, shift=0.9)
    found, true = estimated(shifted, holdout, BINARY, metric)
    before, _ = estimated(holdout, holdout, BINARY, metric)
    assert near(found, true)
    assert found.value.value is not None
    assert before.value.value is not None
    assert abs(true - found.value.value) < abs(true - before.value.value) or near(before, true)
    assert found.value.low is not None
    assert found.value.high is not None
    assert found.value.low < found.value.value < found.value.high


@pytest.mark.parametrize("metric", CLASS_METRICS)
def test_more_classes_are_estimated_too(metric: str) -> None:
    found, true = estimated(digits(4_000, 2, sharp=0.8), digits(6_000, 1), DIGITS, metric)
    assert near(found, true)


@pytest.mark.parametrize("metric", ["mae", "mse", "rmse"])
def test_the_error_of_a_regression_is_learned_from_the_prediction(metric: str) -> None:
    holdout = values(6_000, 1)
    found, true = estimated(values(4_000, 2, mean=1.0), holdout, VALUES, metric)
    at_home, _ = estimated(holdout, holdout, VALUES, metric)
    assert found.value.value == pytest.approx(true, rel=0.12)
    assert at_home.value.value is not None
    assert (found.value.value or 0) > at_home.value.value
    assert found.spread > 0


def test_an_estimated_error_and_its_interval_follow_the_unit() -> None:
    def stated(unit: float) -> list[float]:
        window, known = values(3_000, 2, mean=1.0), values(6_000, 1)
        for table in (window, known):
            table[["prediction", "label"]] *= unit
        found = estimated(window, known, VALUES, "mae")[0].value
        return [(end or 0.0) / unit for end in (found.low, found.value, found.high)]

    assert stated(1e-12) == pytest.approx(stated(1.0), rel=1e-3)


@pytest.mark.parametrize(
    ("roles", "metric"),
    [(VALUES, "r2"), (VALUES, "median_ae"), (VALUES, "mape"), (BINARY, "calibration_error")],
)
def test_what_cannot_be_estimated_says_so(roles: Schema, metric: str) -> None:
    rows = values() if roles is VALUES else binary()
    found, _ = estimated(rows, rows, roles, metric)
    assert found.value.value is None
    assert f"{metric} can't be estimated without labels" in found.sentence


def test_probabilities_that_are_too_sure_are_calibrated_first() -> None:
    def overconfident(rows: pd.DataFrame) -> pd.DataFrame:
        p = rows["probability_yes"]
        sure = p**3 / (p**3 + (1 - p) ** 3)
        return rows.assign(probability_yes=sure, probability_no=1 - sure)

    window = overconfident(binary(6_000, 2))
    found, true = estimated(window, overconfident(binary(6_000, 1)), BINARY, "accuracy")
    naive = window[["probability_no", "probability_yes"]].max(axis=1).mean()
    assert near(found, true)
    assert abs(naive - true) > 0.08


def test_with_certain_shares_the_expected_metric_is_the_metric() -> None:
    rows = binary(500)
    answers = answers_of(rows, BINARY)
    certain = np.eye(2)[answers.truth]
    for metric in CLASS_METRICS:
        scores = ExpectedScores(answers, certain, BINARY, whole(500), metric)
        true = measure(answers, BINARY, metric)
        assert true is not None
        assert scores.under(np.ones((1, 500)))[metric][0] == pytest.approx(true.value)


def test_little_data_and_one_class_give_a_sentence() -> None:
    enough = answers_of(binary(), BINARY)
    for window, holdout, said in (
        (enough.only(np.arange(50)), enough, "The window has 50 rows"),
        (enough, enough.only(np.arange(50)), "The reference has 50 labelled rows"),
        (enough, answers_of(binary().assign(label="no"), BINARY), "one class only"),
        (answers_of(binary()[["prediction"]], BINARY), enough, "Without probabilities"),
    ):
        found = estimate(window, holdout, BINARY, "roc_auc")
        assert found.value.value is None
        assert said in found.sentence


def test_a_constant_model_gives_no_crash() -> None:
    flat = binary().assign(prediction="no", probability_no=0.7, probability_yes=0.3)
    for metric in CLASS_METRICS:
        found, _ = estimated(flat, flat, BINARY, metric)
        assert found.value.value is None or np.isfinite(found.value.value)
    still = values().assign(prediction=1.0)
    assert estimated(still, still, VALUES, "mae")[0].value.value is not None


def test_labels_of_the_window_are_not_looked_at() -> None:
    holdout, window = answers_of(binary(3_000, 1), BINARY), binary()
    told = estimate(answers_of(window, BINARY), holdout, BINARY, "f1")
    lies = window.assign(label=window["label"].map({"yes": "no", "no": "yes"}))
    assert told == estimate(answers_of(lies, BINARY), holdout, BINARY, "f1")


def test_large_tables_are_thinned_evenly() -> None:
    answers = answers_of(values(1_000), VALUES)
    few = thinned(answers, 10)
    assert few.rows == 10
    assert few.predicted[-1] == answers.predicted[-1]


def test_the_interval_holds_what_comes_true_of_most_windows() -> None:
    holdout = answers_of(binary(4_000, 1), BINARY)
    held = 0
    for seed in range(2, 22):
        window = answers_of(binary(1_000, seed), BINARY)
        true, told = (
            measure(window, BINARY, "accuracy"),
            estimate(window, holdout, BINARY, "accuracy"),
        )
        assert true is not None
        held += told.value.low <= true.value <= told.value.high
    assert held >= 18


def test_an_estimate_that_misleads_on_the_holdout_steps_aside() -> None:
    """Each week predicts another height; which heights err more changes after six weeks."""
    weeks = [values(600, number, mean=20.0 * (number % 6)) for number in range(18)]
    rng = np.random.default_rng(0)
    for number, week in enumerate(weeks):
        week["time"] = week["time"] + number * pd.Timedelta(days=7)
        swapped = number // 6 % 2 == 1
        size = (1, 3)[(number + swapped) % 2]
        week["label"] = week["prediction"] + size * rng.standard_normal(600)
    found, _ = estimated(weeks[0], pd.concat(weeks, ignore_index=True), VALUES, "mae")
    assert found.value.value is None
    assert "is not estimated without labels" in found.sentence


def own(misses: list[float], name: str, evidence: float = 20.0) -> OwnError:
    effects = random_effects(
        np.asarray(misses), np.full(len(misses), 1e-4), 0.05, freedom=1, centre=0.0
    )
    missed = Missed(len(misses), 0.0, 0.0, evidence)
    return OwnError(Scale(name), effects, effects, 0.0, missed)  # type: ignore[arg-type]


def test_an_interval_stays_inside_what_its_metric_can_be() -> None:
    error, _ = _stated((1.0, 0.2), (1.0, 0.2), own([3.0, -3.0], "log"), 1.0)
    share, _ = _stated((0.9, 0.05), (0.9, 0.05), own([3.0, -3.0], "logit"), 1.0)
    assert error.low is not None
    assert error.high is not None
    assert share.low is not None
    assert share.high is not None
    assert 0.0 < error.low < 0.1
    assert error.high > 10.0
    assert 0.0 < share.low < 0.4
    assert 0.95 < share.high < 1.0


def test_an_interval_reaches_to_the_references_own_metric_where_that_did_as_well() -> None:
    both = (0.7, 0.01), (0.8, 0.01)
    sure, unsure = (
        _stated(*both, own([0.02, -0.02], "logit", evidence), 1.0)[0] for evidence in (20.0, -1.0)
    )
    assert sure.value == unsure.value == 0.7
    assert (sure.high or 1.0) < 0.78 < 0.8 < (unsure.high or 0.0)


def test_large_misses_on_the_reference_override_the_prior() -> None:
    """Parts that miss by 1.4 leave an own error of that size, whatever was assumed."""
    found = own([1.4, -1.3, 1.5, -1.4, 1.2, -1.5], "plain").effects
    assert 2.5 < found.quantile(0.975) < 6.0


def test_misses_that_grow_with_time_widen_the_intervals_of_later_windows() -> None:
    lags = np.array([0.2, 0.4, 0.8, 1.2, 1.6, 2.0])
    noise, signs = np.full(6, 1e-4), np.array([1, -1, 1, -1, 1, -1])
    growing = random_effects(signs * 0.5 * lags, noise, 0.05, freedom=1, centre=0.0, factors=lags)
    assert growing.quantile(0.975, factor=6.0) > 1.8 * growing.quantile(0.975)


def shifted(seed: int, share: float, rows: int = 4_000) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return predictions that are too sure on one of two sites, and the sites."""
    rng = np.random.default_rng(seed)
    made, site = binary(rows, seed), rng.random(rows) < share
    p = made["probability_yes"].to_numpy()
    sure = np.where(site, p**3 / (p**3 + (1 - p) ** 3), p)
    made = made.assign(probability_yes=sure, probability_no=1 - sure)
    return made, pd.DataFrame({"site": np.where(site, "b", "a")})


def test_a_reference_weighted_by_what_is_frequent_now_estimates_a_shift_of_covariates() -> None:
    before, sites = shifted(1, 0.1)
    window, now = shifted(2, 0.9)
    kinds: dict[str, Kind] = {"site": "categorical"}
    known, blind = answers_of(before, BINARY, sites), answers_of(window, BINARY, now)
    true = measure(blind, BINARY, "log_loss")
    assert true is not None
    weighted, even = (
        estimate(blind, known, BINARY, "log_loss", kinds=c).value.value or 0.0
        for c in (kinds, None)
    )
    assert abs(weighted - true.value) < 0.4 * abs(even - true.value)
