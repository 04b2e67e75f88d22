"""The metrics of a candidate on rows it was not fitted on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Floats
from tasks.base.errors import EvidenceError
from tasks.base.plugin_settings import OwnCode
from tasks.base.training_records import Evaluation, MetricValue, Schema
from tasks.metrics import classification, ranking, regression
from tasks.metrics.bootstrap import Plan, interval, resampling, whole
from tasks.metrics.classification import ClassScores
from tasks.metrics.label_codes import encode, encode_truth
from tasks.metrics.plugin_metrics import drawn_of, exactly, is_own
from tasks.metrics.ranking import RankingGroups, RankScores
from tasks.metrics.regression import ValueScores

Scores = ClassScores | ValueScores | RankScores


def score(
    metric: str,
    y_true: ArrayLike,
    predicted: ArrayLike,
    probability: Floats | None,
    classes: Sequence[str],
    positive: str | None,
    queries: RankingGroups | None = None,
    own: OwnCode | None = None,
) -> float:
    """Return one metric, as scikit-learn's scorer of that name without ``neg_`` gives it.

    With more than two classes ``precision``, ``recall`` and ``f1`` are their macro averages,
    ``roc_auc`` is the macro average of one class against the rest, ``average_precision`` likewise,
    and ``brier`` the squared distance summed over the classes, from 0 to 2. ``calibration_error``
    is the expected calibration error over 15 bins of equal mass, of the positive class or, with
    more than two, of the likeliest one (Guo and others, 2017). `probability` has a column for each
    of `classes`, labels as text in sorted order; without `positive` the last class is. Not a number
    where the metric is undefined: one class only, no probability, a target of zero under ``mape``,
    no rows. Raises EvidenceError if the metric is unknown to the task or the shapes do not match,
    ConfigError if a custom metric fails or is not finite.

    >>> score("accuracy", [1, 0, 1], [1, 0, 0], None, ("0", "1"), "1")
    0.6666666666666666
    """
    if own is not None and is_own(metric, own):
        return exactly(metric, own, y_true, predicted, probability, classes, positive)
    plan = whole(len(np.asarray(y_true)))
    given = (y_true, predicted, probability, classes, positive)
    scores = prepare(*given, plan, (metric,), queries)
    return point(scores)[metric]


def evaluate(
    candidate: str,
    y_true: ArrayLike,
    predicted: ArrayLike,
    probability: Floats | None,
    schema: Schema,
    *,
    blocks: ArrayLike | None = None,
    queries: RankingGroups | None = None,
    replicates: int = 200,
    seed: int = 0,
    confidence: float = 0.95,
) -> Evaluation:
    """Return every metric of the task, each with its bootstrap interval; None where undefined."""
    # `blocks` are those of rows that lie in time, see `time_blocks`, or the groups of a ranking. 0
    # `replicates` give no intervals. The confusion matrix has a row for each true class and a
    # column for each predicted one, in the order of ``schema.classes``.
    names = known_metrics(schema.classes, queries)
    if queries is not None:
        blocks = queries.groups
    curves = len(schema.classes) if len(schema.classes) > 2 else 1
    plan = resampling(len(np.asarray(y_true)), blocks, replicates, seed, curves=curves)
    given = (y_true, predicted, probability, schema.classes, schema.positive)
    drawn = prepare(*given, plan, names, queries)
    # Binned scores are good for replicates, not for the values.
    exact = drawn if plan.bins is None else prepare(*given, whole(plan.rows), names, queries)
    points = point(exact)
    replicated = replicate(drawn, points)
    metrics = {n: _valued(points[n], replicated[n], plan, confidence, name=n) for n in names}
    for name in schema.own.metrics if schema.own else ():
        score(name, *given, own=schema.own)
        value, values = sampled(name, y_true, predicted, probability, schema, plan)
        metrics[name] = _valued(value, values, plan, confidence)
    if not isinstance(exact, ClassScores) or not isinstance(drawn, ClassScores):
        return Evaluation(candidate=candidate, metrics=metrics)
    truth, guess = encode_truth(y_true, schema.classes), encode(predicted, schema.classes)
    k = len(schema.classes)
    cells = np.bincount(truth * (k + 1) + guess, minlength=k * (k + 1)).reshape(k, k + 1)
    return Evaluation(
        candidate=candidate,
        metrics=metrics,
        per_class=_per_class(exact, drawn, schema.classes, confidence),
        confusion=tuple(map(tuple, cells[:, :k].tolist())),  # without predictions of no known class
    )


def sampled(
    metric: str,
    y_true: ArrayLike,
    predicted: ArrayLike,
    probability: Floats | None,
    schema: Schema,
    plan: Plan,
    queries: RankingGroups | None = None,
) -> tuple[float, Floats]:
    """Return one metric of the rows, and of every replicate of `plan`, shape (replicates,)."""
    given = (y_true, predicted, probability, schema.classes, schema.positive)
    if schema.own is not None and is_own(metric, schema.own):
        return drawn_of(metric, schema.own, *given, plan)
    drawn = prepare(*given, plan, (metric,), queries)
    exact = drawn if plan.bins is None else prepare(*given, whole(plan.rows), (metric,), queries)
    points = point(exact)
    return points[metric], replicate(drawn, points)[metric]


def prepare(
    y_true: ArrayLike,
    predicted: ArrayLike,
    probability: Floats | None,
    classes: Sequence[str],
    positive: str | None,
    plan: Plan,
    wanted: Collection[str],
    queries: RankingGroups | None = None,
) -> Scores:
    """Return truth and predictions ready to be scored under the weights of `plan`."""
    # Raises EvidenceError if a metric is unknown to the task or the shapes do not match.
    known = known_metrics(classes, queries)
    for name in wanted:
        if name not in known:
            raise EvidenceError(
                f"the metric must be one of {', '.join(known)}; got {name!r}.",
                "The running pipeline file has to name one of your own in `hooks.metrics`.",
            )
    rows = len(np.asarray(y_true))
    if len(np.asarray(predicted)) != rows:
        raise EvidenceError(f"{rows} true values need as many predictions; got {len(predicted)}.")  # type: ignore[arg-type]
    if not classes:
        truth, values = (np.asarray(v, dtype=np.float64) for v in (y_true, predicted))
        if queries is not None:
            return RankScores(truth, values, queries, plan, wanted)
        return ValueScores(truth, values, plan, wanted)
    k = len(classes)
    if probability is not None:
        probability = np.asarray(probability, dtype=np.float64)
        if probability.shape != (rows, k):
            raise EvidenceError(
                f"probabilities must have the shape ({rows}, {k}); got {probability.shape}."
            )
    place = _positive_place(classes, positive)
    truths, guesses = encode_truth(y_true, classes), encode(predicted, classes)
    return ClassScores(truths, guesses, probability, k, place, plan, wanted)


def known_metrics(classes: Sequence[str], queries: RankingGroups | None) -> tuple[str, ...]:
    """Return the metrics that a task has."""
    if queries is not None:
        return ranking.NAMES
    return classification.NAMES if classes else regression.NAMES


def point(scores: Scores) -> dict[str, float]:
    """Return the metrics of the rows as they are."""
    values = scores.under(np.ones((1, scores.plan.n_units)))
    return {name: float(v[0]) for name, v in values.items()}


def replicate(scores: Scores, points: Mapping[str, float]) -> dict[str, Floats]:
    """Return the metrics of every replicate, shape (replicates,) each."""
    # Where the plan puts scores into bins, replicates are shifted by what binning does to `points`.
    chunks = [scores.under(weights) for weights in scores.plan.weights(scores.width)]
    values = {name: np.concatenate([c[name] for c in chunks]) for name in scores.wanted}
    if scores.plan.bins is None:
        return values
    binned = point(scores)
    return {name: v + (points[name] - binned[name]) for name, v in values.items()}


def _positive_place(classes: Sequence[str], positive: str | None) -> int | None:
    if len(classes) > 2:
        return None
    if positive is None:
        return len(classes) - 1
    if positive not in classes:
        raise EvidenceError(
            f"the positive label must be one of {', '.join(classes)}; got {positive!r}.",
            "Name one of them as `positive` in the pipeline file.",
        )
    return list(classes).index(positive)


def _valued(
    value: float, replicates: Floats, plan: Plan, confidence: float, *, name: str = ""
) -> MetricValue:
    if not np.isfinite(value):
        return MetricValue(value=None)
    ends = interval(replicates, confidence, plan.n_units) if plan.replicates else None
    if ends is None or ends[0] == ends[1]:
        # Replicates that all agree, as after no mistake at all, do not show how sure it is.
        return MetricValue(value=value)
    low, high = ends
    if name == "calibration_error":
        # An absolute gap grows with noise, so a replicate lies above what it replicates; the
        # basic interval turns that round (Efron and Tibshirani 1993, section 13.4).
        low, high = max(0.0, 2 * value - high), 2 * value - low
    return MetricValue(value=value, low=min(low, value), high=max(high, value))


def _per_class(
    exact: ClassScores, drawn: ClassScores, classes: Sequence[str], confidence: float
) -> dict[str, dict[str, MetricValue]]:
    names = ("precision", "recall", "f1")
    plan = drawn.plan
    with np.errstate(all="ignore"):
        whole_counts = exact.counts(np.ones((1, exact.plan.n_units)))
        chunks = [drawn.counts(weights) for weights in plan.weights(drawn.width)]
        values = {n: getattr(whole_counts, n)[0] for n in names}
        replicated = {n: np.concatenate([getattr(c, n) for c in chunks]) for n in names}
    return {
        label: {
            name: _valued(float(values[name][k]), replicated[name][:, k], plan, confidence)
            for name in names
        }
        | {"support": MetricValue(value=float(whole_counts.true[0, k]))}
        for k, label in enumerate(classes)
    }
