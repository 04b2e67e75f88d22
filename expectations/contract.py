"""The data contract: what must hold of a table, as plain values that a person edits.

```yaml
contract: flights              # name
version: 2                     # of this format
table:
  rows: {min: 1000, max: null, severity: error}
  freshness: {column: time_hour, max_age: 30d, severity: warning}
  future: {column: time_hour, tolerance: 1d}  # rows with a later time are not scored; else a warning
  extra_columns: warning       # a column the contract does not name: warning | error | ignore
  column_order: warning        # columns in another order than here: warning | error | ignore
  unique: [[carrier, flight]]  # no two rows agree in all of these columns
  nulls: {usual: 0.02, empty_from: 2}  # of every column that states no `nulls` of its own
columns:
  distance:
    kind: numeric              # numeric | categorical | boolean | datetime | text | identifier | constant
    severity: error            # error stops the flow; warning is recorded; the default for the rules below
    stored_as: number          # number | text | boolean | time; only where the kind leaves it open
    written_as: "$ 1,234.5"    # unit and style of numbers, or format of times, that stand as text
    nulls: {usual: 0.01, max: 0.06}       # shares; above usual a warning, above max the severity
    # nulls: {usual: 0.01, empty_from: 3}  # from 3 rows on: all of them missing, the severity
    range: {min: 0, max: 7500, max_share: 0.05}  # any row outside a warning, above this share the severity
    scale: {min: 0.5, max: 90000}  # of the sizes (without sign and 0) their median; see ScaleRule
    unique: true               # no value twice
    varies: true               # a warning when all values are equal
  carrier:
    kind: categorical
    categories: {values: [AA, B6], max_unseen: 0.05}  # any unseen value a warning, above this share the severity
rules:
  - {expect: expect_column_pair_values_a_to_be_greater_than_b, column_A: arr_time, column_B: dep_time, severity: warning}
  - {sql: "distance > 0 AND origin <> dest", name: a flight goes somewhere, max_share: 0.0}
```

`nulls`, `range`, `categories`, `rows`, `freshness` and every entry of `rules` take a `severity` of
their own. Only `contract` and each column's `kind` are required. A limit on a share is widened by
what chance allows in a table of that size: it is broken where the share, if it were the true one,
would bring as many rows less than once in ten thousand times. So one odd row in a small batch is a
warning and not a stop. In `version: 1` as many rows are allowed below 100 rows as in a table of 100.
"""  # noqa: E501 - one key, one line

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    field_validator,
    model_validator,
)

from expectations.custom_rules import Rule
from expectations.text.phrases import Severity
from expectations.text.time_spans import as_naive_utc, format_span, parse_span

Kind = Literal["numeric", "categorical", "boolean", "datetime", "text", "identifier", "constant"]
Storage = Literal["number", "text", "boolean", "time"]
Reaction = Literal["warning", "error", "ignore"]
Scalar = str | int | float | bool
Number = int | float

_STORED: dict[str, Storage] = {
    "numeric": "number",
    "categorical": "text",
    "boolean": "boolean",
    "datetime": "time",
    "text": "text",
    "identifier": "text",
}


def _bound(value: Any) -> Number | datetime:
    if isinstance(value, bool):
        raise ValueError(f"a bound is a number or a time; got {value}")
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError(f"a bound must be finite; got {value}. Leave the bound out")
        return value
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(
                f"a bound is a number or a time; got {value!r}. Write 17, 0.5 or 2013-01-31"
            ) from None
    if isinstance(value, datetime):
        return value
    raise ValueError(f"a bound is a number or a time; got {type(value).__name__}")


def _category(value: Any) -> Scalar:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a category must be finite; missing values belong to `nulls`")
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, date):
        return value.isoformat()
    raise ValueError(
        f"a category is a text, a number, true or false; got {type(value).__name__}. "
        "Put it in quotes; missing values belong to `nulls`"
    )


Bound = Annotated[
    Number | datetime,
    PlainValidator(_bound),
    PlainSerializer(lambda v: v.isoformat() if isinstance(v, datetime) else v),
]
Category = Annotated[Scalar, PlainValidator(_category), PlainSerializer(lambda v: v)]
Span = Annotated[timedelta, BeforeValidator(parse_span), PlainSerializer(format_span)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False, strict=True)]


