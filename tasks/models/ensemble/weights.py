"""Weights of the candidates in an ensemble, from all out-of-fold predictions.

Source: Caruana, Niculescu-Mizil, Crew and Ksikes (2004), Ensemble selection from libraries of
models: forward selection with replacement, started from the best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tasks.base.arrays import Floats, Ints, Mask
from tasks.base.errors import KeepfitError
from tasks.base.settings.evaluation import greater_is_better
from tasks.metrics.bootstrap import interval, resampling
from tasks.metrics.scorer import sampled, score
from tasks.models.out_of_fold import OutOfFold
from tasks.models.run_context import FitRun

Weights = dict[str, float]
ROUNDS = 20
REPLICATES = 400
CONFIDENCE = 0.95


def greedy_weights(loss: Any, parts: Mapping[str, Floats], best: str) -> Weights:
    """Return each member's share after adding, again and again, what lowers `loss` most.

    >>> truth = np.zeros(4)
    >>> parts = {"over": np.ones(4), "under": -np.ones(4)}
    >>> greedy_weights(lambda p: float(abs(p - truth).mean()), parts, "over")
    {'over': 0.5, 'under': 0.5}
    """
    counts = dict.fromkeys(parts, 0)
    counts[best] = 1
    total, lowest = parts[best].copy(), loss(parts[best])
    best_counts = dict(counts)
    for size in range(2, ROUNDS + 1):
        losses = {name: loss((total + one) / size) for name, one in parts.items()}
        name = min(losses, key=lambda n: losses[n])
        total = total + parts[name]
        counts[name] += 1
        if losses[name] < lowest - 1e-12 * abs(lowest):
            lowest, best_counts = losses[name], dict(counts)
        elif size > 2 * sum(best_counts.values()) + 2:
            break
    size = sum(best_counts.values())
    return {name: count / size for name, count in best_counts.items() if count}


def _values(held: OutOfFold) -> Floats:
    return held.predicted.astype(np.float64) if held.probability is None else held.probability


def _mixed(held: Mapping[str, OutOfFold], weights: Weights, rows: Ints) -> Floats:
    return np.asarray(sum(w * _values(held[name])[rows] for name, w in weights.items()))


def weigh(
    run: FitRun, held: Mapping[str, OutOfFold], best: str, rows: Ints | None = None
) -> Weights:
    """Return the weights that suit `rows` of the out-of-fold predictions; all of them if None."""
    chosen = np.arange(len(held[best])) if rows is None else rows
    classes, sign = run.schema.classes, -1.0 if greater_is_better(run.metric) else 1.0
    labels = np.asarray(classes)
    y = labels[held[best].truth(classes)[chosen]] if classes else held[best].y[chosen]

    def loss(values: Floats) -> float:
        try:
            if not classes:
                return sign * score(run.metric, y, values, None, (), None, own=run.schema.own)
            likeliest = labels[values.argmax(axis=1)]
            given = (y, likeliest, values, classes, run.schema.positive)
            value = score(run.metric, *given, own=run.schema.own)
        except (KeepfitError, ValueError):
            return float("inf")
        return sign * value if np.isfinite(value) else float("inf")

    parts = {name: _values(one)[chosen] for name, one in held.items()}
    alone = {name: loss(values) for name, values in parts.items()}
    start = min(alone, key=lambda n: alone[n]) if rows is not None else best
    return greedy_weights(loss, parts, start)


def cross_blended(run: FitRun, held: Mapping[str, OutOfFold], best: str) -> tuple[OutOfFold, Mask]:
    """Return each part mixed by weights of other parts, and which rows have such weights."""
    # The others, the oldest where rows lie in time, are mixed evenly.
    first = held[best]
    values = _mixed(held, dict.fromkeys(held, 1 / len(held)), np.arange(len(first)))
    for inside, others in first.turns():
        if len(others):
            values[inside] = _mixed(held, weigh(run, held, best, others), inside)
    judged = first.judged()
    if first.probability is None:
        return replace(first, predicted=values), judged
    return replace(first, probability=values), judged


def gained_by(
    run: FitRun, mixed: OutOfFold, single: OutOfFold, judged: Mask
) -> tuple[float, float, float]:
    """Return by how much the mixture is better than the single candidate, and its interval."""
    rows = np.flatnonzero(judged)
    blocks = mixed.only(rows).together()
    classes = run.schema.classes
    plan = resampling(len(rows), blocks, REPLICATES, run.training.seed, curves=max(1, len(classes)))
    labels = np.asarray(classes)
    y = labels[mixed.truth(classes)[rows]] if classes else mixed.y[rows]

    def scored(held: OutOfFold) -> tuple[float, Floats]:
        if held.probability is None:
            return sampled(run.metric, y, held.predicted[rows], None, run.schema, plan)
        chances = held.probability[rows]
        likeliest = labels[chances.argmax(axis=1)]
        return sampled(run.metric, y, likeliest, chances, run.schema, plan)

    sign = 1.0 if greater_is_better(run.metric) else -1.0
    ours, theirs = scored(mixed), scored(single)
    ends = interval(sign * (ours[1] - theirs[1]), CONFIDENCE, plan.n_units)
    low, high = ends if ends is not None else (float("-inf"), float("inf"))
    return sign * (ours[0] - theirs[0]), low, high
