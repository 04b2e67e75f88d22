"""Rows on which the model is weaker, found on one half of the holdout and confirmed on the other.

A shallow tree is fitted to the loss of one half's rows; its nodes are the slices. The other half,
not used for the choice, tests whether the loss is really higher there, corrected for the number of
slices.

Sources: Chung and others (2019), Slice finder: automated data slicing for model validation, ICDE.
Athey and Imbens (2016), Recursive partitioning for heterogeneous causal effects, PNAS 113: one half
chooses, the other estimates. Holm (1979), A simple sequentially rejective multiple test procedure.
Welch (1947), the t test of unequal variances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.base.arrays import Floats, Ints, Mask, Matrix, subsample_evenly
from tasks.base.runtime.libraries import pd, scipy, sklearn
from tasks.base.text.numbers import number
from tasks.base.training_records import Kind
from tasks.data.snapshots import read_frame
from tasks.evaluation.diagnosis.context import Case
from tasks.evaluation.diagnosis.slices.slice_rules import Coded, Step, coded_columns, in_words
from tasks.evaluation.findings import WeakSlice
from tasks.metrics.losses import expected_losses

LEAST_ROWS = 200
MOST_ROWS = 20_000
_DEPTH = 3
_MOST_SLICES = 5
_CHOOSING = 0.05
_LARGEST = 0.5
"""Share of the rows; of more it is the others that are easy."""
_WORSE = 1.1


@dataclass(frozen=True)
class Slice:
    """A confirmed slice; `inside` are its rows among all that were given."""

    where: str
    inside: Mask
    loss: float
    rest: float
    p_value: float
    surprise: bool


def weak_slices(
    X: pd.DataFrame,
    losses: Floats,
    kinds: dict[str, Kind],
    *,
    expected: Floats | None = None,
    blocks: Ints | None = None,
    seed: int = 0,
    level: float = 0.05,
) -> tuple[Slice, ...]:
    """Return the slices in which the loss is higher beyond doubt, the greatest excess first."""
    # `expected` is the loss that the model's own probabilities expect. Of rows that lie in time a
    # block stays in one half, and the test counts `blocks`, not rows. `level` bounds the chance of
    # any slice where there is none.
    if len(X) < LEAST_ROWS or not X.shape[1] or not np.isfinite(losses).all():
        return ()
    rng = np.random.default_rng(seed)
    chooses = _half(len(X), blocks, rng)
    if min(chooses.sum(), (~chooses).sum()) < LEAST_ROWS // 4:
        return ()
    coded, names = coded_columns(X, losses, kinds, chooses)
    capped = np.minimum(losses, np.quantile(losses[chooses], 0.99))
    leaf = max(25, int(0.03 * chooses.sum()))
    leaves = _leaves(coded, names, capped, chooses, leaf, seed)
    return _confirmed(leaves, losses, expected, ~chooses, blocks, level)


def _half(rows: int, blocks: Ints | None, rng: np.random.Generator) -> Mask:
    if blocks is None:
        return np.asarray(rng.permutation(rows) % 2 == 0)
    found, place = np.unique(blocks, return_inverse=True)
    return np.asarray((rng.permutation(len(found)) % 2 == 0)[place.ravel()])


def _leaves(
    coded: Matrix, rules: Sequence[Coded], losses: Floats, chooses: Mask, leaf: int, seed: int
) -> list[tuple[str, Mask]]:
    """Return the nodes whose loss is highest, in words, and which rows lie in them."""
    if not rules:
        return []
    tree = sklearn.tree.DecisionTreeRegressor(
        max_depth=_DEPTH, min_samples_leaf=leaf, random_state=seed
    )
    tree.fit(coded[chooses], losses[chooses])
    if tree.tree_.node_count == 1:
        return []
    through = tree.decision_path(coded).toarray().astype(bool)
    paths = _paths(tree.tree_)
    ranked = sorted(
        (_p_value(losses, through[:, n] & chooses, ~through[:, n] & chooses, None), n)
        for n in paths
        if through[chooses, n].mean() <= _LARGEST
    )
    # Of a node and those below it, the one that stands out most; no row is reported twice.
    taken: list[int] = []
    for p, node in ranked:
        apart = all(not (through[:, node] & through[:, other]).any() for other in taken)
        if p < _CHOOSING and apart and len(taken) < _MOST_SLICES:
            taken.append(node)
    return [(in_words(paths[node], rules, coded), np.asarray(through[:, node])) for node in taken]


def _paths(tree: Any) -> dict[int, tuple[Step, ...]]:
    """Return the steps to each node: column, threshold, whether left, whether nulls go along."""
    found: dict[int, tuple[Step, ...]] = {}
    waiting: list[tuple[int, tuple[Step, ...]]] = [(0, ())]
    while waiting:
        node, path = waiting.pop()
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        found[node] = path
        if left == right:
            continue
        column, edge = int(tree.feature[node]), float(tree.threshold[node])
        nulls_left = bool(tree.missing_go_to_left[node])
        waiting.append((left, (*path, (column, edge, True, nulls_left))))
        waiting.append((right, (*path, (column, edge, False, not nulls_left))))
    return found


def _confirmed(
    leaves: Sequence[tuple[str, Mask]],
    losses: Floats,
    expected: Floats | None,
    judges: Mask,
    blocks: Ints | None,
    level: float,
) -> tuple[Slice, ...]:
    tried = []
    for where, inside in leaves:
        p = _p_value(losses, inside & judges, ~inside & judges, blocks)
        tried.append((p, where, inside))
    tried.sort(key=lambda one: one[0])
    found: list[Slice] = []
    largest = 0.0
    for place, (p, where, inside) in enumerate(tried):
        largest = max(largest, min(1.0, p * (len(tried) - place)))
        if largest > level:
            break
        ours, rest = losses[inside & judges], losses[~inside & judges]
        if ours.mean() < _WORSE * rest.mean():
            continue
        surprise = False
        if expected is not None:
            excess = losses - expected
            doubt = _p_value(excess, inside & judges, None, blocks)
            surprise = doubt * len(tried) <= level
        found.append(
            Slice(where, inside, float(ours.mean()), float(rest.mean()), largest, surprise)
        )
    return tuple(sorted(found, key=lambda s: -(s.loss - s.rest) * s.inside.sum()))


def _p_value(losses: Floats, inside: Mask, outside: Mask | None, blocks: Ints | None) -> float:
    """Return the one-sided p-value that the mean inside is above the one outside, or above 0."""
    mean, error, units = _mean_and_error(losses, inside, blocks)
    other = (0.0, 0.0, 10**9)
    if outside is not None:
        other = _mean_and_error(losses, outside, blocks)
    if units < 5 or other[2] < 5:
        return 1.0
    spread = float(np.hypot(error, other[1]))
    if spread <= 0 or not np.isfinite(spread):
        return 1.0
    z = (mean - other[0]) / spread
    return float(scipy.stats.t.sf(z, units - 1)) if units < 200 else float(scipy.stats.norm.sf(z))


def _mean_and_error(losses: Floats, rows: Mask, blocks: Ints | None) -> tuple[float, float, int]:
    """Return mean, its standard error and the independent units; a ratio over blocks of time."""
    values = losses[rows]
    if len(values) < 5:
        return 0.0, 0.0, 0
    mean = float(values.mean())
    if blocks is None:
        return mean, float(values.std(ddof=1) / np.sqrt(len(values))), len(values)
    _, place = np.unique(blocks[rows], return_inverse=True)
    sums = np.bincount(place.ravel(), weights=values - mean)
    n = len(sums)
    if n < 2:
        return mean, 0.0, 0
    return mean, float(np.sqrt(n / (n - 1) * (sums**2).sum()) / len(values)), n


_LEAST_UNITS = 10
"""Of groups or blocks of time: each half is tested on five at least."""


def told_slices(case: Case) -> tuple[tuple[WeakSlice, ...], str]:
    """Return the slices on which the challenger is weaker, and a sentence."""
    rows = np.load(case.basis.split.holdout_path)
    chosen = subsample_evenly(len(rows), MOST_ROWS)
    names = list(case.schema.features)
    X = read_frame(case.basis.snapshot.path, columns=names, rows=rows[chosen])
    expected = expected_losses(case.model.probability)
    found = weak_slices(
        X,
        case.losses[chosen],
        case.schema.features,
        expected=None if expected is None else expected[chosen],
        blocks=None if case.blocks is None else case.blocks[chosen],
        seed=case.seed,
    )
    slices = tuple(
        WeakSlice(
            where=s.where,
            rows=int(s.inside.sum() * len(rows) / len(chosen)),
            share=float(s.inside.mean()),
            loss=s.loss,
            rest=s.rest,
            score=case.score_of(chosen[s.inside]),
            p_value=s.p_value,
            surprise=s.surprise,
        )
        for s in found
    )
    return slices, _sentence(case, slices, len(chosen))


def _sentence(case: Case, slices: Sequence[WeakSlice], rows: int) -> str:
    if rows < LEAST_ROWS:
        return f"{rows} holdout rows are too few to look for weak slices."
    if case.blocks is not None and (units := len(np.unique(case.blocks))) < _LEAST_UNITS:
        return f"{units} groups of holdout rows are too few to look for weak slices."
    if not slices:
        return "No part of the rows is shown to be predicted worse than the others."
    first = slices[0]
    knows = (
        " Its probabilities are overconfident there."
        if first.surprise
        else " Its probabilities reflect that."
        if case.model.probability is not None
        else ""
    )
    score = "" if first.score is None else f" ({case.metric} {number(first.score)} there)"
    loss = f"{number(first.loss)} against 0"
    if first.rest > 0:
        loss = f"{first.loss / first.rest:.1f} times as high as"
    return (
        f"It is weakest where {first.where}: {first.rows:,} rows ({first.share:.0%}), loss {loss} "
        f"elsewhere{score}.{knows}"
    )
