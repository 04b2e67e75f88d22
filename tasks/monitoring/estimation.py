"""Performance where no label is known: what the model's own answers lead to expect.

An estimate rests on the holdout, where labels are known: there the probabilities are calibrated,
or the size of the error is learned. It sees what a shift of the answers does to the metric, and
can't see a change in how the target depends on the features.

References
----------
Białek, Kivimäki, Kuberski and Perrakis (2025), Estimating model performance under covariate shift
without labels, NeurIPS, arXiv 2401.08348: expected metrics from calibrated probabilities.
NannyML, Direct loss estimation: a second model of the first one's error.
Zadrozny and Elkan (2002), Transforming classifier scores into accurate multiclass probability
estimates: isotonic calibration of each class against the rest, then normalised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Protocol

import numpy as np

from tasks.base.errors import EvidenceError
from tasks.base.records import MetricValue, Schema
from tasks.metrics.bootstrap import Floats, Groups, Plan, Sums, ranked, whole
from tasks.metrics.classification import RANKED, ClassScores, Counts
from tasks.metrics.plugin_metrics import is_own
from tasks.metrics.scorer import point, replicate
from tasks.monitoring.answers import Answers
from tasks.monitoring.measuring import measure, plan_of, scored
from tasks.monitoring.scales import limits, scale_of

CAUTION = "An estimate can't see a change in how the target depends on the features."
_OF_ERROR = ("mae", "mse", "rmse")
_NOT_EXPECTED = ("calibration_error",)
_REFITS = 20
_REFIT_ROWS = 50_000
_PARTS = 6
_CHANCE_ROWS = 20_000
_CHANCE_DRAWS = 60
MISLEADS = 1.3
"""How far off an estimate may be on parts of the holdout, in misses of the holdout's own value."""
ERROR = 0.05
"""Scale of the half-normal prior of an estimate's own error, in logits or logarithms."""


class Learned(Protocol):
    """What was learned of a model's performance on rows whose labels are known."""

    def expected(self, answers: Answers, plan: Plan) -> tuple[float, Floats]:
        """Return the expected metric of answers, and of every replicate of a plan."""

    def chance(self, answers: Answers, rng: np.random.Generator) -> float:
        """Return the standard deviation of the metric of answers as their labels fall."""


@dataclass(frozen=True)
class _OwnError:
    """How estimates of the holdout's parts miss what came true there.

    Attributes
    ----------
    error
        Standard deviation of the misses beyond what the parts' sampling explains, with a weakly
        informative prior: few parts don't show that there is none.
    missed, constant
        Root mean square of the misses: of the estimates, and of the rest of the holdout's own
        metric taken for the part's.
    """

    error: float = 0.0
    missed: float = 0.0
    constant: float = 0.0

    @property
    def misleads(self) -> bool:
        """Whether the holdout's value is clearly the better estimate."""
        return self.missed > MISLEADS * self.constant > 0

    def sentence(self, metric: str) -> str:
        """Return why there is no estimate."""
        return (
            f"{metric} is not estimated without labels: on parts of the holdout the estimate "
            f"missed by {self.missed:.2g}, the holdout's own value by {self.constant:.2g}."
        )


@dataclass(frozen=True)
class Estimate:
    """An estimated metric; without a value where it can't be had, and the sentence says why.

    Attributes
    ----------
    value
        With an interval for what comes true on the window's own rows: the chance of their
        labels, what was learned on the holdout, and `error`.
    spread
        Standard error of the window's expected metric: of which rows it has, and of what was
        learned on the holdout.
    error
        Root mean square error of such estimates of the holdout's own parts, beyond what the
        parts' sampling explains.
    """

    value: MetricValue
    spread: float = float("nan")
    error: float = 0.0
    sentence: str = ""


