"""Rows that broke a rule: they are not scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from expectations.contract import ColumnRule, Contract
from expectations.custom_rules import Rule
from expectations.engine.libraries import pd
from expectations.facts.column_facts import (
    Mask,
    facts_of,
    later_than,
    off_scale,
    outside,
    repeated,
    unseen,
)
from expectations.results import CheckOutcome, CheckResult
from expectations.rules.sql_rows import broken_mask
from expectations.sql_condition import parse_condition
from expectations.suite import broken_positions

Read = Callable[[Sequence[str]], "pd.DataFrame"]

WHOLE = 0.5
"""Share of the rows above which a fault is the delivery's and not that of its rows."""


@dataclass(frozen=True)
class Faults:
    """Rows that must not be scored."""

    # The fault is of the `whole` table where a column is absent or of another kind or unit, or more
    # than half of the rows are at fault.

    rows: Mask  # (n_rows,); all where `whole`
    whole: bool


def find_faults(
    read: Read, rows: int, contract: Contract, outcome: CheckOutcome, *, now: datetime | None = None
) -> Faults:
    """Return which rows the broken rules of severity ``error`` are about."""
    # Rows in the future count whatever the rule's severity: they are not scored.
    causes = [
        r
        for r in outcome.results
        if not r.passed and (r.severity == "error" or (r.rule == "future" and r.column is not None))
    ]
    mask = np.zeros(rows, dtype=bool)
    moment = now or datetime.now(UTC)
    for cause in causes:
        found = _rows_of(cause, read, contract, moment)
        if found is None or found.mean() > WHOLE:
            return Faults(np.ones(rows, dtype=bool), whole=True)
        mask |= found
    if rows and mask.mean() > WHOLE:
        return Faults(np.ones(rows, dtype=bool), whole=True)
    return Faults(mask, whole=False)


def _rows_of(result: CheckResult, read: Read, contract: Contract, now: datetime) -> Mask | None:
    """Return the rows that broke one rule; None where it is about the whole table."""
    for rule in contract.rules:
        if result.key == rule.key:
            return _rows_of_written(rule, read)
    if result.rule == "unique":
        return _rows_of_unique(result, read, contract)
    if result.column is None or result.column not in contract.columns:
        return None
    if result.rule == "future" and contract.table.future is not None:
        facts = facts_of(read([result.column])[result.column])
        return later_than(facts, now + contract.table.future.tolerance)
    return _rows_of_column(result, contract.columns[result.column], read)


def _rows_of_column(result: CheckResult, rule: ColumnRule, read: Read) -> Mask | None:
    name = str(result.column)
    if result.rule not in {"nulls", "range", "categories", "scale"}:
        return None
    values = read([name])[name]
    facts = facts_of(values)
    if result.rule == "nulls":
        return np.asarray(values.isna(), dtype=bool)
    if result.rule == "range" and rule.range is not None:
        return outside(facts, rule.range.min, rule.range.max)
    if result.rule == "categories" and rule.categories is not None:
        return unseen(facts, rule.categories.values)
    if result.rule == "scale" and rule.scale is not None:
        if result.failed_rows == facts.present:  # where the middle of a column is off, all is
            return None
        # Beside rows of another unit, whatever is out of range is likely to have it too.
        far = off_scale(facts, rule.scale)
        return far if rule.range is None else far | outside(facts, rule.range.min, rule.range.max)
    return None


def _rows_of_unique(result: CheckResult, read: Read, contract: Contract) -> Mask:
    """Return rows whose id another row has; of rows that agree in all columns the first is good."""
    frame = read(list(contract.columns))
    mask = repeated(frame, list(result.key or (str(result.column),)))
    try:
        copies = frame.duplicated(keep=False) & ~frame.duplicated(keep="first")
    except TypeError:
        return mask
    alone: Mask = mask & ~np.asarray(copies, dtype=bool)
    return alone


def _rows_of_written(rule: Rule, read: Read) -> Mask | None:
    try:
        frame = read(list(rule.columns))
    except KeyError:
        return None
    if rule.sql is not None:
        return broken_mask(frame, parse_condition(rule.sql))
    return broken_positions(frame, rule)
