"""LightGBM as a ranker: rows of a group are ranked against each other, not predicted one by one.

Source: Burges (2010), From RankNet to LambdaRank to LambdaMART, MSR-TR-2010-82.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Ints, Matrix
from tasks.base.errors import EvidenceError
from tasks.base.runtime.libraries import lightgbm
from tasks.metrics.ranking import CUT, RankingGroups
from tasks.models.estimators.fit_context import FitContext, FitResult, Params
from tasks.models.estimators.lightgbm_stopping import (
    TRAINING,
    VALIDATION,
    fit_stopping,
    slim,
    watch,
)
from tasks.models.splitters import inner_share, part_of_groups

RANKER = "lightgbm"
"""The candidate that learns to rank; the others predict each row's grade."""


def ranker(common: Mapping[str, Any], at: FitContext, params: Params) -> Any:
    """Return an unfitted lambdarank whose gain is the grade, as in the metric."""
    # Its trees are smaller than a regressor's where they are not tuned: pairs from short lists are
    # noisy.
    own = {"num_leaves": 8, "min_child_samples": int(np.clip(at.rows / 200, 5, 100))}
    smaller = {name: value for name, value in own.items() if name not in params}
    grades = 2 if at.queries is None else len(at.queries.grades)
    return lightgbm.LGBMRanker(
        objective="lambdarank", label_gain=list(range(grades)), **{**common, **smaller}
    )


def fit_ranker(estimator: Any, X: Matrix, y: Array, at: FitContext) -> FitResult:
    """Fit on values of the target, stopping early by the NDCG of groups set aside."""
    queries = at.queries
    if queries is None:
        raise EvidenceError("a ranker needs the groups of its rows.")
    given: dict[str, Any] = {"categorical_feature": list(range(at.categorical))}
    if at.iterations is not None:
        rows, sizes = in_groups(queries)
        estimator.fit(X[rows], queries.grade(y)[rows], group=sizes, **given)
        return FitResult(slim(estimator), at.iterations)
    if at.watched is not None:
        return _fit_watched(estimator, X, queries.grade(y), at, **given)
    part = part_of_groups(queries.groups, inner_share(len(y)), ordered=at.ordered, seed=at.seed)
    rows, sizes = in_groups(queries, part.train)
    held, held_sizes = in_groups(queries, part.valid)
    grade = queries.grade(y)
    given |= {"group": sizes, "eval_group": [sizes, held_sizes], "eval_at": (CUT,)}
    own, aside = ((X[chosen], grade[chosen]) for chosen in (rows, held))
    return fit_stopping(estimator, own, aside, at, (TRAINING, VALIDATION), **given)


def _fit_watched(
    estimator: Any, X: Matrix, grade: Array, at: FitContext, **given: Any
) -> FitResult:
    watched, queries = at.watched, at.queries
    if watched is None or queries is None or watched.queries is None:
        raise EvidenceError("a ranker needs the groups of its rows.")
    rows, sizes = in_groups(queries)
    held, held_sizes = in_groups(watched.queries)
    theirs = watched.queries.grade(watched.y)
    return watch(
        estimator,
        (X[rows], grade[rows]),
        [(watched.X[held], theirs[held])],
        at,
        group=sizes,
        eval_group=[sizes, held_sizes],
        eval_at=(CUT,),
        **given,
    )


def in_groups(queries: RankingGroups, rows: Ints | None = None) -> tuple[Ints, Ints]:
    """Return rows with those of a group side by side, and the size of each group.

    >>> in_groups(RankingGroups(np.array([4, 9, 4]), (0.0, 1.0), 1))
    (array([0, 2, 1]), array([2, 1]))
    """
    chosen = np.arange(len(queries), dtype=np.int64) if rows is None else rows
    order = np.argsort(queries.groups[chosen], kind="stable")
    _, sizes = np.unique(queries.groups[chosen], return_counts=True)
    return chosen[order], sizes.astype(np.int64)
