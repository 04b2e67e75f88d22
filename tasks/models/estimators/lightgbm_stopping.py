"""Boosting that ends where the loss on rows set aside no longer falls."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Ints
from tasks.base.runtime.libraries import lightgbm
from tasks.models.estimators.fit_context import Course, FitContext, FitResult

STOPPING_ROUNDS = 30
TRAINING, VALIDATION = "training", "validation"
"""Prefixes of the names of curves: on rows that are learnt from, and on rows set aside."""
USUAL_TRAVEL = 10.0
"""LightGBM's defaults: 100 rounds with a learning rate of 0.1."""


def watch(
    estimator: Any,
    own: tuple[Any, Any],
    parts: Sequence[tuple[Any, Any]],
    at: FitContext,
    **given: Any,
) -> FitResult:
    """Fit LightGBM for the usual rounds at least, until the loss on `parts` stops improving."""
    most = int(estimator.n_estimators)
    usual = min(most, int(np.ceil(USUAL_TRAVEL / estimator.learning_rate)))
    resting = _Resting(at.patience or STOPPING_ROUNDS, usual)
    _fit(estimator, own, parts, callbacks=[resting], **given)
    raw = curves_of(estimator, (TRAINING, *_part_names(len(parts))))
    losses = tuple(
        tuple(-v for v in curve) if resting.greater else curve
        for name, curve in raw.items()
        if name.startswith(VALIDATION)
    )
    curves = _pooled(raw, weighed=bool(at.class_weight))
    slim(estimator)

    def after(rounds: int) -> Any:
        estimator._Booster.best_iteration = rounds
        return estimator

    course = Course(losses, usual, most, after)
    return FitResult(estimator, resting.best, curves, course=course)


def fit_stopping(
    estimator: Any,
    own: tuple[Any, Any],
    held: tuple[Any, Any],
    at: FitContext,
    curves: Sequence[str],
    **given: Any,
) -> FitResult:
    """Fit until the loss on rows held aside rests; keep the iterations and these curves."""
    stop = lightgbm.early_stopping(at.patience or STOPPING_ROUNDS, verbose=False)
    _fit(estimator, own, [held], callbacks=[stop], **given)
    found = curves_of(estimator, curves)
    best = int(estimator.best_iteration_ or estimator.n_estimators_)
    return FitResult(slim(estimator), best, found)


def _fit(
    estimator: Any, own: tuple[Any, Any], held: Sequence[tuple[Any, Any]], **given: Any
) -> None:
    with warnings.catch_warnings():
        # What replaces `eval_set` in 4.7 is not there before, nor translates a classifier's labels.
        warnings.simplefilter("ignore", lightgbm.basic.LGBMDeprecationWarning)
        names = [TRAINING, *_part_names(len(held))]
        estimator.fit(*own, eval_set=[own, *held], eval_names=names, **given)


class _Resting:
    """Ends boosting once the mean loss on watched rows has not fallen for a while."""

    # LightGBM's own early stopping has no least number of rounds, and stops where one part rests.

    order = 30
    before_iteration = False

    def __init__(self, patience: int, least: int) -> None:
        self._patience, self._least = patience, least
        self._lowest = np.inf
        self.best = 1
        self.greater = False

    def __call__(self, env: Any) -> None:
        results = [r for r in env.evaluation_result_list if r[0].startswith(VALIDATION)]
        self.greater = bool(results[0][3])
        loss = float(np.mean([-r[2] if self.greater else r[2] for r in results]))
        done = env.iteration + 1
        if loss < self._lowest:
            self._lowest, self.best = loss, done
        elif done >= max(self._least, self.best + self._patience):
            raise lightgbm.callback.EarlyStopException(env.iteration, env.evaluation_result_list)


def _part_names(parts: int) -> list[str]:
    return [VALIDATION] if parts == 1 else [f"{VALIDATION}{place}" for place in range(parts)]


def _pooled(raw: dict[str, tuple[float, ...]], *, weighed: bool) -> dict[str, tuple[float, ...]]:
    """Return the curves with the parts' mean as one; `weighed`: without LightGBM's own rows."""
    # Where classes are weighed, LightGBM weighs its own rows and not those set aside.
    loss = next(iter(raw)).partition("_")[2]
    parts = [curve for name, curve in raw.items() if name.startswith(VALIDATION)]
    own = {} if weighed else {f"{TRAINING}_{loss}": raw[f"{TRAINING}_{loss}"]}
    return {**own, f"{VALIDATION}_{loss}": tuple(np.mean(parts, axis=0).tolist())}


def curves_of(estimator: Any, parts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Return LightGBM's metrics of `parts`, such as ``validation_l2``."""
    return {
        f"{part}_{name.replace('@', '_at_')}": tuple(float(v) for v in values)
        for part in parts
        for name, values in estimator.evals_result_[part].items()
    }


def slim(estimator: Any) -> Any:
    """Drop the record of the fit: skops would keep a file for each of its numbers."""
    estimator._evals_result = {}
    estimator._best_score = {}
    estimator._Booster.best_score = {}
    return estimator


def rows_at(X: Array, positions: Ints) -> Array:
    """Return rows of a matrix: a view where the positions follow one another, else a copy.

    >>> X = np.arange(8).reshape(4, 2)
    >>> rows_at(X, np.array([1, 2])).base is X.base, rows_at(X, np.array([0, 2])).base is X.base
    (True, False)
    """
    if len(positions) and bool((np.diff(positions) == 1).all()):
        return X[int(positions[0]) : int(positions[-1]) + 1]
    return X[positions]
