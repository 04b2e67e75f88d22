"""The challenger's kind of model fitted on more and more rows, in a child of the worker process."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.base.arrays import Array, Ints, Matrix, subsample_evenly
from tasks.base.errors import KeepfitError
from tasks.base.runtime.libraries import pd
from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import NUMBERS, Basis, CandidateResult
from tasks.data.column_kinds import target_values
from tasks.data.row_groups import group_codes
from tasks.data.snapshots import read_frame
from tasks.evaluation.diagnosis.power_law import extrapolate, sizes
from tasks.evaluation.findings import CurvePoint, LearningCurve
from tasks.metrics.bootstrap import whole
from tasks.metrics.scorer import sampled
from tasks.models.estimators.candidates import candidate_of
from tasks.models.estimators.fit_context import FitContext
from tasks.models.persistence.prediction import in_order, outputs
from tasks.models.postprocessing.adjustment import Adjustment, adjustment_of
from tasks.models.splitters import inner_part

if TYPE_CHECKING:
    from tasks.models.estimators.candidates import Candidate
    from tasks.models.postprocessing.adjustment import Adjustment

REPEATS = 5
_REPEATED_TO = 1_000
_SCORED = 10_000


@dataclass(frozen=True)
class _Parts:
    """Rows to fit on, the newest last where they have a time, and rows to validate on."""

    # `read` reads some of the rows to fit on: all of a large table are held by its last fit alone,
    # if it comes to that. Every fit is given the candidate's `adjustment`.

    read: Callable[[Ints], pd.DataFrame]
    y: Array
    unseen: pd.DataFrame
    unseen_y: Array
    ordered: bool
    adjustment: Adjustment


def learning_curve(
    basis: Basis,
    result: CandidateResult,
    training: TrainingConfig,
    baseline: float | None,
    seconds: float,
) -> LearningCurve | None:
    """Return score against rows of a candidate, with what twice the rows would bring."""
    # A fifth of the training rows validates, the newest where rows have a time; the holdout is not
    # touched. On up to 1,000 rows five samples are fitted each. Where rows have a time, fewer rows
    # are the newer ones. The tuned settings of `result` are fitted anew, calibrated and made to
    # decide as it is, so that only rows distinguish the last point from its score. The `baseline`
    # is the measure of what is much. No larger number of rows is begun once the next fit would end
    # after `seconds`.
    tuned: Mapping[str, Any] = getattr(result, "tuned", {})
    settings = {k: v for k, v in tuned.items() if k != "class_weight"}
    candidate = candidate_of(basis.roles.own, result.candidate, settings)
    weight = tuned.get("class_weight", training.class_weight)
    training = training.model_copy(update={"class_weight": None if weight == "none" else weight})
    parts = _parts(basis, training.seed, result)
    points: list[CurvePoint] = []
    began, last = time.monotonic(), 0.0
    limit = candidate.rows_for(len(parts.y), len(basis.roles.features))
    for size in sizes(min(len(parts.y), limit)):
        grown = size / points[-1].rows if points else 1.0
        if len(points) >= 2 and time.monotonic() - began + last * grown > seconds:
            break
        started = time.monotonic()
        point = _point(parts, size, candidate, training, basis)
        last = (time.monotonic() - started) / (point.repeats if point else 1)
        if point is not None:
            points.append(point)
    return extrapolate(result.candidate, basis.prepared.metric, points, baseline, training.seed)


def _parts(basis: Basis, seed: int, result: CandidateResult) -> _Parts:
    roles, ordered = basis.roles, basis.split.rule == "time"
    positions: Ints = np.load(basis.split.train_path).astype(np.int64, copy=False)
    frame = read_frame(basis.snapshot.path, columns=[roles.target], rows=positions)
    y, keep = target_values(frame, roles)
    positions = positions[keep]
    if y.dtype == object:
        y = y.astype(str)
    classes = roles.task not in NUMBERS
    groups = None
    if basis.split.group is not None:
        groups = group_codes(basis.snapshot.path, basis.split.group, positions)
    fold = inner_part(y, 0.2, ordered=ordered, classification=classes, seed=seed, groups=groups)
    valid = fold.valid[subsample_evenly(len(fold.valid), _SCORED)]
    features = list(roles.features)

    def read(chosen: Ints) -> pd.DataFrame:
        return read_frame(basis.snapshot.path, columns=features, rows=positions[chosen])

    adjustment = Adjustment()
    if classes and result.model_path:
        adjustment = Adjustment.of(adjustment_of(Path(result.model_path).parent))
    return _Parts(
        read=lambda chosen: read(fold.train[chosen]),
        y=y[fold.train],
        unseen=read(valid),
        unseen_y=y[valid],
        ordered=ordered,
        adjustment=adjustment,
    )


def _point(
    parts: _Parts, size: int, candidate: Candidate, training: TrainingConfig, basis: Basis
) -> CurvePoint | None:
    repeats = REPEATS if size <= _REPEATED_TO and size < len(parts.y) else 1
    scores = []
    for repeat in range(repeats):
        chosen = _chosen(parts, size, repeat, training.seed, basis.roles.task not in NUMBERS)
        try:
            found = _fitted(parts, chosen, candidate, training, basis)
        except (KeepfitError, ValueError):
            # Few rows may hold one class only, or nothing to validate on.
            continue
        if np.isfinite(found).all():
            scores.append(found)
    if not scores:
        return None
    values = np.array(scores)
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(2)
    return CurvePoint(
        rows=size,
        train=float(values[:, 0].mean()),
        valid=float(values[:, 1].mean()),
        train_std=float(spread[0]),
        valid_std=float(spread[1]),
        repeats=len(values),
    )


def _chosen(parts: _Parts, size: int, repeat: int, seed: int, classes: bool) -> Ints:
    rows = len(parts.y)
    if size >= rows:
        return np.arange(rows, dtype=np.int64)
    rng = np.random.default_rng([seed, size, repeat])
    if parts.ordered:
        # The newest rows, or a stretch that ends a little earlier.
        end = rows - int(rng.integers(0, max(1, min(rows - size, rows // 10)))) * (repeat > 0)
        return np.arange(max(0, end - size), end, dtype=np.int64)
    chosen = rng.permutation(rows)[:size]
    if classes:
        # Every class has a row or two, or there is nothing to score it by.
        firsts = [np.flatnonzero(parts.y == label)[:2] for label in np.unique(parts.y)]
        chosen = np.concatenate([*firsts, chosen])[: max(size, sum(map(len, firsts)))]
    return np.unique(chosen).astype(np.int64)


def _fitted(
    parts: _Parts, chosen: Ints, candidate: Candidate, training: TrainingConfig, basis: Basis
) -> tuple[float, float]:
    """Return the metric on a part of the rows fitted on, and on the validation rows."""
    from tasks.models.features.preprocessing import build_encoder  # defers scikit-learn

    roles = basis.roles
    X, y = parts.read(chosen), parts.y[chosen]
    encoder = build_encoder(candidate.encoding, roles, X, training.seed)
    matrix = encoder.fit_transform(X, y)
    del X
    counts = np.unique(y, return_counts=True)[1]
    classes = roles.task not in NUMBERS
    setting = FitContext(
        task=roles.task,
        metric=basis.prepared.metric,
        rows=len(y),
        columns=matrix.shape[1],
        classes=len(counts) if classes else 0,
        fewest=int(counts.min()) if classes else len(y),
        categorical=int(encoder.categorical_),
        ordered=parts.ordered,
        seed=training.seed,
        threads=1,
        class_weight=training.class_weight,
    )
    if classes and setting.classes < 2:
        raise KeepfitError("one class only.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learned = candidate.fit(candidate.build(setting, candidate.params), matrix, y, setting)
    own = subsample_evenly(len(y), _SCORED // 2)
    model = parts.adjustment.wrap(learned.estimator, roles.classes)
    return (
        _score(model, matrix[own], y[own], basis),
        _score(model, encoder.transform(parts.unseen), parts.unseen_y, basis),
    )


def _score(model: Any, X: Matrix, y: Array, basis: Basis) -> float:
    roles = basis.roles
    predicted, probability = outputs(model, X)
    if probability is not None:
        probability = in_order(probability, model.classes_, roles.classes)
    value, _ = sampled(basis.prepared.metric, y, predicted, probability, roles, whole(len(y)))
    return value
