"""Metric of each weak slice of the challenger, and a sentence about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.base.arrays import subsample_evenly
from tasks.base.text.numbers import number
from tasks.data.snapshots import read_frame
from tasks.evaluation.diagnosis.context import Case
from tasks.evaluation.diagnosis.slices.weak_slices import LEAST_ROWS, MOST_ROWS, weak_slices
from tasks.evaluation.findings import WeakSlice
from tasks.metrics.losses import expected_losses

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
    return (
        f"It is weakest where {first.where}: {first.rows:,} rows ({first.share:.0%}), loss "
        f"{first.loss / max(first.rest, 1e-12):.1f} times as high as elsewhere{score}.{knows}"
    )
