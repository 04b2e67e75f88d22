"""Impurity or coefficient importance of a fitted model, summed by source column."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.base.arrays import Floats, Matrix

SAMPLE_ROWS = 20_000


def importance_of(model: Any, sources: list[str], X: Matrix) -> dict[str, float]:
    """Return the share of each source column, greatest first; empty where a model has none.

    Trees measure the loss that their splits on a column saved, linear models the size of a
    coefficient times the deviation of its column. `sources` names the source of each column of `X`.
    """
    worth = _worth(model, X)
    if worth is None or not np.isfinite(worth).all() or worth.sum() <= 0:
        return {}
    shares: dict[str, float] = {}
    for source, share in zip(sources, (worth / worth.sum()).tolist(), strict=True):
        shares[source] = shares.get(source, 0.0) + share
    return dict(sorted(shares.items(), key=lambda one: -one[1]))


def _worth(model: Any, X: Matrix) -> Floats | None:
    if hasattr(model, "booster_"):
        gains = model.booster_.feature_importance(importance_type="gain")
        return np.asarray(gains, dtype=np.float64)
    if hasattr(model, "coef_"):
        size = np.abs(np.atleast_2d(model.coef_)).sum(axis=0)
        sample = X[:: max(1, len(X) // SAMPLE_ROWS)]
        return np.asarray(size * np.asarray(sample, dtype=np.float64).std(axis=0))
    if hasattr(model, "feature_importances_"):
        return np.asarray(model.feature_importances_, dtype=np.float64)
    return None
