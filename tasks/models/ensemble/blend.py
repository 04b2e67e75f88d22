"""The ensemble made and kept, where it is better; runs in a child of the worker process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.runtime.files import write_whole
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text.numbers import number
from tasks.base.training_records import CandidateResult
from tasks.models.ensemble.weighted_ensemble import (
    EnsembleClassifier,
    EnsembleRegressor,
    SameColumns,
)
from tasks.models.ensemble.weights import Weights, cross_blended, gained_by, weigh
from tasks.models.out_of_fold import OutOfFold
from tasks.models.persistence.artifacts import MODEL, keep, keep_predictions, kept
from tasks.models.persistence.skops_io import load_model
from tasks.models.postprocessing.adjusted_classifier import AdjustedClassifier
from tasks.models.postprocessing.adjustment import Adjustment, adjust, keep_adjustment, part_scores
from tasks.models.postprocessing.calibration import Calibration
from tasks.models.run_context import BLEND_FILE, ENSEMBLE, FitRun


def blend(run: dict[str, Any], names: list[str]) -> str:
    """Keep the ensemble of candidates `names` where it is better; else return why not."""
    # Runs in a child of the worker process.
    fits = FitRun.of(run)
    found = {name: kept(Path(fits.folder), name) for name in names}
    results = {name: result for name, result in found.items() if result is not None}
    sign = 1.0 if greater_is_better(fits.metric) else -1.0
    best = max(results, key=lambda n: sign * float(results[n].cv_mean or 0.0))
    held = _comparable({n: OutOfFold.read(fits.candidate(n)) for n in results}, best)
    if len(held) < 2:
        return "fewer than two candidates were validated on the same rows"
    mixed, judged = cross_blended(fits, held, best)
    if not judged.any():
        return "weights cannot be chosen on one validation part: raise training.cv"
    gained, low, high = gained_by(fits, mixed, held[best], judged)
    half = (high - low) / 2
    words = (
        f"{fits.metric} out of fold better than {best}'s by {number(gained, half)} (95 % interval "
        f"{number(low, half)} to {number(high, half)}, {int(judged.sum()):,} rows)"
    )
    if gained == low == high == 0:
        return f"the best mixture is {best} alone"
    if not low > 0:
        return f"no ensemble is better beyond noise: {words}"
    weights = weigh(fits, held, best)
    if len(weights) < 2:
        return f"the best mixture is {best} alone"
    adjustment = adjust(fits, mixed)
    scores = adjustment.scores or part_scores(fits, mixed)
    made = _result(results, weights)
    notes = (words, f"a mixture of {made.params['members']}")
    result = made.model_copy(
        update={
            "cv_mean": float(np.mean(scores)),
            "cv_std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
            "cv_folds": len(scores),
            "notes": notes,
            "asked": {"mixture": notes},
        }
    )
    _keep(fits, weights, replace(adjustment, held=adjustment.held or mixed), result, names)
    return ""


def blend_known(run: dict[str, Any]) -> None:
    """Keep the ensemble of a run's recipe, whose members are fitted; runs in a child."""
    fits = FitRun.of(run)
    assert fits.recipe is not None  # noqa: S101 - what calls it has one
    names = [member.family for member in fits.recipe.members]
    weights: Weights = dict(zip(names, fits.recipe.weights, strict=True))
    found = {name: kept(Path(fits.folder), name) for name in names}
    results = {name: result for name, result in found.items() if result is not None}
    _keep(fits, weights, adjust(fits, None), _result(results, weights), names)


def _comparable(found: Mapping[str, OutOfFold | None], best: str) -> dict[str, OutOfFold]:
    first = found[best]
    if first is None:
        return {}
    return {n: h for n, h in found.items() if h is not None and h.same_rows(first)}


def _result(results: Mapping[str, CandidateResult], weights: Weights) -> CandidateResult:
    used = [results[name] for name in weights]
    members = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
    importance: dict[str, float] = {}
    for one in used:
        for feature, share in one.importance.items():
            importance[feature] = importance.get(feature, 0.0) + weights[one.candidate] * share
    return CandidateResult(
        candidate=ENSEMBLE,
        status="ok",
        fit_seconds=sum(r.fit_seconds or 0.0 for r in used),
        predict_seconds=sum(r.predict_seconds or 0.0 for r in used),
        rows_fitted=max(r.rows_fitted for r in used),
        encoding="several",
        params={"members": members},
        importance=importance,
    )


def _keep(
    run: FitRun,
    weights: Weights,
    adjustment: Adjustment,
    result: CandidateResult,
    weighed: Sequence[str],
) -> None:
    folder = Path(run.folder)
    encoders: dict[str, Any] = {}
    encodings, members = [], []
    for name in weights:
        known = kept(folder, name)
        digest = known.digests[MODEL] if known else ""
        pipeline = load_model(folder / name / MODEL, run.schema.own, digest)
        # Candidates of one run share an encoding's encoder; refits have each its own.
        encoding = name if run.recipe or known is None else known.encoding
        encoders.setdefault(encoding, pipeline[0])
        encodings.append(encoding)
        members.append(pipeline[-1])
    kind = EnsembleClassifier if run.classification else EnsembleRegressor
    model = kind(encoders, members, encodings, list(weights.values()))
    model = adjustment.wrap(model, run.schema.classes)
    _keep_holdout(run, folder, weights, model)
    write_whole(
        run.candidate(ENSEMBLE) / BLEND_FILE, json.dumps(dict.fromkeys(weighed, 0.0) | weights)
    )
    kept_notes = keep_adjustment(run, ENSEMBLE, adjustment)
    result = result.model_copy(
        update={
            "params": {**result.params, **kept_notes.params},
            "notes": (*result.notes, *kept_notes.notes),
            "asked": {**result.asked, **kept_notes.asked},
        }
    )
    keep(run, result, SameColumns(list(run.schema.features)), model)


def _keep_holdout(run: FitRun, folder: Path, weights: Weights, model: Any) -> None:
    """Mix what the members predicted of the holdout; the rows are not encoded again."""
    values: Any = 0.0
    for name, weight in weights.items():
        with np.load(folder / name / "holdout.npz", allow_pickle=False) as file:
            key = "probability" if run.classification else "predicted"
            values = values + weight * file[key]
    if not run.classification:
        keep_predictions(run, ENSEMBLE, model, np.asarray(values).reshape(-1), None)
        return
    known = [run.schema.classes.index(str(label)) for label in model.classes_]
    chances = np.asarray(values)[:, known]
    uncalibrated = None
    if isinstance(model, AdjustedClassifier):
        uncalibrated = chances if model.method != "none" else None
        labels = tuple(str(label) for label in model.classes_)
        chances = Calibration(model.method, model.tables, model.floor).apply(chances, labels)
        predicted = model.decide(chances)
    else:
        predicted = model.classes_[chances.argmax(axis=1)]
    keep_predictions(run, ENSEMBLE, model, predicted, chances, uncalibrated)
