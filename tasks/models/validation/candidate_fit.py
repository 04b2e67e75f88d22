"""One candidate: its folds, its fit on all training rows, its holdout, its files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.arrays import Floats, Matrix
from tasks.base.runtime.files import digests_of, write_whole
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.training_records import CandidateResult, Trial
from tasks.models.estimators.candidates import Candidate, candidate_of
from tasks.models.estimators.fit_context import FitContext, FitResult
from tasks.models.estimators.lightgbm_ranker import RANKER
from tasks.models.persistence.artifacts import keep, keep_predictions, trial_folder
from tasks.models.persistence.prediction import outputs_of_matrix
from tasks.models.persistence.skops_io import load_model
from tasks.models.postprocessing.adjustment import adjust, keep_adjustment
from tasks.models.run_context import FitRun
from tasks.models.splitters import Fold
from tasks.models.tuning.pruner import SMALL_ROWS, SMALL_SHARE, Bars, checks, falls_short
from tasks.models.tuning.selection import read_choice
from tasks.models.validation.cross_validation import (
    Validated,
    Validation,
    fit_all_rows,
    untuned,
    validate,
    validated,
    validation_of,
)
from tasks.models.validation.encoded_matrices import Rows, matrix, read_folds, read_rows

Tell = Callable[[str], None]

LEAST_ROWS = 10_000
"""Rows of a fit that has to end soon."""
OF_FOLDS = "the folds' mean; the model was fitted on all rows for {rounds:,} iterations"


def fit_candidate(run: FitRun, name: str, threads: int, report_progress: Tell) -> None:
    """Validate and fit one candidate, and keep its model, predictions and result."""
    choice = read_choice(run, name)
    candidate, rows = candidate_of(run.schema.own, name, choice.params), read_rows(run)
    if run.sampled:
        candidate = replace(candidate, max_rows=min(candidate.max_rows, LEAST_ROWS))
    encoder = load_model(run.at(candidate.encoding, "encoder.skops"))
    found = validated(run, name, choice.chosen) or validate(
        run, candidate, rows, encoder, threads, report_progress
    )
    report_progress("fit")
    taken = np.load(run.at(candidate.encoding, "taken.npy"))
    X = matrix(run, candidate.encoding, "train")
    known, least = _iterations(run, candidate, found, len(rows), X.shape)
    queries = None if rows.queries is None else rows.queries.only(taken)
    learned, setting, seconds = fit_all_rows(
        run, candidate, X, rows.y[taken], encoder, threads, known, rows.of_groups(taken), queries,
        least,
    )  # fmt: skip
    report_progress("holdout")
    adjustment = adjust(run, found.held)
    model = adjustment.wrap(learned.estimator, run.schema.classes)
    raw = learned.estimator if adjustment.calibration.method != "none" else None
    predicted = _predict_holdout(run, candidate, model, raw)
    decided = keep_adjustment(run, name, adjustment)
    curves = learned.curves or found.curves
    tuned = {"tuning": (choice.note,)} if choice.note else {}
    result = CandidateResult(
        candidate=name,
        status="ok",
        **validation_of(found.scores if adjustment.scores is None else adjustment.scores),
        fit_seconds=seconds,
        predict_seconds=predicted,
        rows_fitted=setting.rows,
        encoding=candidate.encoding,
        params={**_params(learned), **choice.params, **decided.params},
        curves={k: tuple(v) for k, v in curves.items()},
        curves_of=_curves_of(learned, found),
        importance=importance_of(learned.estimator, encoder.sources_, X),
        notes=(
            *_notes(run, name, setting, rows),
            *tuned.get("tuning", ()),
            *found.notes,
            *learned.notes,
            *decided.notes,
        ),
        asked={**tuned, **decided.asked},
        trials=choice.trials,
        rounds=found.rounds,
    )
    keep(run, result, encoder, model)


def _iterations(
    run: FitRun, candidate: Candidate, found: Validated, rows: int, shape: tuple[int, ...]
) -> tuple[int | None, int]:
    """Return the iterations, where folds over all rows have found them, and the least of them."""
    # Folds of a sample stop earlier than all rows would: what they found is then the least. `shape`
    # is the encoded matrix's, whose rows may be some of the `rows` for training.
    if run.recipe is not None:
        return run.recipe.iterations, 1
    if not candidate.iterative or found.rounds is None:
        return None, 1
    least = found.rounds.chosen
    if found.seen is not None:
        # An epoch over more rows learns more.
        fitted = candidate.rows_for(shape[0], shape[1])
        least = max(1, round(least * min(1.0, found.seen / fitted)))
    return (None if rows > run.training.cv_rows else least), least


def _curves_of(learned: FitResult, found: Validated) -> str:
    """Return a note on whose fits the curves are, where they are not the model's own."""
    if learned.curves or not found.curves or learned.iterations is None:
        return ""
    return OF_FOLDS.format(rounds=learned.iterations)


def _predict_holdout(run: FitRun, candidate: Candidate, model: Any, raw: Any | None) -> float:
    """Keep the holdout predictions of `model` and, uncalibrated, `raw`; return the seconds."""
    started = time.perf_counter()
    X = matrix(run, candidate.encoding, "holdout")
    predicted, probability = outputs_of_matrix(model, X)
    seconds = time.perf_counter() - started
    uncalibrated = None if raw is None else outputs_of_matrix(raw, X)[1]
    keep_predictions(run, candidate.name, model, predicted, probability, uncalibrated)
    encoding = run.at(candidate.encoding, "holdout.json")
    return seconds + float(json.loads(encoding.read_text()))


