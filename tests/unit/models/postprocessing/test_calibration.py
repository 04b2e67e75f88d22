"""Probabilities are mended where they are wrong, and left alone where they are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from tasks.base.errors import ModelRefusedError
from tasks.models.fitting import fit_candidates, refit
from tasks.models.out_of_fold import Collector, OutOfFold, gain
from tasks.models.persistence.prediction import outputs, predict
from tasks.models.persistence.skops_io import load_model, save_model
from tasks.models.postprocessing.adjusted_classifier import AdjustedClassifier, innermost
from tasks.models.postprocessing.calibration import (
    Calibration,
    Chosen,
    choose_calibration,
    cross_fitted,
    fit_calibration,
    row_losses,
)
from tests.unit.models.factories import fitted, frame, snapshot, target, training
from tests.unit.registry.mlflow.served_models import differences

YES_NO = ("no", "yes")


def held_out(
    rows: int, sharper: float, seed: int = 0, *, parts: int = 5, ordered: bool = False
) -> OutOfFold:
    """Return predictions whose log odds are `sharper` times what they should be."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-0.5, 1.2, rows)
    hit = rng.random(rows) < expit(odds)
    said = expit(sharper * odds)
    y = np.where(hit, "yes", "no")
    part = np.arange(rows) * parts // rows if ordered else np.arange(rows) % parts
    places = np.arange(rows, dtype=np.int64)
    chances = np.column_stack([1 - said, said])
    return OutOfFold(places, y, y, chances, part.astype(np.int64), ordered)


def chances_of(held: OutOfFold) -> NDArray[np.float64]:
    assert held.probability is not None
    return held.probability


def asked(pipeline: Any, X: pd.DataFrame) -> tuple[NDArray[Any], NDArray[np.float64]]:
    labels, chances = predict(pipeline, X)
    assert chances is not None
    return labels, chances


def fell(chosen: Chosen, before: str, after: str) -> bool:
    return float(chosen.params[after]) < float(chosen.params[before])


@pytest.mark.parametrize("sharper", [4.0, 0.2])
@pytest.mark.parametrize("ordered", [False, True])
def test_planted_miscalibration_is_mended_on_fresh_rows(sharper: float, ordered: bool) -> None:
    chosen = choose_calibration("auto", held_out(2_000, sharper, ordered=ordered), YES_NO, "yes")

    assert chosen.calibration.method != "none"
    fresh = held_out(20_000, sharper, seed=1)
    assert fresh.probability is not None
    truth = fresh.truth(YES_NO)
    before = row_losses(fresh.probability, truth).mean()
    after = row_losses(chosen.calibration.apply(fresh.probability, YES_NO), truth).mean()
    best = row_losses(np.asarray(held_out(20_000, 1.0, seed=1).probability), truth).mean()
    assert after < before - 0.02
    assert after < best + 0.01
    assert fell(chosen, "log_loss_before_calibration", "log_loss_after_calibration")
    assert fell(chosen, "calibration_error_before", "calibration_error_after")
    assert "→" in chosen.note


def test_calibrated_probabilities_are_left_alone() -> None:
    changed = [
        choose_calibration("auto", held_out(1_500, 1.0, seed), YES_NO, "yes").calibration.method
        for seed in range(20)
    ]

    assert changed.count("none") >= 18


def test_a_stated_method_is_used_whatever_it_does() -> None:
    held = held_out(500, 1.0)

    assert choose_calibration("isotonic", held, YES_NO, "yes").calibration.method == "isotonic"
    assert choose_calibration("none", held, YES_NO, "yes").calibration.method == "none"


def test_rows_in_time_are_calibrated_by_earlier_ones_alone() -> None:
    held = held_out(1_000, 4.0, ordered=True)
    later = chances_of(held).copy()
    later[600:] = 0.5
    first = cross_fitted("sigmoid", held, YES_NO)
    changed = cross_fitted("sigmoid", held.with_probability(later), YES_NO)

    assert np.array_equal(first[:600], changed[:600])
    assert np.array_equal(first[:200], chances_of(held)[:200])
    assert not np.allclose(first[200:400], chances_of(held)[200:400])


