"""A weighted mean of fitted candidates, chosen greedily by what they predict out of fold.

References
----------
Caruana, Niculescu-Mizil, Crew and Ksikes (2004), Ensemble selection from libraries of models:
forward selection with replacement, started from the best.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin

from tasks.base.config import greater_is_better
from tasks.base.errors import DataError, KeepfitError
from tasks.base.files import write_whole
from tasks.base.records import CandidateResult
from tasks.models.adjusting import Adjustment, adjust, keep_adjustment, part_scores
from tasks.models.blending import BLEND_FILE
from tasks.models.keeping import keep, keep_predictions, kept
from tasks.models.outoffold import OutOfFold
from tasks.models.prediction import in_order
from tasks.models.work import ENSEMBLE, Run

Floats = NDArray[np.float64]
Weights = dict[str, float]
ROUNDS = 20
REPLICATES = 400
BLOCKS = 50
CONFIDENCE = 0.95


class SameColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The features of a frame as they are: each member of an ensemble has its own encoding.

    Parameters
    ----------
    features
        Columns the frame must have; further ones are ignored.
    """

    def __init__(self, features: list[str]) -> None:
        self.features = features

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's
        """Learn nothing."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Return that it can be asked."""
        return True

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the features of `X`.

        Raises
        ------
        DataError
            If a feature has no column in `X`.
        """
        absent = [name for name in self.features if name not in X.columns]
        if absent:
            raise DataError(
                "every feature the model was trained on must be a column; absent: "
                f"{', '.join(map(repr, absent[:5]))}.",
                "Add the column to the source (nulls are allowed), or train again without it.",
            )
        return X[self.features]


class _Ensemble(BaseEstimator):  # type: ignore[misc]
    """Members by encoding, so that each encoding is computed once.

    Parameters
    ----------
    encoders
        Name of an encoding to its fitted encoder.
    members
        Fitted models.
    encodings, weights
        Of each member; weights sum to one.
    """

    def __init__(
        self,
        encoders: dict[str, Any],
        members: list[Any],
        encodings: list[str],
        weights: list[float],
    ) -> None:
        self.encoders = encoders
        self.members = members
        self.encodings = encodings
        self.weights = weights

    def __sklearn_is_fitted__(self) -> bool:
        """Return that it can be asked."""
        return True

    def fit(self, X: object, y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's
        """Learn nothing: the members are fitted already."""
        return self

    def _weighed(self, X: pd.DataFrame, ask: Any) -> Floats:
        encoded = {name: encoder.transform(X) for name, encoder in self.encoders.items()}
        parts = zip(self.members, self.encodings, self.weights, strict=True)
        return np.asarray(sum(weight * ask(m, encoded[name]) for m, name, weight in parts))


class EnsembleClassifier(ClassifierMixin, _Ensemble):  # type: ignore[misc]
    """The weighted mean of its members' probabilities."""

    @property
    def classes_(self) -> NDArray[Any]:
        """Every label that a member knows, sorted."""
        return np.unique(np.concatenate([np.asarray(m.classes_) for m in self.members]))

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Return probabilities, shape (n_rows, n_classes)."""
        labels = tuple(str(label) for label in self.classes_)

        def ask(member: Any, encoded: NDArray[np.float32]) -> Floats:
            return in_order(np.asarray(member.predict_proba(encoded)), member.classes_, labels)

        return self._weighed(X, ask)

    def predict(self, X: pd.DataFrame) -> NDArray[Any]:
        """Return the likeliest label of each row."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])


