"""Splitters: positions of training and validation rows, reproducible by seed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import Array, Floats, Mask, subsample_evenly

Positions = NDArray[np.int64]

VALIDATION_SHARE = 0.2
"""Share of the training rows that validate where there is one validation part."""
INNER_SHARE = 0.1
INNER_ROWS = 200_000


@dataclass(frozen=True)
class Fold:
    """Positions among the training rows: those fitted on, and those that validate."""

    train: Positions
    valid: Positions


def make_folds(
    y: Array,
    folds: int,
    *,
    ordered: bool,
    classification: bool,
    seed: int,
    groups: Positions | None = None,
    queries: Positions | None = None,
) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
    """Return folds over the rows of `y`, and notes about them."""
    # Rows in time order are validated forward in time: each part of their newer half by a model of
    # all rows before it. Other rows are shuffled, and for classification stratified; rows of one of
    # `groups` are in one fold. 0 or 1 `folds` mean one validation part, a fifth of the rows (the
    # newest, if `ordered`). No run of rows of one of `queries`, the groups of a ranking, is cut,
    # and rows in time order may validate what earlier rows of the same one taught.
    if groups is not None and not ordered and folds > 1:
        return grouped_folds(y, folds, classification=classification, seed=seed, groups=groups)
    notes: list[str] = []
    if folds > 1 and len(y) < 2 * (folds + ordered):
        notes.append(f"{len(y)} training rows: one validation part instead of {folds} folds")
        folds = 1
    if folds > 1 and classification and not ordered:
        fewest = int(np.unique(y, return_counts=True)[1].min())
        if fewest < folds:
            fitting = max(2, fewest)
            if fitting < folds:
                notes.append(
                    f"{fitting} folds instead of {folds}: "
                    f"the smallest class has {fewest} training rows"
                )
                folds = fitting
    if queries is not None:
        return folds_of_groups(queries, folds, ordered=ordered, seed=seed), tuple(notes)
    if folds <= 1:
        how = {"ordered": ordered, "classification": classification}
        made: tuple[Fold, ...] = (inner_part(y, VALIDATION_SHARE, **how, seed=seed, groups=groups),)
    elif ordered:
        made = _forward(_edges(len(y), folds))
    else:
        made = _shuffled(y, folds, classification, seed)
    return made, tuple(notes)


def grouped_folds(
    y: Array, folds: int, *, classification: bool, seed: int, groups: Positions
) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
    """Return folds that keep `groups` whole, and notes about them."""
    # Group by group, the largest first, goes to the fold that has least of its classes. There are
    # no more folds than groups of the class that has fewest, but two at least.
    notes: list[str] = []
    labels = np.unique(y, return_inverse=True)[1].ravel() if classification else None
    codes = np.unique(groups, return_inverse=True)[1].ravel()
    table = _class_counts(codes, labels)
    fewest = int((table > 0).sum(axis=0).min())
    if len(table) < 2:
        part = inner_part(
            y, VALIDATION_SHARE, ordered=False, classification=classification, seed=seed
        )
        return (part,), ("one group in the training rows: its rows validate each other",)
    if fewest < folds:
        notes.append(
            f"{max(2, fewest)} folds instead of {folds}: "
            f"{'the rarest class is' if classification else 'rows are'} of {fewest} groups"
        )
        folds = max(2, fewest)
    return _apart(_dealt(table, folds, seed)[codes], folds), tuple(notes)


def _class_counts(codes: Positions, labels: Positions | None) -> Floats:
    """Return the rows of each group (in rows) and class (in columns)."""
    if labels is None:
        return np.bincount(codes).astype(np.float64)[:, None]
    shape = int(codes.max()) + 1, int(labels.max()) + 1
    counts = np.bincount(codes * shape[1] + labels, minlength=shape[0] * shape[1])
    return counts.reshape(shape).astype(np.float64)


def _dealt(table: Floats, folds: int, seed: int) -> Positions:
    """Return the fold of each group, so that folds have about as many rows of each class."""
    order = np.random.default_rng(seed).permutation(len(table))
    order = order[np.argsort(-table[order].sum(axis=1), kind="stable")]
    weights = 1.0 / table.sum(axis=0) ** 2
    held = np.zeros((folds, table.shape[1]))
    place = np.empty(len(table), dtype=np.int64)
    for group in order:
        fold = int(np.lexsort((held.sum(axis=1), held @ (table[group] * weights)))[0])
        held[fold] += table[group]
        place[group] = fold
    return place


def _forward(edges: Sequence[int]) -> tuple[Fold, ...]:
    rows = np.arange(edges[-1], dtype=np.int64)
    return tuple(Fold(rows[:first], rows[first:last]) for first, last in itertools.pairwise(edges))


def _apart(place: Positions, folds: int) -> tuple[Fold, ...]:
    return tuple(
        Fold(np.flatnonzero(place != fold), np.flatnonzero(place == fold)) for fold in range(folds)
    )


def _edges(rows: int, folds: int) -> list[int]:
    """Return where the parts of rows in time begin and end, from half of the rows on."""
    # A model of the first sixth of a history is another one than that which is to be judged.
    least = rows - rows // 2
    return [least + (rows - least) * part // folds for part in range(folds + 1)]


def _shuffled(y: Array, folds: int, classification: bool, seed: int) -> tuple[Fold, ...]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    if classification:
        # Dealt out class by class, so that every fold has its share of each.
        order = order[np.argsort(np.unique(y, return_inverse=True)[1][order], kind="stable")]
    place = np.empty(len(y), dtype=np.int64)
    place[order] = np.arange(len(y)) % folds
    return _apart(place, folds)


def folds_of_groups(groups: Positions, folds: int, *, ordered: bool, seed: int) -> tuple[Fold, ...]:
    """Return folds that no run of rows of one group is cut by."""
    if folds <= 1:
        return (part_of_groups(groups, VALIDATION_SHARE, ordered=ordered, seed=seed),)
    if not ordered:
        _, code = np.unique(groups, return_inverse=True)
        place = np.random.default_rng(seed).permutation(int(code.max()) + 1)[code.ravel()] % folds
        return _apart(place, folds)
    made = _forward([_uncut(groups, edge) for edge in _edges(len(groups), folds)])
    return tuple(fold for fold in made if len(fold.train) and len(fold.valid))


def part_of_groups(groups: Positions, share: float, *, ordered: bool, seed: int) -> Fold:
    """Set about `share` of the rows aside: the newest ones, or else whole groups by chance."""
    rows = len(groups)
    if ordered:
        edge = _uncut(groups, rows - max(1, round(share * rows)))
        held = np.arange(rows) >= edge
    else:
        _, code, counts = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.random.default_rng(seed).permutation(len(counts))
        enough = int(np.searchsorted(np.cumsum(counts[order]), share * rows)) + 1
        held = np.isin(code.ravel(), order[:enough])
    return Fold(np.flatnonzero(~held), np.flatnonzero(held))


def _uncut(groups: Positions, edge: int) -> int:
    """Return the start of the run of one group that a cut before the row `edge` would cut."""
    while 0 < edge < len(groups) and groups[edge - 1] == groups[edge]:
        edge -= 1
    return edge


def inner_part(
    y: Array,
    share: float,
    *,
    ordered: bool,
    classification: bool,
    seed: int,
    groups: Positions | None = None,
) -> Fold:
    """Set `share` of the rows aside to validate: the newest ones, if `ordered`."""
    # A class is never set aside whole: a model can only be judged on classes it has seen. Rows of
    # one of `groups` stay on one side, unless rows are `ordered` or there is one group only.
    rows = len(y)
    if groups is not None and not ordered and len(np.unique(groups)) > 1:
        return _grouped_part(y, share, classification, seed, groups)
    held = np.zeros(rows, dtype=bool)
    wanted = min(max(1, round(share * rows)), rows - 1)
    if ordered:
        held[rows - wanted :] = True
    elif classification:
        rng = np.random.default_rng(seed)
        order = rng.permutation(rows)
        codes = np.unique(y, return_inverse=True)[1]
        order = order[np.argsort(codes[order], kind="stable")]
        # Every k-th of the rows in class order, counted from the middle of the first step.
        held[order[subsample_evenly(rows, wanted)]] = True
    else:
        held[np.random.default_rng(seed).permutation(rows)[:wanted]] = True
    if classification:
        codes = np.unique(y, return_inverse=True)[1]
        seen = np.bincount(codes[~held], minlength=int(codes.max(initial=0)) + 1) > 0
        held &= seen[codes]
    return Fold(np.flatnonzero(~held), np.flatnonzero(held))


def _grouped_part(
    y: Array, share: float, classification: bool, seed: int, groups: Positions
) -> Fold:
    labels = np.unique(y, return_inverse=True)[1].ravel() if classification else None
    codes = np.unique(groups, return_inverse=True)[1].ravel()
    table = _class_counts(codes, labels)
    place = _dealt(table, max(2, min(round(1 / share), len(table))), seed)
    parts = (_spared(table, place == part) for part in range(int(place.max()), -1, -1))
    aside = next((part for part in parts if part.any()), _one_spared(table))
    held = aside[codes]
    if not held.any():
        return inner_part(y, share, ordered=False, classification=classification, seed=seed)
    return Fold(np.flatnonzero(~held), np.flatnonzero(held))


def _spared(table: Array, aside: Mask) -> Mask:
    """Return the groups set aside but for those of a class that is nowhere else, whole."""
    aside = aside.copy()
    while aside.any() and (lost := table[~aside].sum(axis=0) == 0).any():
        aside &= ~(table[:, lost] > 0).any(axis=1)
    return aside


def _one_spared(table: Array) -> Mask:
    """Return the first group all of whose classes are in others too; none where there is none."""
    has = table > 0
    needed = has[:, has.sum(axis=0) == 1].any(axis=1)
    chosen = np.zeros(len(table), dtype=bool)
    chosen[np.flatnonzero(~needed)[:1]] = True
    return chosen


def inner_share(rows: int) -> float:
    """Return the share of `rows` on which an iterative learner's early stopping is judged.

    >>> inner_share(100), inner_share(10_000), inner_share(10_000_000)
    (0.2, 0.1, 0.02)
    """
    if rows < 2_000:
        return VALIDATION_SHARE
    return min(INNER_SHARE, INNER_ROWS / rows)
