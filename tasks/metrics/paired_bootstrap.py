"""Challenger, champion and baseline compared on the same rows, under the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Floats, Ints, Mask
from tasks.base.settings.evaluation import GateConfig, greater_is_better
from tasks.base.training_records import GateEvidence, Schema
from tasks.metrics.bootstrap import Plan, interval, resampling
from tasks.metrics.losses import ABSOLUTE
from tasks.metrics.ranking import RankingGroups
from tasks.metrics.scorer import sampled


@dataclass(frozen=True)
class Predictions:
    """A model's predictions of the rows, native labels or values of shape (rows,)."""

    # Probabilities have the shape (rows, n_classes) in the order of the schema's classes;
    # `uncalibrated` are those of a calibrated model before its calibration.

    predicted: ArrayLike
    probability: Floats | None = None
    uncalibrated: Floats | None = None

    def only(self, rows: Mask | Ints) -> Predictions:
        """Return the predictions of the rows of a mask, shape (rows,)."""
        given = (self.probability, self.uncalibrated)
        return Predictions(
            np.asarray(self.predicted)[rows], *(None if v is None else v[rows] for v in given)
        )


def constant_predictions(y: ArrayLike, rows: int, roles: Schema, metric: str) -> Predictions:
    """Return the best constant for labels or values `y`, as predictions of so many rows."""
    if not roles.classes:
        middle = np.median if metric in ABSOLUTE else np.mean
        return Predictions(np.full(rows, float(middle(np.asarray(y, dtype=np.float64)))))
    labels, counts = np.unique(np.asarray(y), return_counts=True)
    known = dict(zip(map(str, labels), counts, strict=True))
    shares = np.array([known.get(name, 0) for name in roles.classes], dtype=np.float64)
    chances = np.tile(shares / shares.sum(), (rows, 1))
    return Predictions(np.full(rows, labels[np.argmax(counts)]), chances)


@dataclass(frozen=True)
class _Scored:
    value: float
    replicates: Floats


def paired_evidence(
    metric: str,
    y_true: ArrayLike,
    challenger: Predictions,
    champion: Predictions | None,
    baseline: Predictions,
    schema: Schema,
    *,
    blocks: ArrayLike | None,
    gate: GateConfig,
    seed: int,
    name: str = "",
    queries: RankingGroups | None = None,
    refit: bool = False,
) -> GateEvidence:
    """Return the evidence that a gate decides on, from rows that no model was fitted on.

    Differences are the challenger's metric minus the other's, turned so that greater is better.
    Their intervals are two-sided at ``gate.confidence``, from replicates in which every model is
    scored on the same drawn rows (or `blocks`, or the groups of a ranking); a promotion reads only
    the lower end, so a challenger that is truly no better passes in half of the cases that a
    two-sided interval misses. Of a `refit` probabilities are compared by their log loss too. What
    is undefined is None. ``detectable`` is half the width of the interval: a true difference below
    it would mostly not have been distinguished from zero. Source: Efron and Tibshirani (1993), An
    Introduction to the Bootstrap, chapter 13.
    """
    rows = len(np.asarray(y_true))
    classes, positive = schema.classes, schema.positive
    curves = len(classes) if len(classes) > 2 else 1
    if queries is not None:
        blocks = queries.groups
    plan = resampling(rows, blocks, gate.replicates, seed, curves=curves)
    baseline = _meaningful(metric, baseline, challenger, classes, positive)

    def scored(predictions: Predictions) -> _Scored:
        predicted, probability = predictions.predicted, predictions.probability
        return _Scored(*sampled(metric, y_true, predicted, probability, schema, plan, queries))

    ours, trivial = scored(challenger), scored(baseline)
    theirs = scored(champion) if champion is not None else None
    sign = 1 if greater_is_better(metric) else -1
    difference, low, high = _difference(ours, theirs, sign, plan, gate.confidence)
    log_loss = None
    probable = champion is not None and champion.probability is not None
    probable &= challenger.probability is not None
    if refit and champion is not None and metric != "log_loss" and probable:
        losses = [
            _Scored(*sampled("log_loss", y_true, p.predicted, p.probability, schema, plan, None))
            for p in (challenger, champion)
        ]
        found = _difference(losses[0], losses[1], -1, plan, gate.confidence)
        log_loss = None if None in found else found
    to_baseline = _difference(ours, trivial, sign, plan, gate.confidence)
    ends = (low, high) if theirs is not None else to_baseline[1:]
    return GateEvidence(
        metric=metric,
        rows=rows,
        challenger_score=_finite(ours.value),
        champion_score=_finite(theirs.value) if theirs is not None else None,
        baseline_score=_finite(trivial.value),
        difference=difference,
        low=low,
        high=high,
        baseline_difference=to_baseline[0],
        baseline_low=to_baseline[1],
        baseline_high=to_baseline[2],
        detectable=(ends[1] - ends[0]) / 2 if ends[0] is not None and ends[1] is not None else None,
        blocks=_units(y_true, blocks, queries),
        blocks_of="blocks of time" if queries is None else "groups",
        challenger=name,
        log_loss=log_loss,
    )


def _units(
    y_true: ArrayLike, blocks: ArrayLike | None, queries: RankingGroups | None
) -> int | None:
    """Return how many blocks there are; of a ranking, how many groups are informative."""
    if queries is not None:
        return int(queries.telling(y_true).sum())
    return len(np.unique(np.asarray(blocks))) if blocks is not None else None


def _difference(
    ours: _Scored, theirs: _Scored | None, sign: int, plan: Plan, confidence: float
) -> tuple[float | None, float | None, float | None]:
    """Return the difference and the ends of its interval; None where undefined."""
    if theirs is None:
        return None, None, None
    difference = _finite(sign * (ours.value - theirs.value))
    ends = interval(sign * (ours.replicates - theirs.replicates), confidence, plan.n_units)
    if difference is None or ends is None or not plan.replicates:
        return difference, None, None
    return difference, ends[0], ends[1]


def _meaningful(
    metric: str,
    baseline: Predictions,
    challenger: Predictions,
    classes: Sequence[str],
    positive: str | None,
) -> Predictions:
    # A baseline that predicts the commoner class may predict no positive row, which leaves its
    # precision undefined; the trivial rule to beat in precision calls every row positive.
    if metric != "precision" or len(classes) != 2:
        return baseline
    label = positive if positive is not None else classes[-1]
    if any(str(v) == label for v in np.unique(np.asarray(baseline.predicted))):
        return baseline
    found = [v for v in np.unique(np.asarray(challenger.predicted)) if str(v) == label]
    if not found:
        return baseline
    return Predictions(np.full(len(np.asarray(baseline.predicted)), found[0]))


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