class EnsembleRegressor(RegressorMixin, _Ensemble):  # type: ignore[misc]
    """The weighted mean of its members' values."""

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return values, shape (n_rows,)."""
        return self._weighed(X, lambda m, encoded: np.asarray(m.predict(encoded)).ravel())


def greedy_weights(loss: Any, parts: Mapping[str, Floats], best: str) -> Weights:
    """Return the share of each member after adding, again and again, what lowers `loss` most.

    Parameters
    ----------
    loss
        Of an array of predictions; lower is better.
    parts
        Member to its predictions.
    best
        The member to start from.

    Examples
    --------
    >>> truth = np.zeros(4)
    >>> parts = {"over": np.ones(4), "under": -np.ones(4)}
    >>> greedy_weights(lambda p: float(abs(p - truth).mean()), parts, "over")
    {'over': 0.5, 'under': 0.5}
    """
    counts = dict.fromkeys(parts, 0)
    counts[best] = 1
    total, lowest = parts[best].copy(), loss(parts[best])
    best_counts = dict(counts)
    for size in range(2, ROUNDS + 1):
        losses = {name: loss((total + one) / size) for name, one in parts.items()}
        name = min(losses, key=lambda n: losses[n])
        total = total + parts[name]
        counts[name] += 1
        if losses[name] < lowest - 1e-12:
            lowest, best_counts = losses[name], dict(counts)
        elif size > 2 * sum(best_counts.values()) + 2:
            break
    size = sum(best_counts.values())
    return {name: count / size for name, count in best_counts.items() if count}


def blend(run: dict[str, Any], names: list[str]) -> str:
    """Keep the ensemble of candidates `names` where it is better; return why not otherwise.

    Runs in a child of the worker process.
    """
    asked = Run.of(run)
    found = {name: kept(Path(asked.folder), name) for name in names}
    results = {name: result for name, result in found.items() if result is not None}
    sign = 1.0 if greater_is_better(asked.metric) else -1.0
    best = max(results, key=lambda n: sign * float(results[n].cv_mean or 0.0))
    held = _comparable({n: OutOfFold.read(asked.candidate(n)) for n in results}, best)
    if len(held) < 2:
        return "fewer than two candidates were validated on the same rows"
    mixed, judged = cross_blended(asked, held, best)
    if not judged.any():
        return "one validation part tells nothing about weights: raise training.cv"
    gained, low, high = _gained(asked, mixed, held[best], judged)
    words = (
        f"{asked.metric} out of fold better than {best}'s by {gained:.4g} "
        f"(95 % interval {low:.4g} to {high:.4g}, {int(judged.sum()):,} rows)"
    )
    if gained == low == high == 0:
        return f"the best mixture is {best} alone"
    if not low > 0:
        return f"no ensemble is better beyond noise: {words}"
    weights = weigh(asked, held, best)
    if len(weights) < 2:
        return f"the best mixture is {best} alone"
    adjustment = adjust(asked, mixed)
    scores = adjustment.scores or part_scores(asked, mixed)
    result = _result(results, weights).model_copy(
        update={
            "cv_mean": float(np.mean(scores)),
            "cv_std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
            "cv_folds": len(scores),
            "notes": (words,),
        }
    )
    _keep(asked, weights, replace(adjustment, held=adjustment.held or mixed), result)
    return ""


def blend_refitted(run: dict[str, Any], winner: dict[str, Any], names: list[str]) -> None:
    """Keep an ensemble of members that were fitted once more; runs in a child."""
    asked, judged = Run.of(run), CandidateResult.model_validate(winner)
    text = Path(judged.model_path).with_name(BLEND_FILE).read_text(encoding="utf-8")
    weights: Weights = json.loads(text)
    found = {name: kept(Path(asked.folder), name) for name in names}
    results = {name: result for name, result in found.items() if result is not None}
    fields = ("cv_mean", "cv_std", "cv_folds", "notes")
    known = {field: getattr(judged, field) for field in fields}
    result = _result(results, weights).model_copy(update=known)
    _keep(asked, weights, adjust(asked, None), result)


def _comparable(found: Mapping[str, OutOfFold | None], best: str) -> dict[str, OutOfFold]:
    first = found[best]
    if first is None:
        return {}
    return {n: h for n, h in found.items() if h is not None and h.same_rows(first)}


def _values(held: OutOfFold) -> Floats:
    return held.predicted.astype(np.float64) if held.probability is None else held.probability


def _mixed(held: Mapping[str, OutOfFold], weights: Weights, rows: NDArray[np.int64]) -> Floats:
    return np.asarray(sum(w * _values(held[name])[rows] for name, w in weights.items()))


def weigh(
    run: Run, held: Mapping[str, OutOfFold], best: str, rows: NDArray[np.int64] | None = None
) -> Weights:
    """Return the weights that suit `rows` of the out-of-fold predictions; all of them if None."""
    from tasks.evaluation.metrics import score

    chosen = np.arange(len(held[best])) if rows is None else rows
    classes, sign = run.schema.classes, -1.0 if greater_is_better(run.metric) else 1.0
    labels = np.asarray(classes)
    y = labels[held[best].truth(classes)[chosen]] if classes else held[best].y[chosen]

    def loss(values: Floats) -> float:
        try:
            if not classes:
                return sign * score(run.metric, y, values, None, (), None, run.schema.own)
            likeliest = labels[values.argmax(axis=1)]
            given = (y, likeliest, values, classes, run.schema.positive, run.schema.own)
            value = score(run.metric, *given)
        except (KeepfitError, ValueError):
            return float("inf")
        return sign * value if np.isfinite(value) else float("inf")

    parts = {name: _values(one)[chosen] for name, one in held.items()}
    alone = {name: loss(values) for name, values in parts.items()}
    start = min(alone, key=lambda n: alone[n]) if rows is not None else best
    return greedy_weights(loss, parts, start)


def cross_blended(
    run: Run, held: Mapping[str, OutOfFold], best: str
) -> tuple[OutOfFold, NDArray[np.bool_]]:
    """Return each part mixed by weights of other parts, and which rows have such weights.

    The others, the oldest where rows lie in time, are mixed evenly.
    """
    first = held[best]
    values = _mixed(held, dict.fromkeys(held, 1 / len(held)), np.arange(len(first)))
    for inside, others in first.turns():
        if len(others):
            values[inside] = _mixed(held, weigh(run, held, best, others), inside)
    judged = first.judged()
    if first.probability is None:
        return replace(first, predicted=values), judged
    return replace(first, probability=values), judged


def _gained(
    run: Run, mixed: OutOfFold, single: OutOfFold, judged: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Return by how much the mixture is better than the single candidate, and its interval."""
    from tasks.evaluation.bootstrap import interval, resampling
    from tasks.evaluation.metrics import sampled

    rows = np.flatnonzero(judged)
    blocks = _drawn_together(run, mixed, rows)
    classes = run.schema.classes
    plan = resampling(len(rows), blocks, REPLICATES, run.training.seed, curves=max(1, len(classes)))
    labels = np.asarray(classes)
    y = labels[mixed.truth(classes)[rows]] if classes else mixed.y[rows]

    def scored(held: OutOfFold) -> tuple[float, Floats]:
        if held.probability is None:
            return sampled(run.metric, y, held.predicted[rows], None, run.schema, plan)
        chances = held.probability[rows]
        likeliest = labels[chances.argmax(axis=1)]
        return sampled(run.metric, y, likeliest, chances, run.schema, plan)

    sign = 1.0 if greater_is_better(run.metric) else -1.0
    ours, theirs = scored(mixed), scored(single)
    ends = interval(sign * (ours[1] - theirs[1]), CONFIDENCE, plan.n_units)
    low, high = ends if ends is not None else (float("-inf"), float("inf"))
    return sign * (ours[0] - theirs[0]), low, high


