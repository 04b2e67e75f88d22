"""A model fitted again by what a search chose before: one fit, nothing searched or validated.

A recipe is what a training found out; it is kept beside the version that came of it, so that the
same model can be fitted on newer rows in seconds.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.errors import InfrastructureError
from tasks.base.runtime.files import digest_of
from tasks.base.settings.training import HERE, Engine, TrainingConfig
from tasks.base.training_records import CandidateResult, Recipe, Schema, Split
from tasks.data.column_kinds import target_values
from tasks.data.snapshots import read_frame
from tasks.models.ensemble.blend_call import blend_again, weights_of
from tasks.models.execution.scheduler import Fits, silent
from tasks.models.execution.time_budget import Budget
from tasks.models.out_of_fold import FILE, Collector
from tasks.models.persistence.artifacts import keep_result, kept
from tasks.models.postprocessing.adjustment import adjustment_of
from tasks.models.run_context import BASELINE, ENSEMBLE, shared_files

__all__ = ["Recipe", "fit_baseline", "fit_forward", "fit_recipe", "recipe_of", "refit"]

_SECONDS = 24 * 3600.0
_FORWARD = (0.5, 0.75, 1.0)
"""Shares of the training rows between which a refit's out-of-fold parts lie."""


def recipe_of(result: CandidateResult, folder: Path) -> Recipe:
    """Return the recipe for fitting a candidate, kept in its training's `folder`, again."""
    name, params = result.candidate, result.params
    weights = weights_of(result) if name == ENSEMBLE else {}
    absolute = params.get("objective") == "regression_l1" or params.get("strategy") == "median"
    return Recipe(
        family=name,
        settings=result.tuned,
        iterations=params.get("iterations"),
        rows=result.rows_fitted or None,
        objective="mae" if absolute else "",
        adjustment=adjustment_of(folder / name),
        members=tuple(recipe_of(_member(folder, member), folder) for member in weights),
        weights=tuple(weights.values()),
    )


def _member(folder: Path, name: str) -> CandidateResult:
    found = kept(folder, name)
    if found is None:
        raise InfrastructureError(f"the files of {name} are not there.", "Run with --fresh.")
    return found


def fit_recipe(
    snapshot_path: str,
    split: Split,
    schema: Schema,
    training: TrainingConfig,
    metric: str,
    recipe: Recipe,
    folder: Path,
    *,
    objective: str | dict[str, Any] | None = None,
    whole: bool = False,
    engine: Engine = HERE,
) -> CandidateResult:
    """Fit the model of `recipe` on the training rows and predict the holdout."""
    # The trivial baseline (in `metric`) of the same rows is fitted beside it, unless `whole`, when
    # holdout rows are fitted on as well. The features are those of `schema`, such as the ones of
    # the version that is refitted. A model found complete in `folder` is reused: its name must
    # change with rows, settings, recipe and versions. Raises DataError if the training rows cannot
    # be fitted at all, InfrastructureError if the fit failed.
    name = recipe.family
    known = kept(folder, name)
    if known is not None:
        return known
    # Of an earlier fit, which `fit_forward` would take for this one's.
    (folder / name / FILE).unlink(missing_ok=True)
    given = (snapshot_path, split, schema, training)
    more: dict[str, Any] = {"objective": objective, "whole": whole, "engine": engine}
    for member in recipe.members:
        fit_recipe(*given, metric, member, folder, **more)
    names = () if name in {BASELINE, ENSEMBLE} else (name,)
    fitted_for = recipe.objective or metric
    with shared_files(*given, fitted_for, folder, names, recipe=recipe, **more) as run:
        if name == ENSEMBLE:
            return blend_again(run)
        result = Fits(run, Budget(_SECONDS), silent).results()[name]
    if result.status != "ok":
        raise InfrastructureError(
            f"{name} could not be fitted once more: {result.reason}.",
            "Run a full training: without --refit, or with training.refit set to false.",
        )
    return result


