"""Data of the figures; `figures` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Floats, Ints, Mask
from tasks.base.runtime.libraries import sklearn
from tasks.base.training_records import Schema
from tasks.metrics.bootstrap import ranked
from tasks.metrics.classification import CALIBRATION_BINS
from tasks.metrics.label_codes import encode_truth

CURVE_POINTS = 300
SCATTER_POINTS = 2_000
# Beyond this an axis overflows.
_DRAWABLE = 1e100


@dataclass(frozen=True)
class Line:
    """A curve of at most 300 points with the area under it, or its average height."""

    label: str
    x: Floats
    y: Floats
    area: float


@dataclass(frozen=True)
class Ranking:
    """ROC or precision-recall curves, one for each class that has both kinds of rows."""

    lines: tuple[Line, ...]
    chance: float | None = None  # precision of guessing, if one number


@dataclass(frozen=True)
class Calibration:
    """Stated probability against what happened, by bins of equal mass."""

    stated: Floats
    happened: Floats
    low: Floats  # Wilson's 95 % interval (Wilson 1927)
    high: Floats
    error: float
    excess: float  # mean stated probability minus the share that happened
    of: str


@dataclass(frozen=True)
class Residuals:
    """Observed against predicted values, and what is left; of at most 2,000 rows."""

    predicted: Floats
    observed: Floats
    edges: Floats  # histogram of all residuals between 0.5 % and 99.5 %
    counts: Ints
    mean: float
    half: float  # half of the predictions lie within this


def roc_curves(y_true: ArrayLike, probability: Floats, schema: Schema) -> Ranking:
    """Return the share of negatives flagged against the share of positives found."""
    lines = []
    for label, positive, scores in _by_class(y_true, probability, schema):
        x, y, _ = sklearn.metrics.roc_curve(positive, scores, drop_intermediate=False)
        lines.append(Line(label, *_thinned(x, y), area=float(sklearn.metrics.auc(x, y))))
    return Ranking(tuple(lines))


def precision_recall_curves(y_true: ArrayLike, probability: Floats, schema: Schema) -> Ranking:
    """Return recall against precision; the area is the average precision."""
    lines = []
    chances = []
    for label, positive, scores in _by_class(y_true, probability, schema):
        precision, recall, _ = sklearn.metrics.precision_recall_curve(positive, scores)
        # Where nothing is flagged, scikit-learn has 1 and a figure the highest score's.
        precision[-1] = precision[-2]
        area = float(sklearn.metrics.average_precision_score(positive, scores))
        lines.append(Line(label, *_thinned(recall[::-1], precision[::-1]), area=area))
        chances.append(float(positive.mean()))
    return Ranking(tuple(lines), chances[0] if len(chances) == 1 else None)


def _by_class(
    y_true: ArrayLike, probability: Floats, schema: Schema
) -> list[tuple[str, Mask, Floats]]:
    """Return each class that some rows have and some have not: which have, and its scores."""
    truth = encode_truth(y_true, schema.classes)
    wanted: Sequence[str] = schema.classes
    if len(wanted) == 2:
        wanted = (schema.positive or wanted[-1],)
    places = {label: schema.classes.index(label) for label in wanted}
    found = [(label, truth == k, probability[:, k]) for label, k in places.items()]
    return [one for one in found if one[1].any() and not one[1].all()]


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return at most 300 points, evenly along the curve, with both of its ends."""
    if len(x) <= CURVE_POINTS:
        return x, y
    along = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    places = np.searchsorted(along, np.linspace(0, along[-1], CURVE_POINTS - 1))
    keep = np.unique(np.append(places, len(x) - 1))
    return x[keep], y[keep]


def calibration(y_true: ArrayLike, probability: Floats, schema: Schema) -> Calibration:
    """Return stated probabilities against what happened, in 15 bins of equal mass."""
    # Of the positive class in a binary task, of the likeliest class otherwise.
    truth = encode_truth(y_true, schema.classes)
    if len(schema.classes) == 2:
        of = schema.positive or schema.classes[-1]
        k = schema.classes.index(of)
        stated, right = probability[:, k], truth == k
    else:
        of = "the likeliest class"
        top = probability.argmax(axis=1)
        stated, right = probability[np.arange(len(truth)), top], truth == top
    bins, _ = ranked(np.asarray(stated, dtype=np.float64), CALIBRATION_BINS)
    n = np.bincount(bins).astype(np.float64)
    mean = np.bincount(bins, stated) / n
    share = np.bincount(bins, right) / n
    z = 1.96
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    error = float((n * np.abs(mean - share)).sum() / n.sum())
    excess = float(np.mean(stated) - np.mean(right))
    return Calibration(mean, share, middle - half, middle + half, error, excess, of)


def residuals(y_true: ArrayLike, predicted: ArrayLike, *, seed: int = 0) -> Residuals | None:
    """Return observed against predicted values; None where no row can be drawn."""
    observed = np.asarray(y_true, dtype=np.float64)
    forecast = np.asarray(predicted, dtype=np.float64)
    usable = (np.abs(observed) < _DRAWABLE) & (np.abs(forecast) < _DRAWABLE)
    observed, forecast = observed[usable], forecast[usable]
    left = observed - forecast
    if not len(left):
        return None
    low, high = np.quantile(left, [0.005, 0.995])
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        low, high = low - 0.5 * max(abs(low), 1.0), high + 0.5 * max(abs(high), 1.0)
    counts, edges = np.histogram(left, bins=40, range=(float(low), float(high)))
    rows = np.arange(len(left))
    if len(left) > SCATTER_POINTS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, SCATTER_POINTS, replace=False))
    return Residuals(
        forecast[rows],
        observed[rows],
        edges,
        counts.astype(np.int64),
        float(left.mean()),
        float(np.median(np.abs(left))),
    )
