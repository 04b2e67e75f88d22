"""The contract's part on features, prepared once and applied to the rows of each request.

Verdicts are those of a check of the same rows as a table: a limit on a share is widened by what
chance allows in so few rows, and what is of severity ``error`` then is a fault of the rows that
broke it. Results about a delivery as a whole become faults of its rows here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expectations.contract import FAR, FEW_SIZES, ColumnRule, Contract, ScaleRule
from expectations.custom_rules import Rule
from expectations.facts.column_facts import bound_of
from expectations.results import exceeds, grade
from expectations.rules.sql_rows import broken_mask
from expectations.sql_condition import Condition, parse_condition
from expectations.text.phrases import Severity, say_number, say_value, shorten
from expectations.text.time_spans import as_naive_utc
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Schema
from tasks.serving.request_columns import CellType, Column, Fault, RequestColumns

Matrix = NDArray[np.float64]


_REMEDY = (
    "Send what the training rows held, in their unit; or change the rule in the contract's file."
)


@dataclass(frozen=True)
class Broken:
    """A rule that some rows of a request broke."""

    column: str | None
    rule: str
    severity: Severity  # `error`: the rows get no prediction
    rows: tuple[int, ...]  # places of the rows in the request
    expected: str


@dataclass(frozen=True)
class RowRules:
    """The rules of a contract that apply to single rows."""

    contract: Contract
    numbers: tuple[str, ...]  # columns of numbers, as in the matrix of `numbers_of`
    types: Mapping[str, CellType]
    ids: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()  # rules that need a whole table: a scoring checks them
    _low: Matrix = field(default_factory=lambda: np.empty((0, 1)))
    _high: Matrix = field(default_factory=lambda: np.empty((0, 1)))
    _zero: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 1), dtype=bool))
    _known: Mapping[str, frozenset[Any]] = field(default_factory=dict)
    _conditions: tuple[tuple[Rule, Condition], ...] = ()

    @classmethod
    def of(
        cls, contract: Contract | None, columns: Mapping[str, Column], roles: Schema
    ) -> RowRules:
        """Return the rules of `contract` on the features and the time of rows."""
        # A column that only identifies a row may be absent: such a row gets no label.
        judged = {*roles.features, *([roles.time_column] if roles.time_column else [])}
        part = Contract(contract="none") if contract is None else contract.feature_part(judged)
        types = {name: column.type for name, column in columns.items()}
        numbers = tuple(name for name, kind in types.items() if kind == "number")
        limits = [_safe(part.columns.get(name)) for name in numbers]
        zero = [_allows_zero(part.columns.get(name)) for name in numbers]
        written = [rule for rule in part.rules if rule.sql is not None]
        return cls(
            contract=part,
            numbers=numbers,
            types=types,
            ids=roles.id_columns,
            unchecked=tuple(rule.title for rule in part.rules if rule.sql is None),
            _low=np.array([low for low, _ in limits], dtype=np.float64).reshape(-1, 1),
            _high=np.array([high for _, high in limits], dtype=np.float64).reshape(-1, 1),
            _zero=np.array(zero, dtype=bool).reshape(-1, 1),
            _known={
                name: frozenset({None, *rule.categories.values})
                for name, rule in part.columns.items()
                if rule.categories is not None
            },
            _conditions=tuple((rule, parse_condition(str(rule.sql))) for rule in written),
        )

    def numbers_of(self, given: RequestColumns) -> Matrix:
        """Return the columns of numbers, shape (n_columns, n_rows); NaN where there is none."""
        return np.array([given.cells[name] for name in self.numbers], dtype=np.float64).reshape(
            len(self.numbers), given.rows
        )

    def broken(
        self,
        given: RequestColumns,
        numbers: Matrix,
        frame: Callable[[], pd.DataFrame],
        now: datetime | None = None,
    ) -> list[Broken]:
        """Return the rules that rows broke, warnings too; `frame` is for conditions in SQL."""
        found = [*self._of_ids(given), *self._of_numbers(numbers)]
        for name, rule in self.contract.columns.items():
            cells, kind = given.cells[name], self.types[name]
            if kind != "number" and rule.nulls is not None and None in cells:
                found += self._nulls(name, rule, np.array([cell is None for cell in cells]))
            if kind == "time" and rule.range is not None:
                found += self._times(name, rule, cells)
            if rule.categories is not None:
                found += self._categories(name, rule, cells)
        found += self._future(given, now)
        return found + self._conditions_broken(given.rows, frame)

    def _of_ids(self, given: RequestColumns) -> Iterator[Broken]:
        if not self.ids or given.rows < 2:
            return
        seen: set[tuple[Any, ...]] = set()
        twice = []
        for row, key in enumerate(zip(*(given.cells[name] for name in self.ids), strict=True)):
            if key in seen and any(part is not None for part in key):
                twice.append(row)
            seen.add(key)
        if twice:
            column = self.ids[0] if len(self.ids) == 1 else None
            yield Broken(column, "unique", "error", tuple(twice), "an id once in a request")

    def _of_numbers(self, numbers: Matrix) -> Iterator[Broken]:
        """Look closer at the columns with a null, or with a value that no rule surely allows."""
        null = np.isnan(numbers)
        safe = (numbers >= self._low) & (numbers <= self._high) | ((numbers == 0) & self._zero)
        for place in np.flatnonzero(null.any(axis=1)).tolist():
            rule = self.contract.columns.get(self.numbers[place])
            if rule is not None:
                yield from self._nulls(self.numbers[place], rule, null[place])
        for place in np.flatnonzero(~(safe | null).all(axis=1)).tolist():
            name, values = self.numbers[place], numbers[place]
            rule = self.contract.columns.get(name)
            if rule is not None and rule.range is not None:
                yield from self._range(name, rule, values, int((~null[place]).sum()))
            if rule is not None and rule.scale is not None:
                yield from self._scale(name, rule, np.abs(values))

    def _nulls(self, name: str, rule: ColumnRule, null: NDArray[np.bool_]) -> Iterator[Broken]:
        nulls = rule.nulls
        count, rows = int(null.sum()), len(null)
        if nulls is None or not count:
            return
        severity: Severity = nulls.severity or rule.severity
        usual = nulls.max if nulls.usual is None else nulls.usual
        if not (nulls.empty_from is not None and count == rows >= nulls.empty_from):
            if not exceeds(count, rows, usual, by_chance=self.contract.by_chance):
                return
            severity = self._grade(count, rows, nulls.max, severity)
        yield Broken(name, "nulls", severity, _places(null), "a value")

    def _range(self, name: str, rule: ColumnRule, values: Matrix, present: int) -> Iterator[Broken]:
        limit = rule.range
        if limit is None:
            return
        low: Any = limit.min
        high: Any = limit.max
        outside = np.zeros(len(values), dtype=bool)
        if low is not None:
            outside |= values < low
        if high is not None:
            outside |= values > high
        yield from self._judged(
            name, "range", outside, present, limit.max_share, limit.severity or rule.severity,
            lambda: _ends(low, high),
        )  # fmt: skip

    def _scale(self, name: str, rule: ColumnRule, values: Matrix) -> Iterator[Broken]:
        scale = rule.scale
        if scale is None:
            return
        severity: Severity = scale.severity or rule.severity
        far = values > scale.farthest
        if far.any():
            yield Broken(name, "scale", severity, _places(far), _sizes(scale))
        # Rows that alone are at fault must not move the middle of the others.
        others = ~far & (values > 0)
        if not others.any():
            return
        few = others.sum() < FEW_SIZES
        least, most = (scale.min / FAR, scale.farthest) if few else (scale.min, scale.max)
        if not least <= float(np.median(values[others])) <= most:
            whole = ~far & ~np.isnan(values)
            yield Broken(name, "scale", severity, _places(whole), f"{_sizes(scale)}: another unit?")

    def _times(self, name: str, rule: ColumnRule, cells: list[Any]) -> Iterator[Broken]:
        limit = rule.range
        if limit is None:
            return
        low = -np.inf if limit.min is None else _ticks(bound_of(limit.min))
        high = _ticks(bound_of(limit.max))
        outside = np.array([cell is not None and not low <= cell <= high for cell in cells])
        present = sum(cell is not None for cell in cells)
        yield from self._judged(
            name, "range", outside, present, limit.max_share, limit.severity or rule.severity,
            lambda: _ends(limit.min, limit.max),
        )  # fmt: skip

    def _categories(self, name: str, rule: ColumnRule, cells: list[Any]) -> Iterator[Broken]:
        limit = rule.categories
        if limit is None or (known := self._known[name]).issuperset(cells):
            return
        unseen = np.array([cell not in known for cell in cells])
        present = sum(cell is not None for cell in cells)
        yield from self._judged(
            name, "categories", unseen, present, limit.max_unseen,
            limit.severity or rule.severity, lambda: _listed(limit.values),
        )  # fmt: skip

    def _future(self, given: RequestColumns, now: datetime | None) -> Iterator[Broken]:
        rule = self.contract.table.future
        if rule is None or self.types.get(rule.column) != "time":
            return
        latest = _ticks(as_naive_utc((now or datetime.now(UTC)) + rule.tolerance))
        cells = given.cells[rule.column]
        ahead = tuple(n for n, cell in enumerate(cells) if cell is not None and cell > latest)
        if ahead:
            yield Broken(rule.column, "future", "error", ahead, "a time that is not ahead")

    def _conditions_broken(self, rows: int, frame: Callable[[], pd.DataFrame]) -> list[Broken]:
        found: list[Broken] = []
        if not self._conditions:
            return found
        table = frame()
        for rule, condition in self._conditions:
            mask = broken_mask(table, condition)
            if mask is not None:
                found += self._judged(
                    None, shorten(rule.title, 80), mask, rows, rule.max_share, rule.severity,
                    partial(shorten, str(rule.sql), 200),
                )  # fmt: skip
        return found

    def _judged(
        self,
        column: str | None,
        rule: str,
        mask: NDArray[np.bool_],
        present: int,
        limit: float,
        severity: Severity,
        expected: Callable[[], str],
    ) -> Iterator[Broken]:
        if mask.any():
            grave = self._grade(int(mask.sum()), present, limit, severity)
            yield Broken(column, rule, grave, _places(mask), expected())

    def _grade(self, failed: int, rows: int, limit: float, severity: Severity) -> Severity:
        return grade(failed, rows, limit, severity, by_chance=self.contract.by_chance)


def fault_of(broken: Broken, given: RequestColumns, row: int) -> Fault:
    """Return a broken rule as the fault of one of its rows."""
    if broken.column is None:
        message = f"The row breaks the rule {broken.rule!r}: {broken.expected}."
        return Fault(None, broken.rule, message, _REMEDY)
    value = given.cells[broken.column][row]
    shown = "null" if value is None else say_value(value)
    name = shorten(broken.column, 60)
    if broken.rule in ("unique", "future"):
        return Fault(broken.column, broken.rule, f"{name} must hold {broken.expected}.", _REMEDY)
    message = f"{name} needs {broken.expected}; got {shown}."
    return Fault(broken.column, broken.rule, message, _REMEDY)


def _safe(rule: ColumnRule | None) -> tuple[float, float]:
    """Return ends between which a number breaks no rule of its column."""
    low, high = -np.inf, np.inf
    if rule is None:
        return low, high
    if rule.range is not None:
        low = float(rule.range.min) if isinstance(rule.range.min, int | float) else low
        high = float(rule.range.max) if isinstance(rule.range.max, int | float) else high
    if rule.scale is not None:
        low, high = max(low, rule.scale.min), min(high, rule.scale.max)
    return low, high


def _allows_zero(rule: ColumnRule | None) -> bool:
    """Return whether 0, which has no size, lies in the column's range."""
    limit = None if rule is None else rule.range
    if limit is None:
        return True
    return not (isinstance(limit.min, int | float) and limit.min > 0) and not (
        isinstance(limit.max, int | float) and limit.max < 0
    )


def _ticks(moment: Any) -> float:
    """Return a naive time in UTC as microseconds since 1970; an absent end is no end."""
    if moment is None:
        return np.inf
    return float(np.datetime64(moment, "us").astype(np.int64))


def _ends(low: Any, high: Any) -> str:
    if low is None:
        return f"at most {say_value(high)}"
    return (
        f"at least {say_value(low)}" if high is None else f"{say_value(low)} to {say_value(high)}"
    )


def _sizes(scale: ScaleRule) -> str:
    return f"the size {say_number(scale.min)} to {say_number(scale.max)}"


def _listed(values: tuple[Any, ...]) -> str:
    more = f" and {len(values) - 6:,} more" if len(values) > 6 else ""
    return f"one of {', '.join(say_value(value) for value in values[:6])}{more}"


def _places(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())
