"""Columns encoded for a shallow tree, and its splits as rules in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from tasks.base.arrays import Floats, Mask, Matrix
from tasks.base.runtime.libraries import pd
from tasks.base.text.numbers import number
from tasks.base.training_records import Kind

MOST_COLUMNS = 200
_LEVEL_ROWS = 20
_SAID = 3
_DAY = 86_400e6
_UNITS = (_DAY, 3_600e6, 60e6, 1e6, 1.0)  # microseconds, for the shortest time that separates
Step = tuple[int, float, bool, bool]


@dataclass(frozen=True)
class Coded:
    """A coded column: its levels by ascending code, or its values where they are ordered."""

    name: str
    levels: tuple[str, ...] | None = None
    values: Floats | None = None  # numbers, or times in microseconds; shape (n_rows,)
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
        if kind in ("numeric", "boolean") and values.dtype.kind in "iuf":
            numbers = values.to_numpy(np.float64, na_value=np.nan)
            columns.append(numbers.astype(np.float32))
            rules.append(Coded(name, values=numbers))
        elif values.dtype.kind == "M":
            times = values.to_numpy(dtype="datetime64[us]")
            passed = np.where(np.isnat(times), np.nan, times.astype(np.float64))
            columns.append((passed / 86_400e6).astype(np.float32))
            rules.append(Coded(name, values=passed, dates=True))
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


def in_words(path: Sequence[Step], rules: Sequence[Coded], coded: Matrix) -> str:
    """Return the conditions of a leaf in words, one for each column: they hold of its rows only."""
    steps: dict[int, list[Step]] = {}
    for step in path:
        steps.setdefault(step[0], []).append(step)
    return " and ".join(_condition(rules[c], coded[:, c], taken) for c, taken in steps.items())


def _condition(column: Coded, codes: Matrix, steps: Sequence[Step]) -> str:
    low = max((edge for _, edge, left, _ in steps if not left), default=None)
    high = min((edge for _, edge, left, _ in steps if left), default=None)
    if column.levels is not None:
        last = len(column.levels) - 1
        first = 0 if low is None else int(np.floor(low)) + 1
        end = last if high is None else int(np.floor(high))
        chosen = column.levels[first : end + 1]
        if len(chosen) > (last + 1) / 2 and len(chosen) > _SAID:
            others = [v for v in column.levels if v not in chosen]
            return f"{column.name} is not {_listed(others)}"
        return f"{column.name} is {_listed(chosen)}"
    edges = [_edge(column, codes, edge) for edge in (low, high) if edge is not None]
    nulls = np.isnan(codes).any() and all(along for *_, along in steps)
    text = f"{'>' if low is not None else '≤'} {edges[0]}"
    if len(edges) > 1:
        text = f"lies above {edges[0]} and up to {edges[1]}"
    return f"{column.name} {text}{' (or null)' if nulls else ''}"


def _edge(column: Coded, codes: Matrix, edge: float) -> str:
    """Return the shortest number or time that parts the column's values as `edge` does."""
    values = np.empty(0) if column.values is None else column.values
    exact = codes.astype(np.float64)  # as the tree compares; a float32 would round the edge
    below = float(np.max(values, where=exact <= edge, initial=-np.inf))
    above = float(np.min(values, where=exact > edge, initial=np.inf))
    if not np.isfinite([below, above]).all():
        return number(edge)
    if column.dates:
        return _time_between(below, above, bool((values[~np.isnan(values)] % _DAY == 0).all()))
    between = next(
        rounded
        for digits in range(1, 18)
        for value in ((below + above) / 2, below)
        if below <= (rounded := float(f"{value:.{digits}g}")) < above
    )
    plain = between == 0 or 1e-4 <= abs(between) < 1e15
    return f"{Decimal(repr(between)).normalize():,f}" if plain else f"{between!r}"


def _time_between(below: float, above: float, whole_days: bool) -> str:
    for unit in _UNITS if whole_days else _UNITS[1:]:
        at = np.ceil(below / unit) * unit
        if at < above:
            break
    text = str(np.datetime64(int(at), "us")).replace("T", " ")
    if whole_days:
        return text[:10]
    return text[:16] if at % _UNITS[2] == 0 else text[:19] if at % _UNITS[3] == 0 else text


def _listed(levels: Sequence[str]) -> str:
    named = [level if len(level) <= 30 else f"{level[:29]}…" for level in levels[:_SAID]]
    more = len(levels) - _SAID
    return " or ".join(named) + (f" or {more} more" if more > 0 else "")
