"""Regression metrics under row weights; names and values are scikit-learn's."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tasks.base.arrays import Floats
from tasks.metrics.bootstrap import Groups, Plan, Sums, ranked

NAMES = ("mse", "rmse", "mae", "median_ae", "r2", "mape")


class ValueScores:
    """Truth and predictions, (rows,), ready to be scored; undefined where one is not finite."""

    def __init__(
        self, truth: Floats, predicted: Floats, plan: Plan, wanted: Collection[str] = NAMES
    ) -> None:
        self.wanted = tuple(wanted)
        self.plan = plan
        with np.errstate(all="ignore"):
            error = predicted - truth
            absolute = np.abs(error)
            # About the mean, so that r2 survives a target far from zero.
            centred = truth - (truth.mean() if len(truth) else 0.0)
            share = absolute / np.abs(truth) if np.all(truth != 0) else np.full_like(truth, np.nan)
            columns = [np.ones_like(truth), error**2, absolute, share, centred, centred**2]
            self._sums = Sums(np.column_stack(columns), plan)
        self._median: Groups | None = None
        if "median_ae" in self.wanted and len(truth) and np.isfinite(absolute).all():
            groups, self._sizes = ranked(absolute, plan.bins)
            self._median = Groups(groups, len(self._sizes), plan)

    @property
    def width(self) -> int:
        """The widest table of sums, in columns."""
        return self._median.width if self._median is not None else self._sums.width

    def under(self, weights: Floats) -> dict[str, Floats]:
        """Return each wanted metric, shape (replicates,); not a number where undefined."""
        with np.errstate(all="ignore"):
            n, squares, absolute, share, centred, spread = self._sums.under(weights).T
            about_mean = spread - centred**2 / n
            values = {
                "mse": squares / n,
                "rmse": np.sqrt(squares / n),
                "mae": absolute / n,
                "median_ae": self._medians(weights),
                # Of one value repeated only rounding is left, whatever the unit.
                "r2": np.where(about_mean > 1e-12 * spread, 1 - squares / about_mean, np.nan),
                "mape": share / n,
            }
            return {name: values[name] for name in self.wanted}

    def _medians(self, weights: Floats) -> Floats:
        """Return the weighted median of the absolute error, midway where two share it."""
        if self._median is None:
            return np.full(len(weights), np.nan)
        below = np.cumsum(self._median.under(weights), axis=1)
        half = below[:, -1:] / 2
        last = below.shape[1] - 1
        lower = np.minimum((below < half).sum(axis=1), last)
        upper = np.minimum((below <= half).sum(axis=1), last)
        middle: Floats = (self._sizes[lower] + self._sizes[upper]) / 2
        return middle
