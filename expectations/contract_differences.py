"""Differences between rows and a contract, rule by rule, with the edit that would accept them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from expectations.contract import ColumnRule, Contract
from expectations.engine.libraries import pd
from expectations.facts.column_facts import as_category, bound_of, facts_of, unseen
from expectations.results import CheckResult
from expectations.text.phrases import Severity, say_number, say_share, say_value, shorten

Path = tuple[str | int, ...]
Read = Callable[[Sequence[str]], "pd.DataFrame"]

GONE = object()
"""The value of a key that is taken out of the contract."""


@dataclass(frozen=True)
class Edit:
    """One key of the contract and its new value, plain; `GONE` removes it."""

    path: Path
    value: Any


@dataclass(frozen=True)
class Difference:
    """A rule that rows do not hold; nothing is proposed where a person must decide."""

    name: str  # column and rule
    severity: Severity
    limit: str  # the rule as it is
    observed: str
    proposed: str = ""  # the rule as it would be
    edits: tuple[Edit, ...] = ()  # of the contract, that allow it


def find_differences(
    contract: Contract,
    broken: Sequence[CheckResult],
    inferred: Contract,
    read: Read,
    *,
    faulty: bool = False,
) -> tuple[Difference, ...]:
    """Return the rule that the rows would hold, for every broken rule of `contract`."""
    # `contract` is the whole one, that the edits are made in, also where a part was checked;
    # `inferred` is the contract of the same rows; `read` returns the requested columns, all rows.
    # `faulty` rows are those of a delivery that broke rules: what would let them pass in a rule on
    # the delivery's share or median would let every delivery pass.
    return tuple(
        _difference(result, contract, inferred, read, faulty=faulty and of_the_delivery(result))
        for result in broken
    )


def of_the_delivery(result: CheckResult) -> bool:
    """Return whether a rule limits a share of the rows or their median, not each value."""
    return result.rule in {"nulls", "scale"} or result.key[:1] == ("rules",)


def _difference(
    result: CheckResult, contract: Contract, inferred: Contract, read: Read, *, faulty: bool
) -> Difference:
    text, edits = "", tuple[Edit, ...]()
    written = [place for place, rule in enumerate(contract.rules) if rule.key == result.key]
    if faulty:
        pass
    elif written:
        text, edits = _of_written(written[0], result, contract)
    elif result.column in contract.columns and not result.key:
        text, edits = _of_column(result, contract, inferred, read)
    else:
        text, edits = _of_table(result, contract, inferred)
    return Difference(result.name, result.severity, result.expected, result.observed, text, edits)


def _of_written(
    place: int, result: CheckResult, contract: Contract
) -> tuple[str, tuple[Edit, ...]]:
    if contract.rules[place].sql is None or result.failed_share is None:
        return "", ()
    share = _above(result.failed_share)
    return f"broken by at most {say_share(share)}", (Edit(("rules", place, "max_share"), share),)


def _of_table(
    result: CheckResult, contract: Contract, inferred: Contract
) -> tuple[str, tuple[Edit, ...]]:
    if result.rule == "rows" and inferred.table.rows is not None:
        least = inferred.table.rows.min
        return f"at least {least:,} rows", (Edit(("table", "rows", "min"), least),)
    if result.rule == "freshness":
        return "not required", (Edit(("table", "freshness"), GONE),)
    if result.rule == "column order":
        return "any order", (Edit(("table", "column_order"), "ignore"),)
    if result.rule == "extra columns":
        new = [name for name in inferred.columns if name not in contract.columns]
        listed = ", ".join(shorten(name, 40) for name in new[:5])
        edits = tuple(Edit(("columns", n), _stated(inferred.columns[n], contract)) for n in new)
        return f"with {listed}", edits
    if result.rule == "unique":
        left = [k for k in contract.table.unique if tuple(k) != result.key]
        value = [list(key) for key in left] if left else GONE
        return "not required", (Edit(("table", "unique"), value),)
    return "", ()


def _of_column(
    result: CheckResult, contract: Contract, inferred: Contract, read: Read
) -> tuple[str, tuple[Edit, ...]]:
    name = str(result.column)
    rule, new, at = contract.columns[name], inferred.columns.get(name), ("columns", name)
    if result.rule == "present":
        return "no such column", (Edit(at, GONE),)
    if result.rule in {"unique", "varies"}:
        return "not required", (Edit((*at, result.rule), GONE),)
    if result.rule == "future":
        return "not required", (Edit(("table", "future"), GONE),)
    if new is None:
        return "", ()
    if result.rule == "kind":
        return f"{new.kind}, and all that follows", (Edit(at, _stated(new, contract)),)
    if result.rule == "scale" and new.scale is None:
        return "not required: too few values to judge", (Edit((*at, "scale"), GONE),)
    make = {"nulls": _nulls, "range": _wider, "scale": _wider}.get(result.rule)
    if make is not None:
        changes = make(rule, new, result)
        text = ", ".join(f"{key} {_text(key, value)}" for key, value in changes.items())
        return text, tuple(Edit((*at, result.rule, k), v) for k, v in changes.items())
    if result.rule == "categories" and rule.categories is not None:
        facts = facts_of(read([name])[name])
        found = facts.values[unseen(facts, rule.categories.values)].dropna().unique().tolist()
        added = sorted({as_category(value) for value in found}, key=str)
        values = [*rule.categories.values, *added]
        listed = ", ".join(say_value(value) for value in added[:5])
        more = f" and {len(added) - 5:,} more" if len(added) > 5 else ""
        return f"also {listed}{more}", (Edit((*at, "categories", "values"), values),)
    return "", ()


def _stated(rule: ColumnRule, contract: Contract) -> dict[str, Any]:
    """Return a column's rules as `contract` writes them: without nulls that it states for all."""
    usual = {"nulls"} if rule.nulls == contract.table.nulls else None
    return rule.model_dump(mode="json", exclude_defaults=True, exclude=usual)