class Part(BaseModel):
    """A frozen part of a contract; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class NullRule(Part):
    """Largest number of missing values, as shares of the rows.

    `empty_from` so many rows on a table without any value breaks the rule; None: by `max`.
    """

    max: Share = 1.0
    usual: Share | None = None
    empty_from: int | None = Field(None, ge=1)
    severity: Severity | None = None

    @model_validator(mode="after")
    def _ordered(self) -> NullRule:
        if self.usual is not None and self.usual > self.max:
            raise ValueError(f"usual must not exceed max; got {self.usual} and {self.max}")
        return self


class RangeRule(Part):
    """Least and greatest value, both allowed; missing values are not judged."""

    min: Bound | None = None
    max: Bound | None = None
    max_share: Share = 0.05
    severity: Severity | None = None

    @model_validator(mode="after")
    def _ordered(self) -> RangeRule:
        low, high = self.min, self.max
        if low is None and high is None:
            raise ValueError("a range needs min, max or both")
        if low is None or high is None:
            return self
        if isinstance(low, datetime) != isinstance(high, datetime):
            raise ValueError("min and max must both be numbers or both be times")
        if isinstance(low, datetime) and isinstance(high, datetime):
            low, high = as_naive_utc(low), as_naive_utc(high)
        if low > high:  # type: ignore[operator]
            raise ValueError(f"min must not exceed max; got {low} and {high}")
        return self


_COMMON = 3
FEW_SIZES = 5
FAR = 7.0
"""Factor of the limit up to which fewer than `FEW_SIZES` values may lie."""


class ScaleRule(Part):
    """Between which sizes the median of a column lies: what lies outside has another unit.

    A size is a value without its sign; zeros and missing values have none. Fewer than five values
    may lie up to `far` (absent: seven times `max`), and down to a seventh of `min`; a row beyond
    `far` is a fault of the row.
    """

    min: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    max: float = Field(gt=0.0, allow_inf_nan=False)
    far: float | None = Field(None, gt=0.0, allow_inf_nan=False)
    severity: Severity | None = None

    @property
    def farthest(self) -> float:
        """The size beyond which a single row is at fault."""
        return FAR * self.max if self.far is None else self.far


class CategoryRule(Part):
    """The values that may occur; missing values are not judged."""

    values: tuple[Category, ...] = Field(min_length=1)
    max_unseen: Share = 0.05
    severity: Severity | None = None


class ColumnRule(Part):
    """Rules of one column."""

    kind: Kind
    severity: Severity = "error"
    stored_as: Storage | None = None
    written_as: str | None = Field(None, max_length=60)
    nulls: NullRule | None = None
    range: RangeRule | None = None
    categories: CategoryRule | None = None
    scale: ScaleRule | None = None
    unique: bool = False
    varies: bool = False

    @model_validator(mode="after")
    def _coherent(self) -> ColumnRule:
        if self.range is not None:
            needed = "time" if isinstance(self.range.min or self.range.max, datetime) else "number"
            if self.storage != needed:
                raise ValueError(
                    f"a range of {needed}s does not fit a column of kind {self.kind}"
                    + (f" stored as {self.stored_as}" if self.stored_as else "")
                )
        if self.scale is not None and self.storage != "number":
            raise ValueError(f"a scale does not fit a column of kind {self.kind}")
        if self.categories is not None and self.storage is not None:
            for value in self.categories.values:
                if _storage_of(value) != self.storage:
                    raise ValueError(
                        f"the category {value!r} is no {self.storage}, as the values of this "
                        f"column are. Put texts in quotes, or set stored_as: {_storage_of(value)}"
                    )
        return self

    @property
    def storage(self) -> Storage | None:
        """Storage type of the values; None: a constant of any type."""
        return self.stored_as or _STORED.get(self.kind)


def _storage_of(value: Scalar) -> Storage:
    if isinstance(value, str):
        return "text"
    return "boolean" if isinstance(value, bool) else "number"


class RowsRule(Part):
    """Number of rows of the table, both ends allowed."""

    min: int = Field(1, ge=0)
    max: int | None = Field(None, ge=0)
    severity: Severity = "error"

    @model_validator(mode="after")
    def _ordered(self) -> RowsRule:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"min must not exceed max; got {self.min} and {self.max}")
        return self


class FreshnessRule(Part):
    """Greatest age of the newest row; more than a day in the future breaks it too."""

    column: str = Field(min_length=1)
    max_age: Span
    severity: Severity = "warning"


class FutureRule(Part):
    """Greatest lead of a row's time over the clock; rows beyond are not scored."""

    column: str = Field(min_length=1)
    tolerance: Span = timedelta(days=1)
    severity: Severity = "warning"


