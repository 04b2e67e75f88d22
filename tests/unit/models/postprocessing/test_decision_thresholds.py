"""A decision follows what was asked for, and costs less for it on rows that chose nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.base.errors import ConfigError
from tasks.base.settings.evaluation import ObjectiveConfig
from tasks.base.training_records import Schema
from tasks.models.out_of_fold import OutOfFold
from tasks.models.postprocessing.cost_matrix import check_objective, cost_matrix
from tasks.models.postprocessing.decision_thresholds import (
    Decision,
    best_f1,
    cheapest,
    choose_decision,
    decide,
    least_precision,
    least_recall,
    mean_cost,
    on_holdout,
    rates,
)
from tests.unit.models.postprocessing.test_calibration import YES_NO, held_out

BINARY = Schema(target="y", task="binary", features={}, classes=YES_NO, positive="yes")
THREE = Schema(target="y", task="multiclass", features={}, classes=("a", "b", "c"))
FIVE = ObjectiveConfig(cost={"false_positive": 1.0, "false_negative": 5.0})


def chances(held: OutOfFold) -> tuple[np.ndarray, np.ndarray]:
    assert held.probability is not None
    return held.probability[:, 1], held.truth(YES_NO) == 1


@pytest.mark.parametrize("sharper", [1.0, 4.0])
def test_the_threshold_costs_less_than_a_half_on_fresh_rows(sharper: float) -> None:
    for seed in range(5):
        found = choose_decision(FIVE, held_out(1_500, sharper, seed), BINARY)
        chance, hit = chances(held_out(20_000, sharper, seed=100 + seed))
        assert found.threshold is not None
        ours = mean_cost(chance >= found.threshold, hit, 1.0, 5.0)
        assert ours < mean_cost(chance >= 0.5, hit, 1.0, 5.0) - 0.02


def test_calibrated_probabilities_keep_the_threshold_of_the_costs() -> None:
    found = [
        choose_decision(FIVE, held_out(1_500, 1.0, seed), BINARY).threshold for seed in range(20)
    ]

    assert sum(t == pytest.approx(1 / 6) for t in found) >= 18


def test_wrong_probabilities_get_the_threshold_that_is_cheaper() -> None:
    found = choose_decision(FIVE, held_out(3_000, 4.0), BINARY)

    # Log odds four times as sharp: the right place is at the sixth's log odds, four times.
    assert found.threshold is not None
    assert found.threshold < 0.03
    assert "cheaper out of fold" in found.note


def test_a_threshold_that_was_cheaper_once_but_not_of_late_is_not_taken() -> None:
    once, late = held_out(3_000, 4.0, ordered=True), held_out(3_000, 1.0, ordered=True)
    said = np.where(
        np.arange(3_000)[:, None] < 2_400,
        np.asarray(once.probability),
        np.asarray(late.probability),
    )

    assert choose_decision(FIVE, once, BINARY).threshold != pytest.approx(1 / 6)
    found = choose_decision(FIVE, once.with_probability(said), BINARY)
    assert found.threshold == pytest.approx(1 / 6)


def test_a_minimum_is_kept_and_the_other_rate_is_as_high_as_it_can_be() -> None:
    chance, hit = chances(held_out(4_000, 1.0))
    for objective, place, least in (
        (ObjectiveConfig(min_precision=0.8), 0, 0.8),
        (ObjectiveConfig(min_recall=0.9), 1, 0.9),
    ):
        found = choose_decision(objective, held_out(4_000, 1.0), BINARY)
        assert found.threshold is not None
        reached = rates(chance >= found.threshold, hit)
        assert reached[place] >= least
        others = [rates(chance >= t, hit) for t in np.unique(chance)]
        assert reached[1 - place] >= max(r[1 - place] for r in others if r[place] >= least)


def test_a_precision_that_nothing_reaches_is_said() -> None:
    rng = np.random.default_rng(0)
    places = np.arange(300, dtype=np.int64)
    y = np.where(rng.random(300) < 0.3, "yes", "no")
    y[0], noise = "no", rng.random(300)
    noise[0] = 1.0
    held = OutOfFold(places, y, y, np.column_stack([1 - noise, noise]), places % 3)
    found = choose_decision(ObjectiveConfig(min_precision=1.0), held, BINARY)

    assert "no threshold reaches it" in found.note


def test_f1_is_as_high_as_it_can_be() -> None:
    chance, hit = chances(held_out(2_000, 1.0))
    reached = rates(chance >= best_f1(chance, hit), hit)[2]

    assert reached >= max(rates(chance >= t, hit)[2] for t in np.unique(chance)) - 1e-12
    assert choose_decision("f1", held_out(2_000, 1.0), BINARY).threshold == best_f1(chance, hit)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.9, 1.0]), st.booleans()), min_size=1),
    st.floats(0.1, 10),
    st.floats(0.1, 10),
)
def test_no_threshold_is_cheaper(
    rows: list[tuple[float, bool]], false_positive: float, false_negative: float
) -> None:
    chance = np.array([row[0] for row in rows])
    hit = np.array([row[1] for row in rows])
    prices = (false_positive, false_negative)
    least = mean_cost(chance >= cheapest(chance, hit, *prices), hit, *prices)

    for threshold in (*chance, 2.0):
        assert least <= mean_cost(chance >= threshold, hit, *prices) + 1e-9


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1), st.floats(0.01, 1))
def test_every_rule_answers_whatever_the_rows(rows: list[tuple[float, bool]], least: float) -> None:
    chance = np.array([row[0] for row in rows])
    hit = np.array([row[1] for row in rows])

    for rule in (best_f1, least_precision(least), least_recall(least)):
        assert np.isfinite(rule(chance, hit))
    assert (
        rates(chance >= least_recall(least)(chance, hit), hit)[1] >= least * float(hit.any()) - 1e-9
    )


def test_costs_of_classes_decide_by_the_least_expected_cost() -> None:
    objective = ObjectiveConfig(cost={"c": {"a": 10.0, "b": 10.0}})
    matrix = cost_matrix(objective, THREE)

    assert matrix is not None
    assert matrix.tolist() == [[0, 1, 1], [1, 0, 1], [10, 10, 0]]
    found = choose_decision(objective, held_out(10, 1.0), THREE)
    said = np.array([[0.6, 0.2, 0.2], [0.95, 0.03, 0.02]])
    assert decide(said, THREE.classes, costs=found.costs).tolist() == [2, 0]
    note, params = on_holdout(objective, found, said, np.array([2, 0]), THREE)
    assert params == {"holdout_cost": 0.0, "holdout_cost_plain": 5.0}
    assert "likeliest class" in note


def test_a_matrix_of_two_classes_is_a_threshold() -> None:
    nested = ObjectiveConfig(cost={"yes": {"no": 5.0}})

    matrix = cost_matrix(nested, BINARY)
    assert matrix is not None
    assert np.array_equal(matrix, np.asarray(cost_matrix(FIVE, BINARY)))
    other = BINARY.model_copy(update={"positive": "no"})
    swapped = cost_matrix(FIVE, other)
    assert swapped is not None
    assert swapped.tolist() == [[0, 5], [1, 0]]


def test_the_likeliest_class_is_the_rule_without_an_objective() -> None:
    assert choose_decision(None, held_out(10, 1.0), BINARY) == Decision()
    assert decide(np.array([[0.5, 0.5], [0.2, 0.8]]), YES_NO).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("objective", "roles", "said"),
    [
        ("f1", THREE, "a cost for each true class"),
        (FIVE, THREE, "a cost for each true class"),
        (ObjectiveConfig(cost={"z": {"a": 1.0}}), THREE, "'z'"),
        (ObjectiveConfig(cost={"a": {"</script>": 1.0}}), THREE, "no class"),
        (ObjectiveConfig(cost={"a": {"a": 3.0}}), THREE, "less than to be wrong"),
        ("f1", Schema(target="y", task="regression", features={}), "a number"),
    ],
)
def test_an_objective_that_does_not_suit_the_target_is_refused(
    objective: ObjectiveConfig | str, roles: Schema, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check_objective(objective, roles)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "one of `cost`"),
        ({"min_recall": 0.5, "min_precision": 0.5}, "one of `cost`"),
        ({"min_recall": 0.0}, "greater than 0"),
        ({"min_precision": 1.5}, "less than or equal to 1"),
        ({"cost": {}}, "needs `false_positive`"),
        ({"cost": {"false_positive": 1}}, "needs `false_positive`"),
        ({"cost": {"false_positive": -1, "false_negative": 1}}, "finite number from 0"),
        ({"cost": {"false_positive": float("nan"), "false_negative": 1}}, "finite number"),
        ({"cost": {"false_positive": 0, "false_negative": 0}}, "more than 0"),
        ({"cost": {"a": {"b": 1}, "b": 2}}, "mapping for each class"),
    ],
)
def test_an_objective_that_means_nothing_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ObjectiveConfig.model_validate(values)


def test_a_decision_comes_back_from_json_as_it_was() -> None:
    for found in (Decision(0.25, "yes", note="n"), Decision(costs=np.eye(3))):
        assert str(Decision.of(found.plain())) == str(found)
