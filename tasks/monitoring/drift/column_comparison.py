"""One column of a window against its summary in the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tasks.base.runtime.libraries import pd
from tasks.monitoring.drift.column_summary import Summary
from tasks.monitoring.drift.column_values import Levels, levels_of, numbers_of
from tasks.monitoring.drift.distances import (
    Found,
    either,
    ks,
    merged,
    nulls,
    peak,
    tv,
    unseen_share,
)

_NAMES: dict[str, str] = {"datetime": "ks", "numeric": "ks", "text": "ks of lengths"}


class Part(NamedTuple):
    """A distance of the values, or that of the shares of nulls."""

    part: str  # `value`, `peak`, `unseen` or `nulls`, as in the calibration
    # The name that a person reads: `ks`, `ks of lengths`, `tv`, `nulls`, `unseen`, the excess share
    # of levels that the reference has not, or `peak`, that of one value.
    method: str
    found: Found


@dataclass(frozen=True)
class Compared:
    """Comparison of a window's column with the reference."""

    parts: tuple[Part, ...] = ()  # distances that are defined; none where one side has no rows
    p_value: float = 1.0  # of the column, not yet corrected for the number of columns
    missing: float | None = None  # missing, missing_reference: shares of nulls; None without rows
    missing_reference: float | None = None
    unseen: int = 0  # rows whose level the reference does not have
    notes: tuple[str, ...] = ()


def compare(summary: Summary, column: pd.Series[Any], *, level: float) -> Compared:
    """Compare `column` with its summary; chance exceeds critical distances at `level`."""
    if summary.numeric:
        return _of_numbers(summary, column, level)
    return _of_levels(summary, levels_of(column, summary.kind), level)


def absent(summary: Summary, rows: int, *, level: float) -> Compared:
    """Return the result for a missing column: all null, with a note."""
    return replace(_with_nulls(summary, rows, rows, [], level), notes=("not in the window",))


def _of_numbers(summary: Summary, column: pd.Series[Any], level: float) -> Compared:
    values, strange = numbers_of(column, summary.kind)
    valid = np.sort(values[~np.isnan(values)])
    notes = []
    if strange:
        unit = "time" if summary.kind == "datetime" else "number"
        notes.append(f"{strange:,} cells are no {unit} and count as nulls")
    infinite = int(np.isinf(valid).sum())
    if infinite:
        notes.append(f"{infinite:,} values are infinite")
    if len(valid) and valid[0] == valid[-1] and len(valid) > 1 and len(summary.points) > 1:
        notes.append("constant in the window")
    parts: list[Part] = []
    if len(valid) and summary.valid:
        found = ks(summary.points, summary.at_most, valid, exact=summary.exact, level=level)
        still = found._replace(distance=peak(summary.points, summary.at_most, valid))
        parts = [Part("value", _NAMES[summary.kind], found), Part("peak", "peak", still)]
    compared = _with_nulls(summary, len(values) - len(valid), len(values), parts, level)
    return replace(compared, notes=(*notes, *compared.notes))


def _of_levels(summary: Summary, read: Levels, level: float) -> Compared:
    null = int((read.codes < 0).sum())
    counts = np.bincount(read.codes[read.codes >= 0], minlength=len(read.levels))
    place = {text: k for k, text in enumerate(summary.levels)}
    sample = np.zeros(summary.told + 1, dtype=np.int64)
    rest = unseen = 0
    for text, count in zip(read.levels, counts, strict=True):
        known = place.get(text)
        if known is not None and known < summary.told:
            sample[known] += count
        elif known is not None or not summary.complete:
            rest += int(count)
        else:
            unseen += int(count)
    sample[-1] = unseen
    notes = []
    if np.count_nonzero(counts) == 1 and len(summary.levels) > 1 and len(read.codes) > 1:
        notes.append("constant in the window")
    if not summary.complete:
        notes.append(f"unseen levels are not distinguished: more than {len(place):,} are known")
    parts: list[Part] = []
    if rest + sample.sum() and summary.valid:
        levels = merged(
            np.append(summary.counts[: summary.told], 0),
            sample,
            rest=(summary.rest, rest),
            singles=summary.singles,
        )
        parts = [Part("value", "tv", tv(levels, level=level))]
        if unseen:
            parts.append(Part("unseen", "unseen", unseen_share(levels, unseen, level=level)))
    compared = _with_nulls(summary, null, len(read.codes), parts, level)
    return replace(compared, unseen=unseen, notes=(*notes, *compared.notes))


def _with_nulls(
    summary: Summary, null: int, rows: int, parts: list[Part], level: float
) -> Compared:
    if not rows or not summary.rows:
        return Compared(notes=("no rows to compare",))
    missing = nulls(summary.nulls, summary.rows, null, rows, level=level)
    notes = []
    if null == rows:
        notes.append("all null")
    if summary.nulls == summary.rows:
        notes.append("all null in the reference")
    p_value = parts[0].found.p_value if parts else 1.0
    if parts and parts[-1].part == "unseen":
        p_value = either(p_value, parts[-1].found.p_value)
    if summary.nulls or null:
        p_value = either(p_value, missing.p_value) if parts else missing.p_value
        parts = [*parts, Part("nulls", "nulls", missing)]
    return Compared(
        parts=tuple(parts),
        p_value=p_value,
        missing=null / rows,
        missing_reference=summary.nulls / summary.rows,
        notes=tuple(notes),
    )
