"""The rules of the table as a whole, each with its result as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from expectations.contract import Contract, FreshnessRule, FutureRule, RowsRule
from expectations.engine.libraries import pd
from expectations.facts.column_facts import ColumnFacts, later_than, repeated
from expectations.results import CheckResult, say_failed
from expectations.suite import RawResult, unique_rule
from expectations.text.phrases import MAX_SAMPLE, Severity, sample_of, say_rows, shorten
from expectations.text.time_spans import as_naive_utc, format_span

_FUTURE = timedelta(days=1)


def check_table(
    frame: pd.DataFrame,
    contract: Contract,
    facts: Mapping[str, ColumnFacts],
    verdicts: Mapping[str, RawResult],
    now: datetime,
) -> Iterator[CheckResult]:
    """Yield one result for every rule on the table as a whole."""
    table = contract.table
    if table.rows is not None:
        yield _rows(len(frame), table.rows, verdicts.get("rows"))
    if table.freshness is not None:
        yield _freshness(table.freshness, facts.get(table.freshness.column), now)
    if table.future is not None:
        yield _future(table.future, facts.get(table.future.column), now)
    names = [str(name) for name in frame.columns]
    if table.extra_columns != "ignore":
        yield _extra_columns(names, contract, table.extra_columns)
    if table.column_order != "ignore":
        yield _column_order(names, list(contract.columns), table.column_order)
    for columns in table.unique:
        yield _unique(frame, columns, verdicts.get(unique_rule(columns)))


def _rows(rows: int, rule: RowsRule, verdict: RawResult | None) -> CheckResult:
    within = rows >= rule.min and (rule.max is None or rows <= rule.max)
    passed = within if verdict is None else verdict.success
    expected = f"at least {say_rows(rule.min)}"
    if rule.max is not None:
        expected = f"{rule.min:,} to {say_rows(rule.max)}"
    return CheckResult(None, "rows", rule.severity, passed, expected, say_rows(rows))


def _freshness(rule: FreshnessRule, facts: ColumnFacts | None, now: datetime) -> CheckResult:
    expected = f"newest {shorten(rule.column, 40)} at most {format_span(rule.max_age)} old"
    result = CheckResult(None, "freshness", rule.severity, False, expected)
    if facts is None:
        return replace(result, observed=f"there is no column {shorten(rule.column, 40)}")
    if facts.stored != "time":
        return replace(result, observed=f"{shorten(rule.column, 40)} holds no times")
    newest = pd.Timestamp(facts.high).to_pydatetime()
    age = as_naive_utc(now) - newest
    text = f"{newest.isoformat(sep=' ', timespec='seconds')} UTC"
    if age < -_FUTURE:
        return replace(result, observed=f"{text}, which is in the future")
    return replace(result, passed=age <= rule.max_age, observed=f"{text}, {_say_age(age)} old")


def _future(rule: FutureRule, facts: ColumnFacts | None, now: datetime) -> CheckResult:
    result = CheckResult(
        rule.column, "future", rule.severity, True,
        f"no row later than {format_span(rule.tolerance)} from now", "no row in the future", 0, 0.0,
    )  # fmt: skip
    if facts is None or facts.stored != "time":
        return result
    mask = later_than(facts, now + rule.tolerance)
    failed = int(mask.sum())
    if not failed:
        return result
    return replace(
        result,
        passed=False,
        observed=f"{say_failed(failed, facts.present)} in the future",
        failed_rows=failed,
        failed_share=failed / max(facts.present, 1),
        sample=sample_of(facts.values[mask].drop_duplicates().head(5)),
    )


def _say_age(age: timedelta) -> str:
    hours = max(age.total_seconds(), 0.0) / 3600
    return f"{hours / 24:,.0f} days" if hours >= 48 else f"{hours:,.0f} hours"


def _extra_columns(names: Sequence[str], contract: Contract, severity: Severity) -> CheckResult:
    extra = [name for name in names if name not in contract.columns]
    listed = ", ".join(shorten(name, 40) for name in extra[:MAX_SAMPLE])
    more = f" and {len(extra) - MAX_SAMPLE:,} more" if len(extra) > MAX_SAMPLE else ""
    return CheckResult(
        None, "extra columns", severity, not extra,
        f"no column but the contract's {len(contract.columns):,}",
        f"{len(extra):,} more: {listed}{more}" if extra else "no other column",
    )  # fmt: skip


def _column_order(names: list[str], wanted: list[str], severity: Severity) -> CheckResult:
    there = set(names)
    known = set(wanted)
    expected = [name for name in wanted if name in there]
    found = [name for name in names if name in known]
    moved = next((f for f, e in zip(found, expected, strict=False) if f != e), None)
    return CheckResult(
        None, "column order", severity, moved is None, "columns in the contract's order",
        "in order" if moved is None else f"another order, from {shorten(moved, 40)} on",
    )  # fmt: skip


def _unique(
    frame: pd.DataFrame, columns: tuple[str, ...], verdict: RawResult | None
) -> CheckResult:
    named = " + ".join(shorten(column, 40) for column in columns)
    result = CheckResult(
        columns[0] if len(columns) == 1 else None, "unique", "error", True,
        f"no two rows with the same {named}", "no two rows", 0, 0.0, key=columns,
    )  # fmt: skip
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        text = ", ".join(shorten(column, 40) for column in absent)
        return replace(result, passed=False, observed=f"there is no column {text}")
    if verdict is not None and verdict.success:
        return result
    mask = repeated(frame, list(columns))
    failed = int(mask.sum())
    if not failed:
        return result
    found = frame.loc[mask, list(columns)].drop_duplicates().head(MAX_SAMPLE)
    sample = tuple(
        shorten(", ".join(str(value) for value in row), 40)
        for row in found.itertuples(index=False, name=None)
    )
    return replace(
        result,
        passed=False,
        observed=f"{say_failed(failed, len(frame))} agree with another",
        failed_rows=failed,
        failed_share=failed / len(frame),
        sample=sample,
    )
