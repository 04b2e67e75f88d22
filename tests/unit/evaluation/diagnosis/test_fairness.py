from __future__ import annotations

import numpy as np

from tasks.evaluation.diagnosis.fairness import by_column, group_differences
from tasks.metrics.paired_bootstrap import Predictions
from tests.unit.evaluation.problems import multiclass, regression, schema_of


def _binary(rows: int, seed: int, shift: float) -> tuple:  # type: ignore[type-arg]
    """Return levels, truth and a model that selects the group ``b`` less by `shift`."""
    rng = np.random.default_rng(seed)
    group = rng.choice(np.array(["a", "b"], dtype=object), rows, p=[0.6, 0.4])
    truth = rng.random(rows) < 0.4
    p = np.clip(0.2 + 0.5 * truth + 0.15 * rng.standard_normal(rows), 0.01, 0.99)
    p = np.clip(p - shift * (group == "b"), 0.01, 0.99)
    labels = np.array(["no", "yes"])
    model = Predictions(labels[(p > 0.5).astype(int)], np.column_stack([1 - p, p]))
    return group, labels[truth.astype(int)], model, schema_of(("no", "yes"), "yes")


def test_a_group_that_is_selected_less_is_named_with_an_interval() -> None:
    levels, y, model, schema = _binary(1500, 0, 0.3)
    found = group_differences("sex", levels, y, model, schema, "roc_auc")
    assert [g.value for g in found.groups] == ["a", "b"]
    selected = found.groups[1].differences["selected"]
    assert selected.high is not None
    assert selected.high < 0
    mask = levels == "b"
    share = (np.asarray(model.predicted)[mask] == "yes").mean()
    assert found.groups[1].rates["selected"].value == share
    hit = (np.asarray(model.predicted) == "yes") & (y == "yes")
    rate = hit[mask].sum() / (y[mask] == "yes").sum()
    assert found.groups[1].rates["true positives found"].value == rate
    assert "differ beyond chance" in found.sentence


def test_groups_that_are_treated_alike_are_seldom_said_to_differ() -> None:
    alarms = 0
    for seed in range(60):
        levels, y, model, schema = _binary(600, seed, 0.0)
        found = group_differences("sex", levels, y, model, schema, "roc_auc", seed=seed)
        alarms += "differ beyond chance" in found.sentence
    # 5 % of 60 and three deviations.
    assert alarms <= 8


def test_metrics_by_a_column_are_those_of_its_rows() -> None:
    y, predicted, probability, schema = multiclass(600)
    levels = np.array(["left", "right", "rare"], dtype=object)[np.repeat([0, 1, 2], [300, 290, 10])]
    found = by_column("side", levels, y, Predictions(predicted, probability), schema, "accuracy")
    assert [(s.value, s.rows) for s in found.levels] == [("left", 300), ("right", 290)]
    assert found.levels[0].score.value == (y == predicted)[:300].mean()
    assert "where side is" in found.sentence


def test_a_regression_compares_mean_prediction_and_mean_error() -> None:
    y, predicted, schema = regression(800)
    levels = np.where(np.arange(800) % 2 == 0, "a", "b").astype(object)
    model = Predictions(predicted + 3.0 * (levels == "b"))
    found = group_differences("sex", levels, y, model, schema, "rmse")
    assert "mean error" in found.sentence


def test_one_group_is_not_compared() -> None:
    levels, y, model, schema = _binary(100, 0, 0.0)
    found = group_differences("sex", np.full(100, "a", dtype=object), y, model, schema, "roc_auc")
    assert "fewer than two groups" in found.sentence
    assert len(levels) == 100