def estimate(
    window: Answers,
    holdout: Answers,
    roles: Schema,
    metric: str,
    *,
    seed: int = 0,
    min_rows: int = 200,
    confidence: float = 0.95,
) -> Estimate:
    """Return the metric to expect of `window`, whose labels are not looked at.

    Parameters
    ----------
    holdout
        Answers of the same version on rows it was not trained on, with their labels.
    min_rows
        Fewest rows of either side.
    """
    known = holdout.of_labelled
    problem = _problem(window, known, roles, metric, min_rows)
    if problem:
        return Estimate(MetricValue(value=None), sentence=problem)
    own = _own_error(known, roles, metric, seed)
    if own.misleads:
        return Estimate(MetricValue(value=None), sentence=own.sentence(metric))
    learned = _learned(known, roles, metric, seed)
    plan = plan_of(window, roles, 200, seed)
    value, replicates = learned.expected(window, plan)
    if not np.isfinite(value):
        return Estimate(MetricValue(value=None), sentence=f"{metric} is not defined here.")
    fits = _learning_spread(window, known, roles, metric, seed)
    sampled = float(np.nanstd(replicates)) if plan.replicates else float("nan")
    chance = learned.chance(window, np.random.default_rng(seed))
    return Estimate(
        value=_between(
            value, float(np.hypot(np.hypot(chance, fits), own.error)), metric, confidence
        ),
        spread=float(np.hypot(sampled, fits)),
        error=own.error,
        sentence=CAUTION,
    )


def _problem(window: Answers, known: Answers, roles: Schema, metric: str, min_rows: int) -> str:
    """Return why there is no estimate; empty when there is one."""
    if roles.classes and (metric in _NOT_EXPECTED or is_own(metric, roles.own)):
        return f"{metric} can't be estimated without labels."
    if not roles.classes and metric not in _OF_ERROR:
        others = "" if roles.group else f"; {', '.join(_OF_ERROR)} can"
        return f"{metric} can't be estimated without labels{others}."
    if roles.classes and (window.probability is None or known.probability is None):
        return "Without probabilities nothing can be estimated."
    if known.rows < min_rows:
        return f"The holdout has {known.rows:,} labelled rows; {min_rows:,} are asked to estimate."
    if window.rows < min_rows:
        return f"The window has {window.rows:,} rows; {min_rows:,} are asked to estimate."
    if roles.classes and len(np.unique(known.truth)) < 2:
        return "The holdout has one class only; nothing can be estimated from it."
    return ""


def _learned(
    known: Answers, roles: Schema, metric: str, seed: int, weights: Floats | None = None
) -> Learned:
    """Return what gives the expected metric, learned on rows whose labels are known."""
    if not roles.classes:
        return _ErrorModel(known, metric, seed, weights)
    return _CalibratedClasses(_calibration(known, len(roles.classes), weights), roles, metric)


