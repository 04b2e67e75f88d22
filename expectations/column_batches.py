"""Contracts of large tables, inferred and checked a few columns at a time.

A check keeps copies of what it looks at. Column by column rules need only their own column, so
memory stays near that of a few columns however wide the table is; the results are the same.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from expectations.check import check_frame
from expectations.contract import ColumnRule, Contract, TableRule
from expectations.engine.libraries import pd
from expectations.facts.row_order import order_rows
from expectations.inference import infer_contract
from expectations.late_labels import LateLabels
from expectations.results import CheckOutcome, CheckResult

CELLS_AT_ONCE = 12_000_000
_UNASKED = TableRule(rows=None, extra_columns="ignore", column_order="ignore")
_OF_NAMES = {"extra columns", "column order"}

Read = Callable[[Sequence[str]], "pd.DataFrame"]


def check_in_parts(
    read: Read,
    bare: pd.DataFrame,
    rows: int,
    contract: Contract,
    *,
    kinds: Mapping[str, str] | None = None,
    late: LateLabels | None = None,
) -> CheckOutcome:
    """Check a table as `check_frame` does, holding few of its columns at a time."""
    # `read` returns the requested columns, all rows; `bare` has the columns without rows. Missing
    # targets are not counted in `late` rows.
    started = time.monotonic()
    names = [str(name) for name in bare.columns]
    if late is not None and {late.target, late.time_column} <= {*names}:
        return _check_late(read, bare, rows, contract, kinds, late, started)
    if rows * len(names) <= CELLS_AT_ONCE:
        return check_frame(read(names), contract, kinds=kinds)
    together = _together(contract, names)
    results = list(_of_names(bare, contract))
    for part in (together, *_groups([n for n in names if n not in together], rows)):
        piece = _piece(contract, part, whole=part is together)
        results += check_frame(read(part), piece, kinds=kinds).results
        # What GX made refers to itself, and would keep its columns until some later collection.
        gc.collect()
    places = {name: place for place, name in enumerate(contract.columns)}
    results.sort(key=lambda r: -1 if r.column is None else places.get(r.column, -1))
    return CheckOutcome.since(started, results, rows)


def _check_late(
    read: Read,
    bare: pd.DataFrame,
    rows: int,
    contract: Contract,
    kinds: Mapping[str, str] | None,
    late: LateLabels,
    started: float,
) -> CheckOutcome:
    """Check everything on all rows, but the target's missing values on the mature ones."""
    rule = contract.columns.get(late.target)
    if rule is None or rule.nulls is None:
        return check_in_parts(read, bare, rows, contract, kinds=kinds)
    columns = {**contract.columns, late.target: rule.model_copy(update={"nulls": None})}
    rest = contract.model_copy(update={"columns": columns})
    outcome = check_in_parts(read, bare, rows, rest, kinds=kinds)
    frame = read([late.target, late.time_column])
    mature = frame.loc[late.mature(frame), [late.target]]
    alone = ColumnRule(kind=rule.kind, severity=rule.severity, nulls=rule.nulls)
    structure = contract.model_copy(
        update={"columns": {late.target: alone}, "table": _UNASKED, "rules": ()}
    )
    found = [r for r in check_frame(mature, structure).results if r.rule == "nulls"]
    place = next(
        (i for i, r in enumerate(outcome.results) if (r.column, r.rule) == (late.target, "kind")),
        len(outcome.results) - 1,
    )
    results = (*outcome.results[: place + 1], *found, *outcome.results[place + 1 :])
    return CheckOutcome.since(started, results, rows)


def infer_in_parts(
    read: Read,
    names: Sequence[str],
    rows: int,
    kinds: Mapping[str, str],
    *,
    name: str,
    target: str,
    time_column: str | None,
    id_columns: Sequence[str],
    late: LateLabels | None = None,
) -> Contract:
    """Infer as `infer_contract` does, a few columns at a time; `late` rows lack targets rightly."""
    if late is not None and {late.target, late.time_column} <= {*names}:
        frame = read([late.target, late.time_column])
        labelled = frame[late.mature(frame)]
        if len(labelled):
            mature = infer_contract(labelled, kinds, target=target, time_column=time_column)
            whole = infer_in_parts(
                read, names, rows, kinds, name=name, target=target, time_column=time_column,
                id_columns=id_columns,
            )  # fmt: skip
            columns = {**whole.columns, target: mature.columns[target]}
            return whole.model_copy(update={"columns": columns})
    roles: dict[str, Any] = {"name": name, "target": target, "time_column": time_column}
    if rows * len(names) <= CELLS_AT_ONCE:
        return infer_contract(read(names), kinds, id_columns=id_columns, **roles)
    first = [n for n in names if n in {time_column, *id_columns}]
    frame = read(first)
    # It decides on every column.
    order = order_rows(frame, time_column)
    whole = infer_contract(frame, kinds, id_columns=id_columns, order=order, **roles)
    del frame
    columns = dict(whole.columns)
    for part in _groups([n for n in names if n not in first], rows):
        columns |= infer_contract(read(part), kinds, order=order, **roles).columns
    return whole.model_copy(update={"columns": {n: columns[n] for n in names if n in columns}})


def _groups(names: Sequence[str], rows: int) -> Iterator[list[str]]:
    width = max(1, CELLS_AT_ONCE // max(rows, 1))
    for start in range(0, len(names), width):
        yield list(names[start : start + width])


def _together(contract: Contract, names: Sequence[str]) -> list[str]:
    """Return the columns that rules on the whole table look at together."""
    wanted = {column for key in contract.table.unique for column in key}
    if contract.table.freshness is not None:
        wanted.add(contract.table.freshness.column)
    if contract.table.future is not None:
        wanted.add(contract.table.future.column)
    named = {column for rule in contract.rules for column in rule.columns}
    folded = {column.casefold() for column in named}
    return [n for n in names if n in wanted or n.casefold() in folded] or [names[0]]


def _piece(contract: Contract, part: Sequence[str], *, whole: bool) -> Contract:
    wanted = set(part)
    columns = {n: rule for n, rule in contract.columns.items() if n in wanted}
    if not whole:
        return contract.model_copy(update={"columns": columns, "table": _UNASKED, "rules": ()})
    relaxed = {"extra_columns": "ignore", "column_order": "ignore"}
    table = contract.table.model_copy(update=relaxed)
    return contract.model_copy(update={"columns": columns, "table": table})


def _of_names(bare: pd.DataFrame, contract: Contract) -> Iterator[CheckResult]:
    """Yield the results that names alone decide: absent and extra columns, and their order."""
    names = set(bare.columns)
    structure = contract.model_copy(update={"rules": ()})
    for result in check_frame(bare, structure).results:
        absent = result.column is not None and result.column not in names
        if absent or (result.column is None and result.rule in _OF_NAMES):
            yield result
