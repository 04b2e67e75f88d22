"""Could the window hurt: each measure of harm against its limit.

A limit is what one more ordinary block of the reference would hardly exceed, but never below an
effect that is of account and never above one that matters whatever the history: a reference that
drifts itself is no reason for silence. Without a history the limit is the effect of account. Each
measure has a test beside it, at a share of the false alarms, so that chance alone is none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.base.monitoring_records import HarmFinding, HarmMeasure
from tasks.base.runtime.libraries import scipy
from tasks.base.training_records import Kind
from tasks.monitoring.drift.compared_rows import Side
from tasks.monitoring.drift.harm.domain_classifier import separate
from tasks.monitoring.drift.harm.impact import (
    Predict,
    bounds_of,
    effects_of,
    movement,
    outside_rows,
    upper_limit,
)
from tasks.monitoring.drift.harm.ordinary_blocks import OrdinaryBlocks
from tasks.monitoring.drift.reference_summary import Cells, Reference, cells_of
from tasks.monitoring.drift.seasons import Season, season_of

_MOST_NAMED = 5
_MOST_EFFECTS = 12
_LEAST_PAST = 20


class _Effect(NamedTuple):
    """The smallest effect of account, and one that matters whatever the history."""

    least: float
    matters: float


EFFECTS: dict[HarmMeasure, _Effect] = {
    "outside": _Effect(0.05, 0.2),
    "unseen": _Effect(0.05, 0.2),
    "sparse": _Effect(0.05, 0.6),
    "predictions": _Effect(0.15, 0.35),
    "joint": _Effect(0.6, 1.0),
    "columns": _Effect(0.2, 0.2),
}
"""Shares of rows; standard deviations of the predictions; area under the ROC curve."""


@dataclass(frozen=True)
class Evidence:
    """Input of the measures of harm, beside the summary of the reference."""

    sample: Side  # rows of the training, evenly spread over it, with all that a prediction needs
    times: NDArray[np.datetime64] | None = None  # of the window's rows in UTC, shape (n_rows,)
    predict: Predict | None = None  # rows to scores, as the predictions compared; None: no model
    # The same measures in blocks of the reference.
    blocks: OrdinaryBlocks = field(default_factory=OrdinaryBlocks)


@dataclass(frozen=True)
class Predictions:
    """Scores of the window's rows, and of training rows by models that had not seen them."""

    window: NDArray[np.generic]
    reference: NDArray[np.generic]
    times: NDArray[np.datetime64] | None
    p_value: float  # of the test that both are drawn alike
    begins: np.datetime64 | None = None  # start of the window, for its season, if known


def harm_of(
    reference: Reference,
    window: Side,
    evidence: Evidence,
    watched: Mapping[str, float],
    *,
    false_alarms: float,
) -> list[HarmFinding]:
    """Return the measures of harm of a window's rows; `watched` columns are those with weights."""
    level = false_alarms / len(EFFECTS)
    features = {n: reference.columns[n].kind for n in watched}
    bounds = {n: bounds_of(reference.columns[n]) for n in watched}
    share, columns = outside_rows(window.frame, bounds)
    # A row whose level stands in no other would be outside if it came later (Good 1953).
    alone = {n: bounds_of(reference.columns[n], fewest=2) for n in watched}
    theirs, _ = outside_rows(evidence.sample.frame, alone)
    sizes = len(window.frame), len(evidence.sample.frame)
    found = [
        _finding(
            "outside", share, evidence.blocks.outside, level, usual=theirs,
            p_value=_more(share, theirs, sizes),
            columns=sorted((n for n in columns if columns[n] > 0.01), key=lambda n: -columns[n]),
        )
    ]  # fmt: skip
    apart = separate(evidence.sample, window, features, watched)
    if apart is not None:
        named = list(apart.columns)
        found += [
            _finding("sparse", apart.sparse, evidence.blocks.sparse, level, apart.p_value, named),
            _finding("joint", apart.auc, evidence.blocks.auc, level, apart.p_value, named),
        ]
    return found


def moved_predictions(found: Predictions, length: float, *, false_alarms: float) -> HarmFinding:
    """Return the distance of predictions from the reference's; `length` of a window in seconds."""
    season, cells = _season(found, length)
    alike = np.ones(len(found.reference), dtype=bool)
    if season is not None and cells.of_row is not None and found.begins is not None:
        at = (found.begins - np.datetime64(0, "us")) / np.timedelta64(1, "s") - (cells.start or 0)
        inside = season.alike(cells.n, round(float(at) * cells.per_block / length), cells.per_block)
        alike = inside[cells.of_row] & (cells.of_row >= 0)
        if alike.sum() < _LEAST_PAST:
            season, alike = None, np.ones(len(found.reference), dtype=bool)
    value = movement(found.window, found.reference[alike])
    past = _past_movements(found, cells, season)
    return _finding("predictions", value, past, false_alarms / len(EFFECTS), found.p_value)


