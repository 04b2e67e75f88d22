"""Partial dependence: the prediction by one column while the others stay as they are.

Source: Friedman (2001), Greedy function approximation, section 8.2: partial dependence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.base.arrays import Floats, subsample_evenly
from tasks.base.runtime.libraries import pd
from tasks.evaluation.explanation.shap_values import Outputs

_GRID = 12
_DEPENDENCE_ROWS = 300
_LEVELS = 8


@dataclass(frozen=True)
class Dependence:
    """Mean output where one column is set to each of some values."""

    column: str
    x: Floats  # values, or places of `labels` where the column is no number
    y: Floats
    labels: tuple[str, ...] | None = None


def dependence(outputs: Outputs, X: pd.DataFrame, columns: Sequence[str]) -> list[Dependence]:
    """Return the partial dependence of each column, on at most 300 of the rows."""
    frame = X.iloc[subsample_evenly(len(X), _DEPENDENCE_ROWS)].reset_index(drop=True)
    found = []
    for column in columns:
        values, labels = _values(X[column])
        if len(values) < 2:
            continue
        every = pd.concat([_set(frame, column, value) for value in values], ignore_index=True)
        means = outputs(every).reshape(len(values), -1).mean(axis=1)
        numeric = labels is None
        x = np.asarray(values, np.float64) if numeric else np.arange(len(values), dtype=np.float64)
        if np.isfinite(means).all():
            found.append(Dependence(column, x, np.asarray(means), labels))
    return found


def _values(column: pd.Series[Any]) -> tuple[list[Any], tuple[str, ...] | None]:
    """Return values to set a column to: quantiles of numbers, the commonest of others."""
    there = column.dropna()
    if column.dtype.kind in "iuf":
        grid = there.quantile(np.linspace(0.02, 0.98, _GRID), interpolation="nearest")
        values = sorted(v for v in set(grid.tolist()) if np.isfinite(v))
        return values, None
    if column.dtype.kind == "M":
        return [], None
    commonest = there.value_counts().index[:_LEVELS].tolist()
    values = sorted(commonest, key=str)
    if pd.api.types.is_bool_dtype(column.dtype):
        values = [bool(v) for v in values]
    return values, tuple(str(v) for v in values)


def _set(frame: pd.DataFrame, column: str, value: Any) -> pd.DataFrame:
    kind = frame[column].dtype
    return frame.assign(**{column: pd.Series([value] * len(frame), index=frame.index).astype(kind)})