_SHOWN = (
    "C", "alpha", "alpha_", "n_estimators", "learning_rate", "num_leaves", "min_samples_leaf",
    "min_child_samples", "max_samples", "max_features", "hidden_layer_sizes", "batch_size",
    "class_weight", "objective", "kernel", "n_components", "max_iter",
)  # fmt: skip


def _params(learned: FitResult) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name, value in learned.estimator.get_params().items():
        short = name.rpartition("__")[2]
        if short in _SHOWN and short not in params and value is not None:
            params[short] = value if isinstance(value, str | int | float | bool) else str(value)
    if hasattr(learned.estimator, "alpha_"):
        params["alpha"] = float(learned.estimator.alpha_)
    if learned.iterations is not None:
        params["iterations"] = learned.iterations
    return params


def _notes(run: FitRun, name: str, setting: FitContext, rows: Rows) -> list[str]:
    notes = json.loads(run.at("notes.json").read_text())
    if setting.queries is not None and name != RANKER:
        notes.append("pointwise: predicts each row's grade by itself and ranks by that")
    if setting.rows < len(rows):
        notes.append(f"fitted on {setting.rows:,} of {len(rows):,} rows, evenly spread")
    if run.classification and run.training.class_weight is None:
        share = setting.fewest / setting.rows
        if share < 0.05:
            notes.append(
                f"the rarest class has {share:.1%} of the rows; probabilities are left as they "
                "are (training.class_weight: balanced weighs classes alike)"
            )
    return list(notes)


SAMPLE_ROWS = 20_000


def importance_of(model: Any, sources: list[str], X: Matrix) -> dict[str, float]:
    """Return the share of each source column, greatest first; empty where a model has none."""
    # Trees measure the loss that their splits on a column saved, linear models the size of a
    # coefficient times the deviation of its column. `sources` names the source of each column of
    # `X`.
    worth = _worth(model, X)
    if worth is None or not np.isfinite(worth).all() or worth.sum() <= 0:
        return {}
    shares: dict[str, float] = {}
    for source, share in zip(sources, (worth / worth.sum()).tolist(), strict=True):
        shares[source] = shares.get(source, 0.0) + share
    return dict(sorted(shares.items(), key=lambda one: -one[1]))


def _worth(model: Any, X: Matrix) -> Floats | None:
    if hasattr(model, "booster_"):
        gains = model.booster_.feature_importance(importance_type="gain")
        return np.asarray(gains, dtype=np.float64)
    if hasattr(model, "coef_"):
        size = np.abs(np.atleast_2d(model.coef_)).sum(axis=0)
        sample = X[:: max(1, len(X) // SAMPLE_ROWS)]
        return np.asarray(size * np.asarray(sample, dtype=np.float64).std(axis=0))
    if hasattr(model, "feature_importances_"):
        return np.asarray(model.feature_importances_, dtype=np.float64)
    return None


def try_params(
    run: FitRun,
    name: str,
    trial: Mapping[str, Any],
    answer: Path,
    threads: int,
    report: Callable[[str], None],
) -> None:
    """Validate one set of hyperparameters and write what became of it, a `Trial`, to `answer`."""
    # `trial` has its ``number``, ``params`` and the ``bars`` it has to reach.
    started = time.perf_counter()
    number, params, bars = int(trial["number"]), dict(trial["params"]), dict(trial["bars"])
    candidate, rows = candidate_of(run.schema.own, name, params), read_rows(run)
    folds = read_folds(run)
    encoder = load_model(run.at(candidate.encoding, "encoder.skops"))
    validation = Validation(run, candidate, rows, encoder, threads)
    if number == 0:
        params = _untuned(run, candidate, validation, folds)

    def so_far(state: str, first: float | None) -> Trial:
        done = validation.done()
        return Trial(
            number=number,
            params=params,
            state=state,
            score=float(np.mean(done.known)) if done.known else None,
            scores=done.scores,
            first=first,
            seconds=round(time.perf_counter() - started, 4),
            rows=validation.fitted,
            iterations=done.stops,
            notes=tuple(dict.fromkeys(done.notes)),
        )

    found = _climb(validation, folds, bars, so_far, lambda s: report(f"trial {number}: {s}"))
    if found.state == "complete":
        folder = trial_folder(run, name, number)
        written = validation.done().save(folder)
        found = found.model_copy(update={"digests": digests_of(folder, written)})
    write_whole(answer, found.model_dump_json())


def _untuned(
    run: FitRun, candidate: Candidate, validation: Validation, folds: list[Fold]
) -> dict[str, Any]:
    X = matrix(run, candidate.encoding, f"train{len(folds) - 1}")
    y = validation.rows.y[folds[-1].train]
    return dict(untuned(run, candidate, X, y, validation.encoder))


def _climb(
    validation: Validation,
    folds: list[Fold],
    bars: Bars,
    so_far: Callable[[str, float | None], Trial],
    report: Callable[[str], None],
) -> Trial:
    greater = greater_is_better(validation.run.metric)
    first, last = None, len(folds) - 1
    if len(folds[last].train) >= SMALL_ROWS:
        report("a part of the rows")
        first = validation.part(last, folds[last], SMALL_SHARE)
        if falls_short(so_far("pruned", first), 0, bars, greater=greater):
            return so_far("pruned", first)
    for number, fold in enumerate(folds):
        report(f"fold {number + 1} of {len(folds)}")
        validation.fold(number, fold)
        if number + 1 in checks(len(folds)):
            reached = so_far("pruned", first)
            if falls_short(reached, number + 1, bars, greater=greater):
                return reached
    return so_far("complete", first)
