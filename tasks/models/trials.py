"""One candidate: its folds, its fit on all training rows, its holdout, its files."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.errors import KeepfitError
from tasks.base.records import CandidateResult
from tasks.models.candidates import Candidate, find
from tasks.models.folds import thin
from tasks.models.keeping import keep, keep_predictions
from tasks.models.matrices import Rows, matrix, read_folds, read_rows
from tasks.models.prediction import in_order, outputs_of_matrix
from tasks.models.settings import Learned, Setting
from tasks.models.work import Run

Tell = Callable[[str], None]


def fit_candidate(run: Run, name: str, threads: int, tell: Tell) -> None:
    """Validate and fit one candidate, and keep its model, predictions and result."""
    from tasks.models.loading import load_model

    candidate, rows, folds = find(name), read_rows(run), read_folds(run)
    encoder = load_model(run.at(candidate.encoding, "encoder.skops"))
    notes: list[str] = []
    scores: list[float] = []
    learnt: list[Learned] = []
    for number, fold in enumerate(folds):
        tell(f"fold {number + 1} of {len(folds)}")
        X = matrix(run, candidate.encoding, f"train{number}")
        learned, _, _ = _fit(run, candidate, X, rows.y[fold.train], encoder, threads)
        learnt.append(learned)
        X = matrix(run, candidate.encoding, f"valid{number}")
        scores += _score(run, learned.estimator, X, rows.y[fold.valid], notes)
    tell("fit")
    taken = np.load(run.at(candidate.encoding, "taken.npy"))
    X = matrix(run, candidate.encoding, "train")
    known = _known_iterations(run, candidate, learnt, len(rows))
    learned, setting, seconds = _fit_final(
        run, candidate, X, rows.y[taken], encoder, threads, known
    )
    tell("holdout")
    predicted = _predict_holdout(run, candidate, learned)
    result = CandidateResult(
        candidate=name,
        status="ok",
        cv_mean=float(np.mean(scores)) if scores else None,
        cv_std=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        cv_folds=len(scores),
        fit_seconds=seconds,
        predict_seconds=predicted,
        rows_fitted=setting.rows,
        encoding=candidate.encoding,
        params=_params(learned),
        curves={k: tuple(v) for k, v in learned.curves.items()},
        importance=_importance(learned, encoder, X),
        notes=(*_notes(run, setting, rows), *notes, *learned.notes),
    )
    keep(run, result, encoder, learned.estimator)


def _fit(
    run: Run,
    candidate: Candidate,
    X: NDArray[np.float32],
    y: NDArray[Any],
    encoder: Any,
    threads: int,
    iterations: int | None = None,
) -> tuple[Learned, Setting, float]:
    limit = candidate.rows_for(len(X), X.shape[1])
    if limit < len(X):
        chosen = thin(len(X), limit)
        X, y = np.asarray(X[chosen]), y[chosen]
    counts = np.unique(y, return_counts=True)[1] if run.classification else np.array([len(y)])
    setting = Setting(
        task=run.schema.task,
        metric=run.metric,
        rows=len(X),
        columns=X.shape[1],
        classes=len(counts) if run.classification else 0,
        fewest=int(counts.min()),
        categorical=int(encoder.categorical_),
        ordered=run.ordered,
        seed=run.training.seed,
        threads=threads if candidate.threaded else 1,
        class_weight=run.training.class_weight,
        iterations=iterations,
    )
    if run.classification and setting.classes < 2:
        raise KeepfitError(
            f"a classifier needs two classes; the {len(y):,} rows it is fitted on have one.",
            "Train on a longer window, or on fewer folds.",
        )
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        learned = candidate.fit(candidate.build(setting, candidate.params), X, y, setting)
    seconds = time.perf_counter() - started
    if any("onverge" in str(w.message) for w in said):
        learned = replace(
            learned, notes=(*learned.notes, "stopped at its most iterations, not converged")
        )
    return learned, setting, seconds


def _score(
    run: Run, model: Any, X: NDArray[np.float32], y: NDArray[Any], notes: list[str]
) -> list[float]:
    predicted, probability = outputs_of_matrix(model, X)
    return score_part(run, model, predicted, probability, y, notes)


def score_part(
    run: Run,
    model: Any,
    predicted: NDArray[Any],
    probability: NDArray[np.float64] | None,
    y: NDArray[Any],
    notes: list[str],
) -> list[float]:
    """Return the metric of one validation part, or nothing and a note where it has none."""
    from tasks.evaluation.metrics import score

    schema = run.schema
    if probability is not None:
        probability = in_order(probability, model.classes_, schema.classes)
    try:
        value = score(run.metric, y, predicted, probability, schema.classes, schema.positive)
    except (KeepfitError, ValueError) as error:
        notes.append(f"a validation part of {len(y):,} rows has no {run.metric}: {error}"[:200])
        return []
    if not np.isfinite(value):
        notes.append(f"a validation part of {len(y):,} rows has no {run.metric}")
        return []
    return [value]


def _known_iterations(
    run: Run, candidate: Candidate, learnt: list[Learned], rows: int
) -> int | None:
    """Return the iterations that folds over all rows have found, so that no row is set aside.

    Folds of a sample stop earlier than all rows would, and so do folds of the past.
    """
    if run.whole:
        known: int | None = json.loads(run.at("iterations.json").read_text())
        return known
    sampled = rows > run.training.cv_rows
    if not candidate.iterative or len(learnt) < 2 or sampled or run.ordered:
        return None
    return max(1, int(np.median([one.iterations or 1 for one in learnt])))


def _fit_final(
    run: Run,
    candidate: Candidate,
    X: NDArray[np.float32],
    y: NDArray[Any],
    encoder: Any,
    threads: int,
    iterations: int | None,
) -> tuple[Learned, Setting, float]:
    """Fit on all training rows.

    An iterative learner that has to find its iterations first sets rows aside for that. Where rows
    have a time these are the newest, which tell most about what comes next: it is fitted again
    with the iterations found, on all of them.
    """
    learned, setting, seconds = _fit(run, candidate, X, y, encoder, threads, iterations)
    if not candidate.iterative or iterations is not None or not run.ordered:
        return learned, setting, seconds
    again, setting, more = _fit(run, candidate, X, y, encoder, threads, learned.iterations)
    return replace(again, curves=learned.curves), setting, seconds + more


def _predict_holdout(run: Run, candidate: Candidate, learned: Learned) -> float:
    started = time.perf_counter()
    X = matrix(run, candidate.encoding, "holdout")
    predicted, probability = outputs_of_matrix(learned.estimator, X)
    seconds = time.perf_counter() - started
    keep_predictions(run, candidate.name, learned.estimator, predicted, probability)
    encoding = run.at(candidate.encoding, "holdout.json")
    return seconds + float(json.loads(encoding.read_text()))


_TOLD = (
    "C", "alpha", "alpha_", "n_estimators", "learning_rate", "num_leaves", "min_samples_leaf",
    "min_child_samples", "max_samples", "max_features", "hidden_layer_sizes", "batch_size",
    "class_weight", "objective", "kernel", "n_components", "max_iter",
)  # fmt: skip


def _params(learned: Learned) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, value in learned.estimator.get_params().items():
        short = name.rpartition("__")[2]
        if short in _TOLD and short not in told and value is not None:
            told[short] = value if isinstance(value, str | int | float | bool) else str(value)
    if hasattr(learned.estimator, "alpha_"):
        told["alpha"] = float(learned.estimator.alpha_)
    if learned.iterations is not None:
        told["iterations"] = learned.iterations
    return told


def _importance(learned: Learned, encoder: Any, X: NDArray[np.float32]) -> dict[str, float]:
    from tasks.models.importance import importance_of

    return importance_of(learned.estimator, encoder.sources_, X)


def _notes(run: Run, setting: Setting, rows: Rows) -> list[str]:
    notes = json.loads(run.at("notes.json").read_text())
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