def _nulls(rule: ColumnRule, new: ColumnRule, result: CheckResult) -> Mapping[str, Any]:
    old, found = rule.nulls, new.nulls
    assert old is not None  # noqa: S101 - it was broken
    share = result.failed_share or 0.0
    usual = max(_above(share), found.usual or 0.0 if found else 0.0)
    changes: dict[str, Any] = {}
    if old.usual is not None and old.usual < usual:
        changes["usual"] = usual
    if old.max < usual:
        changes["max"] = usual
    if old.empty_from is not None and share == 1.0:
        changes["empty_from"] = GONE
    return changes


def _wider(rule: ColumnRule, new: ColumnRule, result: CheckResult) -> Mapping[str, Any]:
    """Return the ends of a range or a scale that lie further out in `new`."""
    old, found = getattr(rule, result.rule), getattr(new, result.rule)
    changes: dict[str, Any] = {}
    for key, field in (("min", "min"), ("max", "max"), ("far", "farthest")):
        before, after = getattr(old, field, None), getattr(found, field, None)
        if before is None or after is None or bound_of(before) == bound_of(after):
            continue
        if (bound_of(after) < bound_of(before)) == (key == "min"):
            changes[key] = after.isoformat() if isinstance(after, datetime) else after
    return changes


def _text(key: str, value: Any) -> str:
    if value is GONE:
        return "not required"
    if key in {"usual", "max"} and isinstance(value, float) and 0.0 <= value <= 1.0:
        return say_share(value)
    return say_number(value) if isinstance(value, int | float) else say_value(value)


def _above(share: float) -> float:
    """Return a share a little above `share`, to a hundredth.

    >>> _above(0.1361), _above(0.999)
    (0.15, 1.0)
    """
    return float(min(1.0, np.ceil(share * 105 + 1e-9) / 100))
