"""Permutation importance of the source columns.

Sources: Breiman (2001), Random forests, section 10. Fisher, Rudin and Dominici (2019), All models
are wrong, but many are useful, section 3: any model, any loss.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Floats, Ints
from tasks.base.runtime.libraries import pd
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.training_records import Schema
from tasks.metrics.bootstrap import interval, resampling
from tasks.metrics.ranking import RankingGroups
from tasks.metrics.scorer import sampled
from tasks.models.execution.time_budget import Budget

_PREDICTED = 60_000
_LEAST_ROWS = 300
_SECONDS = 20.0

Predict = Callable[["pd.DataFrame"], tuple[ArrayLike, Floats | None]]


@dataclass(frozen=True)
class ColumnImportance:
    """Loss of the metric when one column is shuffled; `low` and `high` are its interval."""

    column: str
    loss: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """Columns by loss, the greatest first."""

    metric: str
    rows: int  # of the holdout, that were used
    columns: tuple[ColumnImportance, ...]
    left_out: tuple[str, ...] = ()  # not tried: too many, or no time


def permutation_importance(
    predict: Predict,
    X: pd.DataFrame,
    y: ArrayLike,
    schema: Schema,
    metric: str,
    *,
    queries: RankingGroups | None = None,
    first: Sequence[str] = (),
    most_rows: int = 2_000,
    most_columns: int = 30,
    repeats: int = 3,
    budget: Budget | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> Importance | None:
    """Return the loss of the metric when each column is shuffled, with its interval, or None.

    Whole source columns are shuffled, before any encoding, those of `first` before others. The
    interval is a paired bootstrap over the rows, of the mean over `repeats` shuffles. Of `X`, rows
    that the model was not fitted on, at most `most_rows` are drawn, fewer for many columns, so that
    about 60,000 rows are predicted in all; of a ranking whole groups are drawn, and a column is
    shuffled over all of them. No further column is started once the `budget` (20 s by default) is
    used up: a bound for very slow models. It counts what the machine gave, as drift's limits depend
    on the result, which a busy hour must not change. There is none without rows, or where the
    metric is undefined on them.
    """
    if X.empty:
        return None
    budget = budget or Budget(_SECONDS)
    rng = np.random.default_rng(seed)
    columns = _ordered(list(X.columns), first)
    tried = columns[:most_columns]
    n_rows = min(len(X), most_rows, max(_LEAST_ROWS, _PREDICTED // (repeats * len(tried))))
    rows = np.sort(rng.choice(len(X), n_rows, replace=False))
    if queries is not None:
        rows = queries.sample(n_rows)
        queries, n_rows = queries.only(rows), len(rows)
    frame, truth = X.iloc[rows].reset_index(drop=True), np.asarray(y)[rows]
    plan = resampling(n_rows, None if queries is None else queries.groups, 100, seed)
    sign = 1 if greater_is_better(metric) else -1

    def scored(shuffled: list[pd.DataFrame]) -> list[tuple[float, Floats]]:
        predicted, probability = predict(pd.concat(shuffled, ignore_index=True))
        found = []
        for part in np.split(np.arange(n_rows * len(shuffled)), len(shuffled)):
            p = None if probability is None else probability[part]
            guess = np.asarray(predicted)[part]
            found.append(sampled(metric, truth, guess, p, schema, plan, queries))
        return [(sign * value, sign * replicates) for value, replicates in found]

    ((base, base_replicates),) = scored([frame])
    if not isfinite(base):
        return None
    found: list[ColumnImportance] = []
    for column in tried:
        budget.count([os.getpid()])
        if found and budget.over:
            break
        orders = [rng.permutation(n_rows) for _ in range(repeats)]
        runs = scored([_shuffled(frame, column, order) for order in orders])
        loss = base - float(np.mean([value for value, _ in runs]))
        losses = base_replicates - np.mean([replicates for _, replicates in runs], axis=0)
        ends = interval(losses, confidence, plan.n_units)
        if isfinite(loss) and ends is not None:
            found.append(ColumnImportance(column, loss, min(ends[0], loss), max(ends[1], loss)))
    known = {c.column for c in found}
    return Importance(
        metric,
        n_rows,
        tuple(sorted(found, key=lambda c: -c.loss)),
        tuple(c for c in columns if c not in known),
    )


def _ordered(columns: Sequence[str], first: Sequence[str]) -> list[str]:
    known = set(columns)
    ahead = [c for c in dict.fromkeys(first) if c in known]
    return [*ahead, *(c for c in columns if c not in set(ahead))]


def _shuffled(frame: pd.DataFrame, column: str, order: Ints) -> pd.DataFrame:
    """Return the frame with one column in another order; its kind of values stays the same."""
    values = frame[column].take(order).set_axis(frame.index)
    return frame.assign(**{column: values})