def _drawn_together(run: Run, held: OutOfFold, rows: NDArray[np.int64]) -> Any:
    """Return which of `rows` are drawn together: neighbours in time, or those of one group."""
    if held.ordered:
        return np.arange(len(rows)) * BLOCKS // len(rows)
    if run.split.group is None:
        return None
    from tasks.data.grouping import group_codes

    positions = np.load(run.split.train_path)[held.rows[rows]]
    return group_codes(run.snapshot_path, run.split.group, positions)


def _result(results: Mapping[str, CandidateResult], weights: Weights) -> CandidateResult:
    used = [results[name] for name in weights]
    told = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
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
        params={"members": told},
        importance=importance,
    )


def _keep(run: Run, weights: Weights, adjustment: Adjustment, result: CandidateResult) -> None:
    from tasks.models.loading import load_model

    folder = Path(run.folder)
    pipelines = {
        name: load_model(folder / name / "model.skops", run.schema.own) for name in weights
    }
    results = {name: kept(folder, name) for name in weights}
    encoders: dict[str, Any] = {}
    encodings = []
    for name, pipeline in pipelines.items():
        known = results[name]
        # Candidates of one run share an encoding's encoder; refits have each its own.
        encoding = name if run.whole or known is None else known.encoding
        encoders.setdefault(encoding, pipeline[0])
        encodings.append(encoding)
    kind = EnsembleClassifier if run.classification else EnsembleRegressor
    members = [pipeline[-1] for pipeline in pipelines.values()]
    model = kind(encoders, members, encodings, list(weights.values()))
    model = adjustment.wrap(model, run.schema.classes)
    _keep_holdout(run, folder, weights, model)
    write_whole(run.candidate(ENSEMBLE) / BLEND_FILE, json.dumps(weights))
    told = keep_adjustment(run, ENSEMBLE, adjustment)
    result = result.model_copy(
        update={"params": {**result.params, **told.params}, "notes": (*result.notes, *told.notes)}
    )
    keep(run, result, SameColumns(list(run.schema.features)), model)


def _keep_holdout(run: Run, folder: Path, weights: Weights, model: Any) -> None:
    """Mix what the members predicted of the holdout; the rows are not encoded again."""
    from tasks.models.calibrating import AdjustedClassifier, Calibration

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
    if isinstance(model, AdjustedClassifier):
        labels = tuple(str(label) for label in model.classes_)
        chances = Calibration(model.method, model.tables, model.floor).apply(chances, labels)
        predicted = model.decide(chances)
    else:
        predicted = model.classes_[chances.argmax(axis=1)]
    keep_predictions(run, ENSEMBLE, model, predicted, chances)