@dataclass(frozen=True)
class _CalibratedClasses:
    """Performance of a classifier from its calibrated probabilities."""

    calibrated: Callable[[Floats], Floats]
    roles: Schema
    metric: str

    def expected(self, answers: Answers, plan: Plan) -> tuple[float, Floats]:
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
    """A classifier's metrics with each row counted as every class, by its calibrated share.

    Parameters
    ----------
    shares
        Probability of each class after calibration, shape (rows, n_classes).
    """

    def __init__(
        self, answers: Answers, shares: Floats, roles: Schema, plan: Plan, metric: str
    ) -> None:
        k = len(roles.classes)
        positive = _positive(roles)
        predicted = answers.predicted
        super().__init__(predicted, predicted, None, k + 1, positive, plan, (metric,))
        self._n_classes = k
        self._classes = Sums(shares, plan)
        told = np.column_stack([shares, np.zeros(len(shares))])
        of_predicted = told[np.arange(len(shares)), predicted]
        self._hits = Groups(predicted, k + 1, plan, of_predicted)
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
    from sklearn.isotonic import IsotonicRegression

    if known.probability is None:
        raise EvidenceError("probabilities can't be calibrated without any.")
    columns = (1,) if n_classes == 2 else tuple(range(n_classes))
    models = {
        k: IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(
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
        from lightgbm import LGBMRegressor

        self.root = metric == "rmse"
        gap = np.abs(known.predicted - known.truth)
        size = gap if metric == "mae" else gap**2
        self.model = LGBMRegressor(
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
        told: Floats = np.asarray(
            self.model.predict(answers.predicted.reshape(-1, 1)), dtype=np.float64
        )
        return np.maximum(told, 0.0)

    def expected(self, answers: Answers, plan: Plan) -> tuple[float, Floats]:
        errors = self._errors(answers)
        sums = Sums(np.column_stack([errors, np.ones(len(errors))]), plan)
        chunks = [sums.under(weights) for weights in plan.weights(sums.width)]
        totals = np.concatenate(chunks)
        means, value = totals[:, 0] / totals[:, 1], float(errors.mean())
        return (float(np.sqrt(value)), np.sqrt(means)) if self.root else (value, means)

    def chance(self, answers: Answers, rng: np.random.Generator) -> float:  # noqa: ARG002
        of_mean = self.unexplained / sqrt(answers.rows)
        mean = float(self._errors(answers).mean())
        return of_mean / (2 * sqrt(mean)) if self.root and mean > 0 else of_mean


def _learning_spread(
    window: Answers, known: Answers, roles: Schema, metric: str, seed: int
) -> float:
    """Return how much the estimate would move, had other holdout rows been drawn."""
    part = thinned(known, _REFIT_ROWS)
    few = thinned(window, _REFIT_ROWS)
    plan, one = plan_of(part, roles, _REFITS, seed), whole(few.rows)
    if not plan.replicates:
        return float("nan")
    values = []
    for chunk in plan.weights(part.rows):
        for units in chunk:
            weights = units if plan.units is None else units[plan.units]
            if len(np.unique(part.truth[weights > 0])) > 1:
                values.append(_learned(part, roles, metric, seed, weights).expected(few, one)[0])
    # Fewer rows than the holdout has make the fits vary more than they do.
    return float(np.nanstd(values) * np.sqrt(part.rows / known.rows))


def _own_error(known: Answers, roles: Schema, metric: str, seed: int) -> _OwnError:
    """Return by how much estimates of parts of the holdout miss what came true there."""
    part = thinned(known, _REFIT_ROWS)
    moments = np.arange(part.rows) if part.times is None else part.times
    order = np.argsort(moments, kind="stable")
    gaps: list[float] = []
    steady: list[float] = []
    noise: list[float] = []
    for rows in np.array_split(order, _PARTS):
        outside = np.ones(part.rows, dtype=bool)
        outside[rows] = False
        there, rest = part.only(rows), part.only(outside)
        true = measure(there, roles, metric, seed=seed, replicates=50)
        usual = measure(rest, roles, metric, seed=seed, replicates=0)
        if true is None or usual is None:
            continue
        told = _learned(rest, roles, metric, seed).expected(there, whole(there.rows))[0]
        if np.isfinite(told):
            gaps.append((told - true.value) ** 2)
            steady.append((usual.value - true.value) ** 2)
            noise.append(true.spread**2)
    found = measure(part, roles, metric, seed=seed, replicates=0)
    if not gaps or found is None:
        return _OwnError()
    prior = ERROR / scale_of(metric, [found.value]).slope(found.value)
    error = _deviation(np.asarray(gaps), np.asarray(noise), prior)
    return _OwnError(error, sqrt(float(np.mean(gaps))), sqrt(float(np.mean(steady))))


def _deviation(squares: Floats, noise: Floats, prior: float) -> float:
    """Return the root of the expected variance beyond noise.

    Parameters
    ----------
    squares, noise
        Squared misses and the sampling variance of each, shape (n_parts,).
    prior
        Scale of the half-normal prior of the standard deviation.
    """
    deviations = np.linspace(0, 4 * max(prior, float(np.sqrt(squares.max()))), 100)
    total = np.maximum(deviations[:, None] ** 2 + noise, np.finfo(np.float64).tiny)
    fits = -0.5 * (np.log(total) + squares / total).sum(axis=1) - 0.5 * (deviations / prior) ** 2
    weights = np.exp(fits - fits.max())
    return sqrt(float(weights @ deviations**2 / weights.sum()))


def thinned(answers: Answers, most: int) -> Answers:
    """Return at most so many rows, evenly spread."""
    if answers.rows <= most:
        return answers
    return answers.only(np.linspace(0, answers.rows - 1, most).astype(np.int64))


def _between(value: float, spread: float, metric: str, confidence: float) -> MetricValue:
    """Return `value` with a normal interval inside what the metric can be."""
    from scipy.special import ndtri

    if not np.isfinite(spread):
        return MetricValue(value=value)
    reach = float(ndtri((1 + confidence) / 2)) * spread
    least, most = limits(metric)
    return MetricValue(value=value, low=max(least, value - reach), high=min(most, value + reach))
