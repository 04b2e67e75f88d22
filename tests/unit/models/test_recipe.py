"""Recipes: what a training found, fitted again without a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.base.training_records import CandidateResult, Recipe, Task
from tasks.models.fitting import fit_candidates
from tasks.models.out_of_fold import FILE, OutOfFold
from tasks.models.persistence.artifacts import kept
from tasks.models.postprocessing.adjustment import as_served
from tasks.models.recipe import fit_baseline, fit_forward, fit_recipe, recipe_of
from tests.unit.models.factories import frame, snapshot, target, training


def predictions(result: CandidateResult) -> dict[str, np.ndarray]:
    with np.load(result.predictions_path) as kept:
        return {name: kept[name] for name in kept.files}


def assert_equal(first: CandidateResult, second: CandidateResult) -> None:
    one, two = predictions(first), predictions(second)
    assert one.keys() == two.keys()
    for name, values in one.items():
        if values.dtype.kind == "f":
            assert np.allclose(values, two[name])
        else:
            assert np.array_equal(values, two[name])


def test_a_recipe_fitted_on_the_same_rows_gives_the_same_model(tmp_path: Path) -> None:
    X = frame(400)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary", ordered=True)
    config = training("lightgbm", "mlp", cv=3, calibrate="sigmoid")
    cost = {"cost": {"false_positive": 1.0, "false_negative": 3.0}}
    folder = tmp_path / "fits"
    trivial, *found = fit_candidates(*given, config, "log_loss", folder, objective=cost)

    for searched in found:
        recipe = recipe_of(searched, folder)
        again = Recipe.model_validate_json(recipe.model_dump_json())
        fitted = fit_recipe(*given, config, "log_loss", again, tmp_path / "again", objective=cost)

        assert again == recipe
        assert str(tmp_path) not in recipe.model_dump_json()
        assert fitted.cv_mean is None
        assert fitted.trials == ()
        assert fitted.params["iterations"] == searched.params["iterations"]
        assert fitted.params["threshold"] == searched.params["threshold"]
        assert_equal(searched, fitted)
    beside = fit_baseline(*given, config, "log_loss", tmp_path / "again")
    assert beside.cached
    assert_equal(trivial, beside)


def test_a_recipe_that_is_fitted_already_is_reused(tmp_path: Path) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "regression"), "regression")
    recipe = Recipe(family="logistic_regression")
    config = training("decision_tree")

    first = fit_recipe(*given, config, "rmse", recipe, tmp_path / "fits")
    second = fit_recipe(*given, config, "rmse", recipe, tmp_path / "fits")

    assert not first.cached
    assert second.cached
    assert second.rows_fitted == 80


def test_a_recipe_keeps_the_steps_that_its_rounds_were_chosen_for(tmp_path: Path) -> None:
    X = frame(2_500)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary", holdout=100)
    few = Recipe(family="lightgbm", iterations=5, rows=1_500)

    fitted = fit_recipe(*given, training("lightgbm"), "roc_auc", few, tmp_path / "fits")

    # Of 2,400 rows it would grow 31 leaves.
    assert fitted.params["num_leaves"] == 15
    assert fitted.rows_fitted == 2_400


def test_an_ensemble_is_mixed_again_by_its_weights(tmp_path: Path) -> None:
    X = frame(300)
    given = snapshot(tmp_path / "data", X, target(X, "regression"), "regression")
    config = training("decision_tree")
    members = (Recipe(family="logistic_regression"), Recipe(family="decision_tree"))
    mixed = Recipe(family="ensemble", members=members, weights=(0.25, 0.75))

    fitted = fit_recipe(*given, config, "rmse", mixed, tmp_path / "fits")
    again = recipe_of(fitted, tmp_path / "fits")

    parts = [
        predictions(fit_recipe(*given, config, "rmse", member, tmp_path / "fits"))["predicted"]
        for member in members
    ]
    assert np.allclose(predictions(fitted)["predicted"], 0.25 * parts[0] + 0.75 * parts[1])
    assert again.weights == mixed.weights
    assert [member.family for member in again.members] == ["logistic_regression", "decision_tree"]


def test_the_baseline_of_an_absolute_error_is_the_median(tmp_path: Path) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "regression"), "regression")
    config = training("decision_tree")

    trivial = fit_baseline(*given, config, "mae", tmp_path / "fits")

    assert trivial.params == {"strategy": "median"}
    assert recipe_of(trivial, tmp_path / "fits").objective == "mae"


def test_a_recipe_of_a_later_schema_is_not_read() -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({"schema_version": 2, "family": "svm"})


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_newer_half_is_predicted_by_the_recipe_fitted_on_older_rows(
    tmp_path: Path, task: Task
) -> None:
    X = frame(240)
    given = snapshot(tmp_path / "data", X, target(X, task), task, ordered=True)
    recipe = Recipe(family="logistic_regression")
    config, folder = training("logistic_regression"), tmp_path / "fits"
    metric = "log_loss" if task == "binary" else "rmse"
    fit_recipe(*given, config, metric, recipe, folder)

    fit_forward(*given, config, metric, recipe, folder)

    rows = len(np.load(given[1].train_path))
    held = as_served(folder, recipe.family, given[2])
    assert held is not None
    assert held.rows.tolist() == list(range(rows // 2, rows))
    assert np.unique(held.part).tolist() == [0, 1]


def test_predictions_of_the_newer_half_that_were_exchanged_are_made_again_with_their_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    X = frame(240)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary", ordered=True)
    recipe, config = Recipe(family="logistic_regression"), training("logistic_regression")
    asked = (*given, config, "log_loss", recipe, tmp_path / "fits")
    file = tmp_path / "fits" / recipe.family / FILE
    caplog.set_level("INFO")

    def predicted() -> OutOfFold:
        fit_recipe(*asked)
        fit_forward(*asked)
        held = OutOfFold.read(file.parent)
        assert held is not None
        return held

    first = predicted()
    first.with_probability(first.probability[::-1]).save(file.parent)
    assert predicted().same_rows(first)
    assert np.array_equal(predicted().probability, first.probability)
    assert "logistic_regression: oof.npz is not the file" in caplog.text
    # Of a fit that was killed before it was complete.
    first.with_probability(first.probability[::-1]).save(file.parent)
    file.with_name("result.json").unlink()
    assert np.array_equal(predicted().probability, first.probability)


def test_a_folder_that_holds_another_candidate_is_not_taken_for_it(tmp_path: Path) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    config = training("baseline")
    fit_baseline(*given, config, "log_loss", tmp_path)
    assert kept(tmp_path, "baseline") is not None

    (tmp_path / "baseline").rename(tmp_path / "lightgbm")

    assert kept(tmp_path, "lightgbm") is None
