"""Rules that a person writes beside the columns: an expectation of GX, or a SQL condition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from expectations.sql_condition import parse_condition
from expectations.text.phrases import Severity

_NAME = re.compile(r"expect_[a-z0-9_]+")
_DATABASE_ONLY = {
    "expect_query_results_to_match_comparison",
    "expect_table_row_count_to_equal_other_table",
}
# keepfit sets these itself; a row condition of GX on pandas is Python code that would be run.
_RESERVED = {
    "batch_id", "catch_exceptions", "condition_parser", "id", "meta", "notes", "rendered_content",
    "result_format", "row_condition", "windows",
}  # fmt: skip
MAX_DEPTH = 8


class RuleError(ValueError):
    """A rule that only Great Expectations could find wrong; `loc` is as in pydantic's error."""

    def __init__(self, loc: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.loc = loc


class Rule(BaseModel):
    """One entry of ``rules``: either ``expect``, whose arguments are further keys, or ``sql``.

    ``sql`` must be true on every row but a share of `max_share`; a row where it is unknown, because
    a value is missing, holds it, as a CHECK in a database does.
    """

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    expect: str | None = None
    sql: str | None = None
    name: str | None = Field(None, min_length=1, max_length=200)
    severity: Severity = "error"
    max_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0

    @model_validator(mode="after")
    def _one_kind(self) -> Rule:
        if (self.expect is None) == (self.sql is None):
            raise ValueError("a rule needs either `expect` or `sql`, not both and not neither")
        if self.sql is not None:
            self._check_sql(self.sql)
        elif self.expect is not None:
            self._check_expectation(self.expect)
        return self

    def _check_sql(self, sql: str) -> None:
        if self.arguments:
            unknown = ", ".join(sorted(self.arguments))
            raise ValueError(
                f"a sql rule has only name, severity and max_share; got {unknown}. Remove it"
            )
        parse_condition(sql)

    def _check_expectation(self, expect: str) -> None:
        if not _NAME.fullmatch(expect):
            raise ValueError(f"an expectation's name begins with expect_; got {expect!r}")
        if expect in _DATABASE_ONLY:
            raise ValueError(f"{expect} works only inside a database. Write a `sql` rule")
        if "max_share" in self.model_fields_set:
            raise ValueError("max_share belongs to a sql rule. Write `mostly` for an expectation")
        for key in self.arguments:
            if key in _RESERVED:
                raise ValueError(
                    f"{key} cannot be set here. For a rule on some of the rows write a `sql` rule"
                )
        _check_plain(self.arguments, 0)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the expectation."""
        return dict(self.model_extra or {})

    @property
    def title(self) -> str:
        """Description for people."""
        return self.name or self.expect or self.sql or ""

    @property
    def key(self) -> tuple[str, str]:
        """What distinguishes the rule from any other, whose title may be the same."""
        return "rules", self.model_dump_json(exclude_defaults=True)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of columns as the rule writes them; empty for a rule on the whole table."""
        if self.sql is not None:
            return parse_condition(self.sql).names
        if self.expect is not None and self.expect.startswith("expect_table_"):
            return ()
        return tuple(dict.fromkeys(self._argument_columns()))

    def _argument_columns(self) -> Iterator[str]:
        for key in ("column", "column_A", "column_B"):
            if isinstance(self.arguments.get(key), str):
                yield self.arguments[key]
        listed = self.arguments.get("column_list")
        if isinstance(listed, list | tuple):
            yield from (str(column) for column in listed)


def _check_plain(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"arguments nest at most {MAX_DEPTH} deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            # GX evaluates a mapping with such a key as an expression.
            if not isinstance(key, str) or key.startswith("$"):
                raise ValueError(f"an argument's key is a name; got {key!r}")
            _check_plain(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_plain(inner, depth + 1)
    elif value is not None and not isinstance(value, str | int | float | bool):
        raise ValueError(
            f"arguments are texts, numbers, true, false, lists and mappings; "
            f"got {type(value).__name__}. Put it in quotes"
        )
