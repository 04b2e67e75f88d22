from __future__ import annotations

import math
import time

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.base.errors import EvidenceError
from tasks.base.settings.evaluation import CLASSIFICATION_METRICS, REGRESSION_METRICS
from tasks.metrics import classification
from tasks.metrics import regression as regression_metrics
from tasks.metrics.bootstrap import Plan
from tasks.metrics.scorer import evaluate, score
from tests.unit.evaluation.problems import binary, multiclass, regression, schema_of


def _close(value: float | None, expected: float) -> None:
    assert value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_binary_metrics_are_scikit_learns(ties: bool, seed: int) -> None:
    y, predicted, probability, schema = binary(seed=seed, ties=ties)
    p = probability[:, 1]
    metrics = evaluate("a", y, predicted, probability, schema, replicates=0).metrics
    truth = y == "yes"
    expected = {
        "accuracy": sk.accuracy_score(y, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(y, predicted),
        "precision": sk.precision_score(y, predicted, pos_label="yes"),
        "recall": sk.recall_score(y, predicted, pos_label="yes"),
        "f1": sk.f1_score(y, predicted, pos_label="yes"),
        "precision_macro": sk.precision_score(y, predicted, average="macro"),
        "recall_macro": sk.recall_score(y, predicted, average="macro"),
        "f1_macro": sk.f1_score(y, predicted, average="macro"),
        "roc_auc": sk.roc_auc_score(truth, p),
        "average_precision": sk.average_precision_score(truth, p),
        "log_loss": sk.log_loss(y, probability, labels=["no", "yes"]),
        "brier": sk.brier_score_loss(truth, p),
    }
    assert set(metrics) == {*expected, "calibration_error"}
    for name, value in expected.items():
        _close(metrics[name].value, value)


@pytest.mark.parametrize("k", [3, 7])
def test_multiclass_metrics_are_scikit_learns(k: int) -> None:
    y, predicted, probability, schema = multiclass(k=k)
    metrics = evaluate("a", y, predicted, probability, schema, replicates=0).metrics
    one_hot = np.eye(k)[y]
    expected = {
        "accuracy": sk.accuracy_score(y, predicted),
        "f1_macro": sk.f1_score(y, predicted, average="macro"),
        "f1": sk.f1_score(y, predicted, average="macro"),
        "precision_macro": sk.precision_score(y, predicted, average="macro"),
        "roc_auc": sk.roc_auc_score(y, probability, multi_class="ovr"),
        "average_precision": sk.average_precision_score(one_hot, probability, average="macro"),
        "log_loss": sk.log_loss(y, probability),
        "brier": ((one_hot - probability) ** 2).sum(axis=1).mean(),
    }
    for name, value in expected.items():
        _close(metrics[name].value, value)


def test_regression_metrics_are_scikit_learns() -> None:
    for rows in (400, 401):
        y, predicted, schema = regression(rows)
        metrics = evaluate("a", y, predicted, None, schema, replicates=0).metrics
        _close(metrics["mse"].value, sk.mean_squared_error(y, predicted))
        _close(metrics["rmse"].value, sk.root_mean_squared_error(y, predicted))
        _close(metrics["mae"].value, sk.mean_absolute_error(y, predicted))
        _close(metrics["median_ae"].value, sk.median_absolute_error(y, predicted))
        _close(metrics["r2"].value, sk.r2_score(y, predicted))
        _close(metrics["mape"].value, sk.mean_absolute_percentage_error(y, predicted))


def test_every_configurable_metric_is_computed() -> None:
    assert set(CLASSIFICATION_METRICS) <= set(classification.NAMES)
    assert set(REGRESSION_METRICS) <= set(regression_metrics.NAMES)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_metrics_under_weights_are_scikit_learns(data: st.DataObject) -> None:
    n = data.draw(st.integers(4, 40))
    truth = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    p = np.array(data.draw(st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.9]), min_size=n, max_size=n)))
    w = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), dtype=float)
    if not (w @ truth and w @ (1 - truth)):
        return
    predicted = (p > 0.4).astype(int)
    scores = classification.ClassScores(
        truth, predicted, np.column_stack([1 - p, p]), 2, 1, Plan(n, n, None, 0, 0)
    )
    values = {name: v[0] for name, v in scores.under(w[None, :]).items()}
    _close(values["roc_auc"], sk.roc_auc_score(truth, p, sample_weight=w))
    _close(values["average_precision"], sk.average_precision_score(truth, p, sample_weight=w))
    _close(values["accuracy"], sk.accuracy_score(truth, predicted, sample_weight=w))
    recall = sk.recall_score(truth, predicted, sample_weight=w, zero_division=np.nan)
    _close(values["recall"], recall)
    _close(values["log_loss"], sk.log_loss(truth, p, sample_weight=w))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=5, max_size=30).filter(any))