def fit_forward(
    snapshot_path: str,
    split: Split,
    schema: Schema,
    training: TrainingConfig,
    metric: str,
    recipe: Recipe,
    folder: Path,
    *,
    objective: str | dict[str, Any] | None = None,
) -> None:
    """Keep the recipe's predictions of the newer half of the training rows, forward in time."""
    # Each of two parts is predicted by the recipe fitted on the rows before it. A search has such
    # predictions from its validation; a refit validates nothing. They are kept beside the model
    # that `fit_recipe` left in `folder`, as out-of-fold predictions are.
    own, whole = folder / recipe.family, kept(folder, recipe.family)
    if whole is not None and FILE in whole.digests:
        return
    rows = np.load(split.train_path)
    y, usable = target_values(read_frame(snapshot_path, [schema.target], rows), schema)
    rows = rows[usable]
    gathered = Collector(ordered=False)
    for start, end in pairwise(round(share * len(rows)) for share in _FORWARD):
        part = folder / f"forward-{start}"
        part.mkdir(parents=True, exist_ok=True)
        paths = {"train_path": str(part / "train.npy"), "holdout_path": str(part / "holdout.npy")}
        np.save(paths["train_path"], rows[:start])
        np.save(paths["holdout_path"], rows[start:end])
        counts = {"n_train": start, "n_holdout": end - start, "no_target": 0}
        there = split.model_copy(update={**paths, **counts})
        fitted = fit_recipe(
            snapshot_path, there, schema, training, metric, recipe, part, objective=objective
        )
        with np.load(fitted.predictions_path, allow_pickle=False) as made:
            chances = made["probability"] if "probability" in made.files else None
            gathered.add(
                np.arange(start, end), np.asarray(y)[start:end], made["predicted"], chances
            )
    held = gathered.all()
    if held is not None and whole is not None:
        held.save(own)
        digests = {**whole.digests, FILE: digest_of(own / FILE)}
        keep_result(folder, whole.model_copy(update={"digests": digests}))


def fit_baseline(
    snapshot_path: str,
    split: Split,
    schema: Schema,
    training: TrainingConfig,
    metric: str,
    folder: Path,
) -> CandidateResult:
    """Return the trivial baseline of the training rows, kept in `folder` like a candidate."""
    trivial = Recipe(family=BASELINE)
    return fit_recipe(snapshot_path, split, schema, training, metric, trivial, folder)


def refit(
    snapshot_path: str,
    split: Split,
    schema: Schema,
    training: TrainingConfig,
    winner: CandidateResult,
    folder: Path,
    recipe: Recipe | None = None,
) -> CandidateResult:
    """Fit the winner's settings once more, on training and holdout rows together."""
    # `recipe` is the one that the winner was fitted by; None: its own. Notes of the result compare
    # its predictions of the holdout with the judged model's.
    recipe = recipe or recipe_of(winner, Path(winner.model_path).parents[1])
    result = fit_recipe(snapshot_path, split, schema, training, "", recipe, folder, whole=True)
    if result.cached:
        return result
    validated = ("cv_mean", "cv_std", "cv_folds", "trials")
    notes, noted = (winner.notes, winner.asked) if winner.candidate == ENSEMBLE else ((), {})
    update = {
        **{field: getattr(winner, field) for field in validated},
        "notes": (*notes, *result.notes, _agreement(winner, result)),
        "asked": {**noted, **result.asked},
    }
    result = result.model_copy(update=update)
    keep_result(folder, result)
    return result


def _agreement(judged: CandidateResult, refitted: CandidateResult) -> str:
    with np.load(judged.predictions_path) as a, np.load(refitted.predictions_path) as b:
        name = "probability" if "probability" in a.files else "predicted"
        old, new = a[name].astype(np.float64).ravel(), b[name].astype(np.float64).ravel()
    apart = float(np.abs(old - new).mean()) if len(old) else 0.0
    steady = len(old) < 2 or min(old.std(), new.std()) == 0
    like = "" if steady else f"correlation {np.corrcoef(old, new)[0, 1]:.4f}, "
    return (
        "fitted once more on training and holdout rows; its predictions of the holdout and the "
        f"judged model's: {like}mean absolute difference {apart:.4g}"
    )
