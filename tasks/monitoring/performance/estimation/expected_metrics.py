"""Expected metrics of rows without labels, from what labelled rows of the same model taught.

A classifier's probabilities are calibrated; of a regression the size of the error is learned.

References
----------
Kivimäki, Białek, Nurminen and Kuberski (2025), Confidence-based estimators for predictive
performance in model monitoring, Journal of Artificial Intelligence Research 82: expected metrics
from calibrated probabilities. NannyML, Direct loss estimation: a second model of the first one's
error. Zadrozny and Elkan (2002), Transforming classifier scores into accurate multiclass
probability estimates: isotonic calibration of each class against the rest, then normalised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Protocol

import numpy as np

from tasks.base.arrays import Floats
from tasks.base.errors import EvidenceError
from tasks.base.runtime.libraries import lightgbm, sklearn
from tasks.base.training_records import Schema
from tasks.metrics.bootstrap import Groups, Plan, Sums, ranked, whole
from tasks.metrics.classification import RANKED, ClassScores, Counts
from tasks.metrics.scorer import point, replicate
from tasks.monitoring.performance.estimation.covariate_shift import thinned
from tasks.monitoring.performance.expected_range import scored
from tasks.monitoring.performance.labelled_predictions import Answers

_CHANCE_ROWS = 20_000
_CHANCE_DRAWS = 60


class Learned(Protocol):
    """A model's expected performance, learned from rows whose labels are known."""

    def expected(self, answers: Answers, plan: Plan) -> tuple[float, Floats]:
        """Return the expected metric of predictions, and of every replicate of a plan."""

    def chance(self, answers: Answers, rng: np.random.Generator) -> float:
        """Return the metric's standard deviation over random labels of the predictions."""


def learned_from(
    known: Answers, roles: Schema, metric: str, seed: int, weights: Floats | None = None
) -> Learned:
    """Return an estimator of the expected metric, learned on labelled rows, weighted if need be."""
    if not roles.classes:
        return _ErrorModel(known, metric, seed, weights)
    return CalibratedClasses(_calibration(known, len(roles.classes), weights), roles, metric)


@dataclass(frozen=True)
class CalibratedClasses:
    """Performance of a classifier from its calibrated probabilities."""

    calibrated: Callable[[Floats], Floats]
    roles: Schema
    metric: str

    def expected(self, answers: Answers, plan: Plan) -> tuple[float, Floats]:
        """Return the expected metric of predictions, and of every replicate of a plan."""
        if answers.probability is None:
            return float("nan"), np.full(max(1, plan.replicates), np.nan)
        shares = self.calibrated(answers.probability)
        drawn = ExpectedScores(answers, shares, self.roles, plan, self.metric)
        exact = drawn
        if plan.bins is not None:
            exact = ExpectedScores(answers, shares, self.roles, whole(answers.rows), self.metric)
        points = point(exact)
        return points[self.metric], replicate(drawn, points)[self.metric]

    def chance(self, answers: Answers, rng: np.random.Generator) -> float:
        """Return the metric's standard deviation over random labels of the predictions."""
        few = thinned(answers, _CHANCE_ROWS)
        if few.probability is None:
            return float("nan")
        ends = np.cumsum(self.calibrated(few.probability), axis=1)[:, :-1]
        plan = whole(few.rows)
        values = [
            scored(replace(few, truth=truth), self.roles, self.metric, plan)[0]
            for truth in (
                (rng.random((few.rows, 1)) > ends).sum(axis=1) for _ in range(_CHANCE_DRAWS)
            )
            if len(np.unique(truth)) > 1
        ]
        return float(np.nanstd(values)) * sqrt(few.rows / answers.rows) if values else float("nan")


