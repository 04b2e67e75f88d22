"""Classification metrics under row weights.

Names and values are scikit-learn's. What scikit-learn would warn about is undefined here
(not a number), and left out of a macro average, as with its ``zero_division=nan``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tasks.base.arrays import Floats, Ints
from tasks.metrics.bootstrap import Groups, Plan, Sums, ranked

CALIBRATION_BINS = 15
NAMES = (
    "accuracy", "balanced_accuracy", "precision", "recall", "f1", "precision_macro",
    "recall_macro", "f1_macro", "roc_auc", "average_precision", "log_loss", "brier",
    "calibration_error",
)  # fmt: skip
RANKED = frozenset({"roc_auc", "average_precision"})
_OF_PROBABILITY = RANKED | {"log_loss", "brier", "calibration_error"}


@dataclass(frozen=True)
class Counts:
    """Weighted rows by class, each of shape (replicates, n_classes)."""

    hits: Floats
    predicted: Floats
    true: Floats

    @property
    def precision(self) -> Floats:
        """Share of the rows predicted as a class that are of it."""
        return self.hits / self.predicted

    @property
    def recall(self) -> Floats:
        """Share of the rows of a class that are predicted as it."""
        return self.hits / self.true

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall; 0 where a class is never hit."""
        return 2 * self.hits / (self.predicted + self.true)


class ClassScores:
    """Truth and predictions of a classifier, ready to be scored under any weights."""

    # Truth, predictions and the `positive` class are positions among the classes. What needs a
    # probability, shape (rows, n_classes), is undefined without.

    def __init__(
        self,
        truth: Ints,
        predicted: Ints,
        probability: Floats | None,
        n_classes: int,
        positive: int | None,
        plan: Plan,
        wanted: Collection[str] = NAMES,
    ) -> None:
        self.wanted = tuple(wanted)
        self.plan = plan
        self._positive = positive
        self.rows = len(truth)
        self._n_classes = n_classes
        self._true = Groups(truth, n_classes, plan)
        self._predicted = Groups(predicted, n_classes + 1, plan)
        self._hits = Groups(np.where(truth == predicted, truth, n_classes), n_classes + 1, plan)
        usable = probability is not None and self.rows and np.isfinite(probability).all()
        self._losses: Sums | None = None
        self._calibration: Groups | None = None
        self._curves: list[tuple[Groups, Groups]] = []
        if usable and probability is not None and _OF_PROBABILITY.intersection(wanted):
            self._prepare(truth, probability, plan)

    def _prepare(self, truth: Ints, probability: Floats, plan: Plan) -> None:
        rows = np.arange(self.rows)
        tiny = np.finfo(np.float64).eps
        losses = -np.log(np.clip(probability[rows, truth], tiny, 1 - tiny))
        squares = self._squares(truth, probability)
        self._losses = Sums(np.column_stack([losses, squares, np.ones(self.rows)]), plan)
        if "calibration_error" in self.wanted:
            sure, right = self._confidence(truth, probability)
            bins, _ = ranked(sure, CALIBRATION_BINS)
            self._calibration = Groups(bins, int(bins.max()) + 1, plan, right - sure)
        if RANKED.intersection(self.wanted):
            classes = range(self._n_classes) if self._positive is None else (self._positive,)
            for k in classes:
                groups, scores = ranked(probability[:, k], plan.bins)
                # Descending, as curves are drawn from the highest score down.
                groups = len(scores) - 1 - groups
                right = (truth == k).astype(np.float64)
                both = (right, 1 - right)
                pair = [Groups(groups, len(scores), plan, values) for values in both]
                self._curves.append((pair[0], pair[1]))

    def _squares(self, truth: Ints, probability: Floats) -> Floats:
        """Return the Brier score of each row: of the positive class, or summed over classes."""
        if self._positive is not None:
            gaps = probability[:, self._positive] - (truth == self._positive)
            of_positive: Floats = gaps * gaps
            return of_positive
        of_truth = probability[np.arange(self.rows), truth]
        squares: Floats = np.einsum("ij,ij->i", probability, probability) - 2 * of_truth + 1
        return squares

    def _confidence(self, truth: Ints, probability: Floats) -> tuple[Floats, Floats]:
        """Return claimed probability and outcome: of the positive class, or the likeliest."""
        if self._positive is not None:
            return probability[:, self._positive], (truth == self._positive).astype(np.float64)
        top = probability.argmax(axis=1)
        return probability[np.arange(self.rows), top], (truth == top).astype(np.float64)

    @property
    def width(self) -> int:
        """The widest table of sums, in columns."""
        return max([self._n_classes, *(c[0].width for c in self._curves)])

    def counts(self, weights: Floats) -> Counts:
        """Return weighted rows by class."""
        k = self._n_classes
        return Counts(
            self._hits.under(weights)[:, :k],
            self._predicted.under(weights)[:, :k],
            self._true.under(weights),
        )

    def under(self, weights: Floats) -> dict[str, Floats]:
        """Return each wanted metric, shape (replicates,); not a number where undefined."""
        with np.errstate(all="ignore"):
            values = dict.fromkeys(_OF_PROBABILITY, np.full(len(weights), np.nan))
            if not _OF_PROBABILITY.issuperset(self.wanted):
                values |= self._of_counts(self.counts(weights))
            if self._losses is not None:
                losses, squares, total = self._losses.under(weights).T
                values |= {"log_loss": losses / total, "brier": squares / total}
                if self._calibration is not None:
                    gaps = np.abs(self._calibration.under(weights))
                    values["calibration_error"] = gaps.sum(axis=1) / total
            if self._curves:
                areas = [_areas(p.under(weights), n.under(weights)) for p, n in self._curves]
                values["roc_auc"] = _mean_defined(np.stack([a[0] for a in areas], axis=1))
                values["average_precision"] = _mean_defined(np.stack([a[1] for a in areas], axis=1))
            return {name: values[name] for name in self.wanted}

    def _of_counts(self, counts: Counts) -> dict[str, Floats]:
        values = {
            "accuracy": counts.hits.sum(axis=1) / counts.true.sum(axis=1),
            "balanced_accuracy": _mean_defined(counts.recall),
            "precision_macro": _mean_defined(counts.precision),
            "recall_macro": _mean_defined(counts.recall),
            "f1_macro": _mean_defined(counts.f1),
        }
        for name in ("precision", "recall", "f1"):
            of_class: Floats = getattr(counts, name)
            macro = values[f"{name}_macro"]
            values[name] = macro if self._positive is None else of_class[:, self._positive]
        return values


def _mean_defined(by_class: Floats) -> Floats:
    """Return the mean over the classes where the value is defined."""
    defined = np.isfinite(by_class)
    mean: Floats = np.where(defined, by_class, 0.0).sum(axis=1) / defined.sum(axis=1)
    return mean


def _areas(positives: Floats, negatives: Floats) -> tuple[Floats, Floats]:
    """Return ROC AUC and average precision from weighted rows by descending score."""
    # Ties count half in the ROC AUC (the trapezoid), and share one threshold in both.
    above = np.cumsum(positives, axis=1)
    n_positive, n_negative = above[:, -1], negatives.sum(axis=1)
    auc = np.einsum("ij,ij->i", negatives, above - positives / 2) / (n_positive * n_negative)
    flagged = above + np.cumsum(negatives, axis=1)
    precision = np.divide(above, flagged, out=np.zeros_like(above), where=flagged > 0)
    average = np.einsum("ij,ij->i", positives, precision) / n_positive
    return auc, np.where(n_negative > 0, average, np.nan)