def test_weights_stand_for_repeated_rows(weights: list[int]) -> None:
    w = np.array(weights)
    y, predicted, _ = regression(len(w))
    scores = regression_metrics.ValueScores(y, predicted, Plan(len(w), len(w), None, 0, 0))
    values = {name: v[0] for name, v in scores.under(w[None, :].astype(float)).items()}
    again = {n: score(n, y.repeat(w), predicted.repeat(w), None, (), None) for n in values}
    for name, value in again.items():
        assert values[name] == pytest.approx(value, rel=1e-7, nan_ok=True)


@pytest.mark.parametrize("kind", [bool, int, str])
def test_labels_may_be_booleans_integers_or_text(kind: type) -> None:
    y = np.array([1, 0, 1, 1, 0]).astype(bool if kind is bool else int)
    y = y.astype(str) if kind is str else y
    classes = tuple(str(c) for c in np.unique(y))
    assert score("accuracy", y, y, None, classes, classes[1]) == 1.0


def test_labels_may_be_an_object_array_of_booleans() -> None:
    y = np.array([True, False, True], dtype=object)
    assert score("f1", y, y, None, ("False", "True"), "True") == 1.0


def test_the_positive_class_may_be_the_first() -> None:
    y, predicted, probability, schema = binary()
    flipped = schema.model_copy(update={"positive": "no"})
    metrics = evaluate("a", y, predicted, probability, flipped, replicates=0).metrics
    _close(metrics["precision"].value, sk.precision_score(y, predicted, pos_label="no"))
    _close(metrics["roc_auc"].value, sk.roc_auc_score(y == "no", probability[:, 0]))


def test_one_class_in_the_holdout_leaves_ranking_undefined() -> None:
    y = np.array(["no"] * 50)
    p = np.linspace(0, 0.4, 50)
    schema = schema_of(("no", "yes"), "yes")
    metrics = evaluate("a", y, y, np.column_stack([1 - p, p]), schema).metrics
    undefined = {name for name, m in metrics.items() if m.value is None}
    assert undefined == {"precision", "recall", "f1", "roc_auc", "average_precision"}


def test_precision_without_a_positive_prediction_is_undefined_not_zero() -> None:
    y = np.array([0, 1, 0, 1])
    assert math.isnan(score("precision", y, np.zeros(4, int), None, ("0", "1"), "1"))
    assert score("recall", y, np.zeros(4, int), None, ("0", "1"), "1") == 0.0


def test_without_probabilities_only_what_needs_none_is_defined() -> None:
    y, predicted, _, schema = binary()
    metrics = evaluate("a", y, predicted, None, schema).metrics
    assert metrics["roc_auc"].value is None
    assert metrics["log_loss"].value is None
    assert metrics["f1"].value is not None


def test_probabilities_that_are_not_finite_leave_metrics_undefined() -> None:
    y, predicted, probability, schema = binary()
    probability[3] = np.nan
    metrics = evaluate("a", y, predicted, probability, schema).metrics
    assert metrics["brier"].value is None
    assert metrics["accuracy"].value is not None


def test_mape_is_undefined_where_a_target_is_zero() -> None:
    y, predicted, schema = regression()
    y[7] = 0
    metrics = evaluate("a", y, predicted, None, schema).metrics
    assert metrics["mape"].value is None
    assert metrics["mae"].value is not None


def test_r2_is_undefined_for_a_constant_target() -> None:
    assert math.isnan(score("r2", [0.1] * 30, np.arange(30.0), None, (), None))


def test_r2_does_not_depend_on_the_unit_of_the_target() -> None:
    y, predicted, _ = regression()
    nano = score("r2", y * 1e-9, predicted * 1e-9, None, (), None)
    assert nano == pytest.approx(score("r2", y, predicted, None, (), None))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_predictions_beyond_numbers_are_undefined(bad: float) -> None:
    y, predicted, schema = regression()
    predicted[0] = bad
    metrics = evaluate("a", y, predicted, None, schema).metrics
    assert metrics["mse"].value is None


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_or_one_row_never_crashes(rows: int) -> None:
    y, predicted, probability, schema = binary(rows)
    evaluation = evaluate("a", y, predicted, probability, schema)
    assert evaluation.metrics["roc_auc"].value is None
    y, predicted, schema = regression(rows)
    assert evaluate("a", y, predicted, None, schema).metrics["r2"].value is None


def test_the_interval_holds_the_value_and_covers_the_truth() -> None:
    covered = 0
    for seed in range(60):
        y, predicted, probability, schema = binary(300, seed)
        metric = evaluate("a", y, predicted, probability, schema, seed=seed).metrics["roc_auc"]
        assert metric.low <= metric.value <= metric.high  # type: ignore[operator]
        # The area under normal scores 1.5 apart.
        covered += metric.low <= 0.85566 <= metric.high  # type: ignore[operator]
    assert covered >= 51