def _season(found: Predictions, length: float) -> tuple[Season | None, Cells]:
    cells = cells_of(found.times, length)
    rows = np.zeros(cells.n, dtype=np.int64)
    span = Reference(0, {}, rows, cells.per_block, length, start=cells.start)
    return (None if found.begins is None else season_of(span)), cells


def _past_movements(found: Predictions, cells: Cells, season: Season | None) -> list[float]:
    """Return the distance of each block's predictions from those of the blocks before it."""
    # Within a season, from those of the same season in other periods.
    if cells.of_row is None:
        return []
    past = []
    for start in range(cells.n % cells.per_block, cells.n, cells.per_block):
        block = (cells.of_row >= start) & (cells.of_row < start + cells.per_block)
        early = start < cells.n / 3
        rest = cells.of_row >= start + cells.per_block if early else cells.of_row < start
        if season is not None:
            inside = season.alike(cells.n, start, cells.per_block)
            near = np.abs(cells.of_row - start) <= cells.per_block + season.reach
            rest = inside[cells.of_row] & ~near
        rest = rest & (cells.of_row >= 0)
        if min(block.sum(), rest.sum()) >= _LEAST_PAST:
            past.append(movement(found.reference[block], found.reference[rest]))
    return past


def moved_columns(
    window: Side, evidence: Evidence, columns: Mapping[str, Kind]
) -> dict[str, float]:
    """Return by how much the shift of each column alone changes the predictions."""
    if evidence.predict is None or not columns:
        return {}
    chosen = dict(list(columns.items())[:_MOST_EFFECTS])
    return effects_of(evidence.sample.frame, window.frame, chosen, evidence.predict)


def of_columns(effects: Mapping[str, float]) -> list[HarmFinding]:
    """Return the effect on the predictions of each column that must move, one by one."""
    if not effects:
        return []
    least, _ = EFFECTS["columns"]
    order = sorted(effects, key=lambda n: -effects[n])
    value = effects[order[0]]
    moving = tuple(n for n in order[:_MOST_NAMED] if effects[n] > least)
    return [
        HarmFinding(
            measure="columns", value=value, limit=least, found=value > least, columns=moving
        )
    ]


def new_levels(
    shares: Mapping[str, tuple[float, float, float]], *, false_alarms: float
) -> list[HarmFinding]:
    """Return the greatest share of new levels of one column, beyond the expected share."""
    # `shares`: column to that share, its operating limit and its corrected p-value.
    if not shares:
        return []
    least, matters = EFFECTS["unseen"]
    level = false_alarms / len(EFFECTS)
    limits = {name: min(max(limit, least), matters) for name, (_, limit, _) in shares.items()}
    beyond = [
        n for n, (share, _, p_value) in shares.items() if share > limits[n] and p_value <= level
    ]
    beyond.sort(key=lambda name: -shares[name][0])
    worst = beyond[0] if beyond else max(shares, key=lambda name: shares[name][0] / limits[name])
    return [
        HarmFinding(
            measure="unseen", value=shares[worst][0], limit=limits[worst],
            p_value=shares[worst][2], found=bool(beyond), columns=tuple(beyond[:_MOST_NAMED]),
        )
    ]  # fmt: skip


def _finding(
    measure: HarmMeasure,
    value: float,
    past: Collection[float],
    level: float,
    p_value: float,
    columns: Collection[str] = (),
    *,
    usual: float = 0.0,
) -> HarmFinding:
    least, matters = EFFECTS[measure]
    ordinary = upper_limit([*past], level)
    limit = usual + (least if ordinary is None else min(max(least, ordinary - usual), matters))
    return HarmFinding(
        measure=measure,
        value=value,
        limit=min(limit, 1.0),
        p_value=p_value,
        found=value > limit and p_value <= level,
        columns=tuple(columns)[:_MOST_NAMED],
    )


def _more(share: float, usual: float, sizes: tuple[int, int]) -> float:
    """Return the p-value that a share exceeds another by chance (two proportions)."""
    n, m = sizes
    pooled = (share * n + usual * m) / max(n + m, 1)
    deviation = np.sqrt(max(pooled * (1 - pooled), 1e-12) * (1 / max(n, 1) + 1 / max(m, 1)))
    return float(scipy.stats.norm.sf((share - usual) / deviation))
