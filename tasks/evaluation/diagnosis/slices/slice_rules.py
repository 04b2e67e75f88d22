"""Columns encoded for a shallow tree, and its splits as rules in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.base.arrays import Floats, Mask, Matrix
from tasks.base.runtime.libraries import pd
from tasks.base.text.numbers import number
from tasks.base.training_records import Kind

MOST_COLUMNS = 200
_LEVEL_ROWS = 20
_SAID = 3
Step = tuple[int, float, bool, bool]


@dataclass(frozen=True)
class Coded:
    """Levels of a coded column by ascending code, or None for numbers."""

    name: str
    levels: tuple[str, ...] | None = None
    dates: bool = False


def coded_columns(
    X: pd.DataFrame, losses: Floats, kinds: dict[str, Kind], chooses: Mask
) -> tuple[Matrix, list[Coded]]:
    """Return numbers as they are, and categories ordered by their loss in the choosing half."""
    columns, rules = [], []
    for name in list(X.columns)[:MOST_COLUMNS]:
        values, kind = X[name], kinds.get(name, "categorical")
        if kind in ("text", "identifier"):
            continue
        if kind in ("numeric", "boolean") and values.dtype.kind in "iufb":
            columns.append(values.to_numpy(np.float32, na_value=np.nan))
            rules.append(Coded(name))
        elif values.dtype.kind == "M":
            seconds = values.to_numpy(dtype="datetime64[s]")
            days = seconds.astype(np.float64) / 86_400
            columns.append(np.where(np.isnat(seconds), np.nan, days).astype(np.float32))
            rules.append(Coded(name, dates=True))
        else:
            codes, levels = _by_loss(values, losses, chooses)
            columns.append(codes)
            rules.append(Coded(name, levels))
    if not columns:
        return np.empty((len(X), 0), np.float32), []
    coded = np.column_stack(columns)
    coded[~np.isfinite(coded)] = np.nan
    return coded, rules


def _by_loss(
    values: pd.Series[Any], losses: Floats, chooses: Mask
) -> tuple[Matrix, tuple[str, ...]]:
    """Return codes of levels in the order of their mean loss; rare ones share the last code."""
    texts = values.astype(object).where(values.notna(), "(null)").map(str).to_numpy(dtype=object)
    codes, found = pd.factorize(texts)
    counts = np.bincount(codes[chooses], minlength=len(found))
    sums = np.bincount(codes[chooses], weights=losses[chooses], minlength=len(found))
    known = np.flatnonzero(counts >= _LEVEL_ROWS)
    order = known[np.argsort(sums[known] / counts[known], kind="stable")]
    place = np.full(len(found), len(order))
    place[order] = np.arange(len(order))
    rare = ("(rare)",) if len(order) < len(found) else ()
    levels = (*(str(found[k]) for k in order), *rare)
    return place[codes].astype(np.float32), levels


def in_words(path: Sequence[Step], rules: Sequence[Coded]) -> str:
    """Return the conditions of a leaf in words, one for each column."""
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    order = dict.fromkeys(column for column, *_ in path)
    for column, edge, left, _ in path:
        ends, better = (high, min) if left else (low, max)
        ends[column] = better(ends.get(column, edge), edge)
    return " and ".join(_condition(rules[c], low.get(c), high.get(c)) for c in order)


def _condition(column: Coded, low: float | None, high: float | None) -> str:
    if column.levels is not None:
        last = len(column.levels) - 1
        first = 0 if low is None else int(np.floor(low)) + 1
        end = last if high is None else int(np.floor(high))
        chosen = column.levels[first : end + 1]
        if len(chosen) > (last + 1) / 2 and len(chosen) > _SAID:
            others = [v for v in column.levels if v not in chosen]
            return f"{column.name} is not {_listed(others)}"
        return f"{column.name} is {_listed(chosen)}"
    edges = [_edge(e, column.dates) for e in (low, high) if e is not None]
    if low is not None and high is not None:
        return f"{column.name} lies above {edges[0]} and up to {edges[1]}"
    return f"{column.name} {'>' if low is not None else '≤'} {edges[0]}"


def _edge(value: float, dates: bool) -> str:
    if dates:
        return str(np.datetime64(int(value), "D"))
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _listed(levels: Sequence[str]) -> str:
    named = [level if len(level) <= 30 else f"{level[:29]}…" for level in levels[:_SAID]]
    more = len(levels) - _SAID
    return " or ".join(named) + (f" or {more} more" if more > 0 else "")