def test_blocks_that_repeat_each_row_widen_the_interval() -> None:
    y, predicted, probability, schema = binary(200)
    repeated = [np.repeat(v, 10, axis=0) for v in (y, predicted, probability)]
    by_row = evaluate("a", *repeated, schema).metrics["accuracy"]
    blocks = np.repeat(np.arange(200), 10)
    by_block = evaluate("a", *repeated, schema, blocks=blocks).metrics["accuracy"]
    assert by_block.value == by_row.value
    wide, narrow = (m.high - m.low for m in (by_block, by_row))  # type: ignore[operator]
    assert 2.4 < wide / narrow < 4.2


def test_the_aggregated_form_agrees_with_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = (binary(6000), multiclass(6000))
    exact = [evaluate("a", *p[:3], p[3], replicates=400) for p in problems]
    monkeypatch.setattr("tasks.metrics.bootstrap.EXACT_WORK", 1)
    aggregated = [evaluate("a", *p[:3], p[3], replicates=400) for p in problems]
    for one, other in zip(exact, aggregated, strict=True):
        for name, m in one.metrics.items():
            again = other.metrics[name]
            assert again.value == m.value
            width, again_width = m.high - m.low, again.high - again.low  # type: ignore[operator]
            assert 0.75 < again_width / width < 1.33, name


def test_the_aggregated_median_agrees_with_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    y, predicted, schema = regression(6000)
    exact = evaluate("a", y, predicted, None, schema).metrics["median_ae"]
    monkeypatch.setattr("tasks.metrics.bootstrap.EXACT_WORK", 1)
    again = evaluate("a", y, predicted, None, schema).metrics["median_ae"]
    assert again.value == exact.value
    assert again.low == pytest.approx(exact.low, abs=0.02)


def test_a_seed_makes_intervals_repeatable() -> None:
    y, predicted, probability, schema = binary()
    one = evaluate("a", y, predicted, probability, schema, seed=3)
    assert one == evaluate("a", y, predicted, probability, schema, seed=3)
    assert one != evaluate("a", y, predicted, probability, schema, seed=4)


def test_a_faultless_metric_claims_no_interval() -> None:
    y, _, _, schema = binary()
    metric = evaluate("a", y, y, None, schema).metrics["accuracy"]
    assert (metric.value, metric.low, metric.high) == (1.0, None, None)


def test_each_class_has_its_precision_recall_f1_and_rows() -> None:
    y, predicted, probability, schema = multiclass()
    per_class = evaluate("a", y, predicted, probability, schema).per_class
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, predicted)
    for k, label in enumerate(schema.classes):
        _close(per_class[label]["precision"].value, precision[k])
        _close(per_class[label]["recall"].value, recall[k])
        _close(per_class[label]["f1"].value, f1[k])
        assert per_class[label]["support"].value == support[k]
        assert per_class[label]["f1"].low is not None


def test_the_confusion_matrix_has_true_classes_in_rows() -> None:
    y, predicted, probability, schema = multiclass()
    confusion = evaluate("a", y, predicted, probability, schema).confusion
    assert confusion == tuple(map(tuple, sk.confusion_matrix(y, predicted).tolist()))


def test_calibration_error_is_none_for_honest_and_large_for_boasting_probabilities() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    y = (rng.random(20_000) < p).astype(int)
    honest = np.column_stack([1 - p, p])
    assert score("calibration_error", y, y, honest, ("0", "1"), "1") < 0.02
    q = np.clip(p + 0.2, 0, 1)
    boasting = np.column_stack([1 - q, q])
    assert score("calibration_error", y, y, boasting, ("0", "1"), "1") == pytest.approx(
        0.18, abs=0.02
    )


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EvidenceError, match=r"roc_auc.*got 'rmse'"):
        score("rmse", [0, 1], [0, 1], None, ("0", "1"), "1")


def test_an_unknown_true_label_is_refused() -> None:
    with pytest.raises(EvidenceError, match="known classes; got"):
        score("accuracy", ["a", "c"], ["a", "a"], None, ("a", "b"), "b")


def test_a_predicted_label_of_no_known_class_is_wrong() -> None:
    assert score("accuracy", ["a", "b"], ["a", "z"], None, ("a", "b"), "b") == 0.5


@pytest.mark.parametrize("columns", [1, 3])
def test_probabilities_of_another_shape_are_refused(columns: int) -> None:
    with pytest.raises(EvidenceError, match="shape"):
        score("accuracy", [0, 1], [0, 1], np.ones((2, columns)), ("0", "1"), "1")


def test_too_few_predictions_are_refused() -> None:
    with pytest.raises(EvidenceError, match="3 true values"):
        score("mae", [1.0, 2.0, 3.0], [1.0], None, (), None)


def test_fifty_thousand_rows_are_evaluated_fast() -> None:
    y, predicted, probability, schema = binary(50_000)
    started = time.process_time()
    evaluate("a", y, predicted, probability, schema)
    assert time.process_time() - started < 4, "about 0.5 s on an idle core"