class TableRule(Part):
    """Rules of the table as a whole."""

    rows: RowsRule | None = RowsRule()
    freshness: FreshnessRule | None = None
    future: FutureRule | None = None
    extra_columns: Reaction = "warning"
    column_order: Reaction = "warning"
    unique: tuple[tuple[str, ...], ...] = ()
    nulls: NullRule | None = None

    @field_validator("unique")
    @classmethod
    def _named(cls, value: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        for columns in value:
            if not columns or len(set(columns)) < len(columns):
                raise ValueError("each entry of unique is a list of different columns")
        return value


class Contract(Part):
    """Rules of a table; see the module's docstring for every key."""

    contract: str = Field(min_length=1, max_length=200)
    version: Literal[1, 2] = 1
    table: TableRule = TableRule()
    columns: dict[str, ColumnRule] = {}
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _filled(self) -> Contract:
        """Give columns that state no `nulls` the table's; a file is written without them again."""
        if self.table.nulls is not None:
            nulls = {"nulls": self.table.nulls}
            for name, rule in self.columns.items():
                if rule.nulls is None:
                    self.columns[name] = rule.model_copy(update=nulls)
        return self

    def with_common_nulls(self) -> Contract:
        """Return the contract with the commonest rule on nulls stated once, for the table."""
        rules = [rule.nulls for rule in self.columns.values() if rule.nulls is not None]
        if self.table.nulls is not None or len(rules) < len(self.columns):
            return self
        commonest = max(rules, key=rules.count, default=None)
        if commonest is None or rules.count(commonest) < _COMMON:
            return self
        table = self.table.model_copy(update={"nulls": commonest})
        return self.model_copy(update={"table": table})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for YAML or JSON, without what equals its default."""
        head: dict[str, Any] = {"contract": self.contract, "version": self.version}
        plain = self.model_dump(mode="json", exclude_defaults=True, exclude={"contract", "version"})
        if self.table.nulls is not None:
            for name, rule in self.columns.items():
                if rule.nulls == self.table.nulls:
                    del plain["columns"][name]["nulls"]
                elif rule.nulls is None:
                    plain["columns"][name]["nulls"] = {}
        return head | plain

    def digest(self) -> str:
        """Return the SHA-256 of the contract's content, 64 hex digits."""
        text = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def by_chance(self) -> bool:
        """Whether limits on shares allow what chance does in a table of that size."""
        return self.version > 1

    def feature_part(self, columns: Collection[str]) -> Contract:
        """Return only what concerns `columns`, for rows that are to be scored."""
        # Row count, freshness, order and further columns are not required of them, nor that values
        # differ: a batch may hold a single row.
        kept, future = set(columns), self.table.future
        return Contract(
            contract=self.contract,
            version=self.version,
            table=TableRule(
                rows=None,
                future=future if future is not None and future.column in kept else None,
                extra_columns="ignore",
                column_order="ignore",
                unique=tuple(key for key in self.table.unique if kept.issuperset(key)),
            ),
            columns={
                name: rule.model_copy(update={"varies": False})
                for name, rule in self.columns.items()
                if name in kept
            },
            rules=tuple(rule for rule in self.rules if rule.columns and _within(rule, kept)),
        )


def _within(rule: Rule, columns: Collection[str]) -> bool:
    if rule.sql is None:
        return set(columns).issuperset(rule.columns)
    folded = {column.casefold() for column in columns}
    return all(name.casefold() in folded for name in rule.columns)