def test_what_was_wrong_once_but_not_of_late_is_left_alone() -> None:
    once, late = held_out(3_000, 4.0, ordered=True), held_out(3_000, 1.0, ordered=True)
    chances = np.where(np.arange(3_000)[:, None] < 2_400, chances_of(once), chances_of(late))
    chosen = choose_calibration("auto", once.with_probability(chances), YES_NO, "yes")

    assert chosen.calibration.method == "none"
    assert "not on the newest rows" in chosen.note


def test_more_than_two_classes_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3_000, 3))
    true = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    drawn = (true.cumsum(axis=1) > rng.random((3_000, 1))).argmax(axis=1)
    said = np.exp(4 * scores) / np.exp(4 * scores).sum(axis=1, keepdims=True)
    places = np.arange(3_000, dtype=np.int64)
    classes = ("a", "b", "c")
    y = np.asarray(classes)[drawn]
    chosen = choose_calibration("auto", OutOfFold(places, y, y, said, places % 5), classes, None)

    assert chosen.calibration.method != "none"
    assert float(chosen.params["log_loss_after_calibration"]) < 0.8 * float(
        chosen.params["log_loss_before_calibration"]
    )
    mended = chosen.calibration.apply(said, classes)
    assert np.allclose(mended.sum(axis=1), 1.0)
    assert (mended > 0).all()


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_extreme_probabilities_give_finite_losses(method: Any) -> None:
    held = held_out(200, 500.0)
    fitted_map = fit_calibration(method, chances_of(held), held.truth(YES_NO), YES_NO)
    mended = fitted_map.apply(np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]), YES_NO)

    assert np.isfinite(np.log(mended)).all()


def test_an_order_turned_round_is_no_calibration() -> None:
    held = held_out(1_000, -2.0)
    fitted_map = fit_calibration("sigmoid", chances_of(held), held.truth(YES_NO), YES_NO)
    low, high = fitted_map.apply(np.array([[0.9, 0.1], [0.1, 0.9]]), YES_NO)[:, 1]

    assert low == high


def test_a_calibration_comes_back_from_json_as_it_was() -> None:
    held = held_out(800, 3.0)
    first = choose_calibration("isotonic", held, YES_NO, "yes").calibration
    again = Calibration.of(first.plain())

    assert np.array_equal(
        first.apply(chances_of(held), YES_NO),
        again.apply(chances_of(held), YES_NO),
    )


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_an_adjusted_pipeline_survives_its_file(method: Any, tmp_path: Path) -> None:
    X = frame()
    y = target(X, "binary")
    pipeline, _ = fitted("logistic_regression", "binary", X, y)
    held = held_out(400, 3.0)
    found = fit_calibration(method, chances_of(held), held.truth(YES_NO), YES_NO)
    model = AdjustedClassifier(
        pipeline[-1], found.method, dict(found.tables or {}), found.floor, 0.2, "yes"
    )
    whole = Pipeline([("encode", pipeline[0]), ("model", model)])

    save_model(whole, tmp_path / "m.skops")
    again = load_model(tmp_path / "m.skops")

    labels, chances = asked(whole, X)
    assert np.array_equal(asked(again, X)[1], chances)
    assert np.array_equal(again.predict(X), labels)
    assert np.array_equal(labels == "yes", chances[:, 1] >= 0.2)
    assert not np.allclose(chances, asked(pipeline, X)[1])
    assert innermost(again[-1]).__class__.__name__ == "LogisticRegression"


def test_a_crafted_tree_deep_inside_is_refused(tmp_path: Path) -> None:
    tree = DecisionTreeClassifier().fit(np.array([[0.0], [1.0]]), ["no", "yes"])
    tree.tree_.children_left[0] = 1_000_000
    hidden = AdjustedClassifier(tree, threshold=0.3, positive="yes")
    save_model(Pipeline([("model", hidden)]), tmp_path / "m.skops")

    with pytest.raises(ModelRefusedError, match="outside itself"):
        load_model(tmp_path / "m.skops")


def test_one_validation_part_is_split_in_two() -> None:
    for ordered, part in ((True, [0, 0, 1, 1]), (False, [0, 1, 0, 1])):
        collector = Collector(ordered)
        rows = np.arange(4, dtype=np.int64)
        collector.add(rows, rows, rows, None)
        held = collector.all()
        assert held is not None
        assert held.part.tolist() == part
        assert held.judged().tolist() == ([False, False, True, True] if ordered else [True] * 4)


