"""Rows in the order of time: what moves along with it, is ever new, comes in stretches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expectations.engine.libraries import pd
from expectations.facts.column_facts import facts_of

MIN_VARYING = 50
_ONE_VALUE = 0.98
_TREND = 0.95
_TREND_ROWS = 4_000
_BLOCKS = 12
_BLOCK_ROWS = 200


@dataclass(frozen=True)
class RowOrder:
    """Rows by their place in time, or in the file where there is no time."""

    rows: NDArray[np.int64]  # a sample of positions
    ranks: NDArray[np.float64]
    blocks: tuple[NDArray[np.int64], ...]  # all positions in equal stretches
    timed: bool

    def moves_along(self, values: pd.Series[Any]) -> bool:
        """Return whether `values` rise or fall with time, like a counter or the month."""
        sample = values.iloc[self.rows].to_numpy(np.float64, na_value=np.nan)
        known = np.isfinite(sample)
        if known.sum() < MIN_VARYING:
            return False
        ranks, places = _ranks(sample[known]), self.ranks[known]
        if ranks.std() == 0.0 or places.std() == 0.0:
            return False
        steps = np.diff(ranks[np.argsort(places, kind="stable")])
        up, down = int((steps > 0).sum()), int((steps < 0).sum())
        if min(up, down) <= 0.02 * max(up, down):
            return True
        return bool(abs(np.corrcoef(ranks, places)[0, 1]) > _TREND)

    def often_differs(self, values: pd.Series[Any]) -> bool:
        """Return whether a later batch will hardly have one value only."""
        counts = values.iloc[self.rows].value_counts()
        return bool(len(counts) > 1 and counts.iloc[0] <= _ONE_VALUE * counts.sum())

    def novelty(self, values: pd.Series[Any]) -> float:
        """Return the share of the last third's rows whose value the earlier rows never had."""
        blocks = self.blocks
        # Where rows have no time, the order of the file is no evidence about later rows.
        if not self.timed or len(blocks) < 3:
            return 0.0
        cut = len(blocks) * 2 // 3
        earlier = values.iloc[np.concatenate(blocks[:cut])].unique()
        last = values.iloc[np.concatenate(blocks[cut:])].dropna()
        return float((~last.isin(earlier)).mean()) if len(last) else 0.0

    def longest(self, mask: NDArray[np.bool_]) -> int:
        """Return the most rows in a row that `mask` marks."""
        marked = np.concatenate([[False], mask[np.concatenate(self.blocks)], [False]])
        edges = np.flatnonzero(np.diff(marked.astype(np.int8)))
        return int((edges[1::2] - edges[::2]).max(initial=0))

    def newest(self, values: pd.Series[Any]) -> float:
        """Return the greatest share, over stretches of rows, of values never seen before them."""
        # The first third is what the rest is compared with.
        blocks = self.blocks
        if not self.timed or len(blocks) < 3:
            return 0.0
        cut = max(1, len(blocks) // 3)
        seen = set(values.iloc[np.concatenate(blocks[:cut])].dropna().unique())
        worst = 0.0
        for block in blocks[cut:]:
            found = values.iloc[block].dropna()
            if len(found):
                worst = max(worst, float((~found.isin(seen)).mean()))
                seen.update(found.unique())
        return worst


def order_rows(frame: pd.DataFrame, time_column: str | None) -> RowOrder:
    """Return the order of the rows of `frame`: by time, or as they stand where there is none."""
    ordered: NDArray[np.int64] = np.arange(len(frame), dtype=np.int64)
    places, timed = ordered, False
    if time_column is not None and time_column in frame.columns:
        facts = facts_of(frame[time_column])
        if facts.stored == "time":
            timed = True
            places = facts.values.to_numpy().view(np.int64)
            if not facts.values.is_monotonic_increasing:
                ordered = np.argsort(places, kind="stable").astype(np.int64)
    sample = np.linspace(0, max(len(frame) - 1, 0), min(_TREND_ROWS, len(frame))).astype(np.int64)
    blocks = np.array_split(ordered, max(1, min(_BLOCKS, len(frame) // _BLOCK_ROWS)))
    return RowOrder(sample, _ranks(places[sample].astype(np.float64)), tuple(blocks), timed)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(pd.Series(values).rank(), dtype=np.float64)