class ExpectedScores(ClassScores):
    """A classifier's metrics, each row counted as every class by its share, (rows, n_classes)."""

    def __init__(
        self, answers: Answers, shares: Floats, roles: Schema, plan: Plan, metric: str
    ) -> None:
        k = len(roles.classes)
        positive = _positive(roles)
        predicted = answers.predicted
        super().__init__(predicted, predicted, None, k + 1, positive, plan, (metric,))
        self._n_classes = k
        self._classes = Sums(shares, plan)
        padded = np.column_stack([shares, np.zeros(len(shares))])
        self._hits = Groups(predicted, k + 1, plan, padded[np.arange(len(shares)), predicted])
        self._predicted = Groups(predicted, k + 1, plan)
        if answers.probability is not None:
            self._expect(answers.probability, shares, plan)

    def _expect(self, probability: Floats, shares: Floats, plan: Plan) -> None:
        tiny = np.finfo(np.float64).eps
        losses = -(shares * np.log(np.clip(probability, tiny, 1 - tiny))).sum(axis=1)
        by_class = [
            self._squares(np.full(len(shares), k), probability) for k in range(self._n_classes)
        ]
        squares = (shares * np.column_stack(by_class)).sum(axis=1)
        self._losses = Sums(np.column_stack([losses, squares, np.ones(len(shares))]), plan)
        if not RANKED.intersection(self.wanted):
            return
        for k in range(self._n_classes) if self._positive is None else (self._positive,):
            groups, scores = ranked(probability[:, k], plan.bins)
            groups = len(scores) - 1 - groups
            pair = [
                Groups(groups, len(scores), plan, values)
                for values in (shares[:, k], 1 - shares[:, k])
            ]
            self._curves.append((pair[0], pair[1]))

    def counts(self, weights: Floats) -> Counts:
        """Return expected rows by class."""
        k = self._n_classes
        return Counts(
            self._hits.under(weights)[:, :k],
            self._predicted.under(weights)[:, :k],
            self._classes.under(weights),
        )


def _positive(roles: Schema) -> int | None:
    if len(roles.classes) > 2:
        return None
    return roles.classes.index(roles.positive) if roles.positive else len(roles.classes) - 1


def _calibration(
    known: Answers, n_classes: int, weights: Floats | None
) -> Callable[[Floats], Floats]:
    """Return isotonic calibration of each class against the rest, normalised over the classes."""
    if known.probability is None:
        raise EvidenceError("probabilities can't be calibrated without any.")
    columns = (1,) if n_classes == 2 else tuple(range(n_classes))
    models = {
        k: sklearn.isotonic.IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(
            known.probability[:, k], (known.truth == k).astype(np.float64), sample_weight=weights
        )
        for k in columns
    }

    def calibrated(probability: Floats) -> Floats:
        shares = np.column_stack([models[k].predict(probability[:, k]) for k in columns])
        if n_classes == 2:
            return np.column_stack([1 - shares[:, 0], shares[:, 0]])
        total = shares.sum(axis=1, keepdims=True)
        normal: Floats = np.divide(shares, total, out=probability.copy(), where=total > 0)
        return normal

    return calibrated


class _ErrorModel:
    """The expected error of a regression, learned from the prediction alone."""

    def __init__(self, known: Answers, metric: str, seed: int, weights: Floats | None) -> None:
        self.root = metric == "rmse"
        gap = np.abs(known.predicted - known.truth)
        size = gap if metric == "mae" else gap**2
        self.model = lightgbm.LGBMRegressor(
            n_estimators=50,
            num_leaves=8,
            min_child_samples=max(20, known.rows // 50),
            random_state=seed,
            n_jobs=1,
            verbosity=-1,
        )
        self.model.fit(known.predicted.reshape(-1, 1), size, weights)
        self.unexplained = float(np.std(size - self._errors(known)))

    def _errors(self, answers: Answers) -> Floats:
        errors: Floats = np.asarray(
            self.model.predict(answers.predicted.reshape(-1, 1)), dtype=np.float64
        )
        return np.maximum(errors, 0.0)

    def expected(self, answers: Answers, plan: Plan) -> tuple[float, Floats]:
        errors = self._errors(answers)
        sums = Sums(np.column_stack([errors, np.ones(len(errors))]), plan)
        totals = np.concatenate([sums.under(weights) for weights in plan.weights(sums.width)])
        means, value = totals[:, 0] / totals[:, 1], float(errors.mean())
        return (float(np.sqrt(value)), np.sqrt(means)) if self.root else (value, means)

    def chance(self, answers: Answers, rng: np.random.Generator) -> float:  # noqa: ARG002
        of_mean = self.unexplained / sqrt(answers.rows)
        mean = float(self._errors(answers).mean())
        return of_mean / (2 * sqrt(mean)) if self.root and mean > 0 else of_mean