def test_one_validation_part_is_split_between_groups_not_within() -> None:
    collector = Collector(ordered=False)
    rows = np.arange(6, dtype=np.int64)
    collector.add(rows, rows, rows, None, np.array([7, 7, 7, 9, 9, 12]))
    held = collector.all()
    assert held is not None
    assert held.part.tolist() == [0, 0, 0, 1, 1, 0]


def test_rows_of_a_group_count_as_one_where_a_gain_is_told_from_noise() -> None:
    rng = np.random.default_rng(5)
    codes = np.repeat(np.arange(40, dtype=np.int64), 10)
    false = {"groups": 0, "rows": 0}
    for _ in range(1_000):
        difference = rng.normal(size=40)[codes] + rng.normal(size=400)
        false["groups"] += gain(difference, codes)[1] > 0
        false["rows"] += gain(difference, None)[1] > 0
    assert false["groups"] <= 45  # 25 of 1,000 are stated
    assert false["rows"] > 150


def test_what_is_known_of_groups_outlives_a_file(tmp_path: Path) -> None:
    places = np.arange(4, dtype=np.int64)
    said = OutOfFold(places, places, places, None, places % 2, groups=places // 2)
    said.save(tmp_path)
    again = OutOfFold.read(tmp_path)
    assert again is not None
    assert again.groups is not None
    assert again.groups.tolist() == [0, 0, 1, 1]
    assert np.array_equal(again.only(np.array([3])).groups or [], [1])


def test_training_calibrates_what_it_keeps_and_refits(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    X = frame(1_800)
    y = np.where(rng.random(1_800) < 0.15, "yes", "no")
    size = np.nan_to_num(X["größe, m"].to_numpy(), posinf=0, neginf=0)
    y = np.where(rng.random(1_800) < 1 / (1 + np.exp(2 - size)), "yes", y)
    path, split, roles = snapshot(tmp_path, X, y, "binary", holdout=200, ordered=True)
    # Balanced weights promise far more of the rare class than there is.
    settings = training("logistic_regression", calibrate="auto", class_weight="balanced")
    cost = {"cost": {"false_positive": 1.0, "false_negative": 4.0}}

    plain = training("logistic_regression", class_weight="balanced")
    raw = fit_candidates(path, split, roles, plain, "log_loss", tmp_path / "raw")[1]
    result = fit_candidates(
        path, split, roles, settings, "log_loss", tmp_path / "fits", objective=cost
    )[1]

    assert result.params["calibration"] in {"sigmoid", "isotonic"}
    assert result.cv_mean is not None
    assert raw.cv_mean is not None
    assert result.cv_mean < raw.cv_mean
    assert any("calibrated by" in note for note in result.notes)
    assert any("cost a row on the holdout" in note for note in result.notes)
    pipeline = load_model(result.model_path)
    with np.load(result.predictions_path) as kept:
        labels, chances = asked(pipeline, X.iloc[-200:])
        assert np.allclose(kept["probability"], chances)
        assert np.array_equal(kept["predicted"], labels)
        inner = pipeline[-1].estimator.predict_proba(pipeline[0].transform(X.iloc[-200:]))
        assert np.allclose(kept["uncalibrated"], inner)
        assert np.array_equal(labels == "yes", chances[:, 1] >= pipeline[-1].threshold)
    assert differences(tmp_path / "served", result.model_path, X.iloc[-200:], roles) == []

    again = refit(path, split, roles, settings, result, tmp_path / "refit")

    model = load_model(again.model_path)[-1]
    assert isinstance(model, AdjustedClassifier)
    assert model.method == pipeline[-1].method
    assert model.threshold == pipeline[-1].threshold
    assert model.tables is not None
    assert np.array_equal(model.tables["yes"], pipeline[-1].tables["yes"])


def test_what_is_not_asked_for_changes_nothing(tmp_path: Path) -> None:
    X = frame()
    y = target(X, "binary")
    path, split, roles = snapshot(tmp_path, X, y, "binary")
    result = fit_candidates(
        path, split, roles, training("logistic_regression"), "roc_auc", tmp_path / "fits"
    )[1]

    model = load_model(result.model_path)[-1]
    assert type(model).__name__ == "LogisticRegression"
    assert "calibration" not in result.params
    matrix = load_model(result.model_path)[0].transform(X)
    assert np.array_equal(outputs(model, matrix)[0], model.predict(matrix))
    held = OutOfFold.read(Path(result.model_path).parent)
    assert held is not None
    assert len(held) == split.n_train
