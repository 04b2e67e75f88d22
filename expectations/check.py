"""Check of a table against its contract: one result for every rule."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from expectations.contract import Contract
from expectations.custom_rules import Rule
from expectations.engine.libraries import pd
from expectations.facts.column_facts import ColumnFacts, gather_facts
from expectations.results import CheckOutcome, CheckResult, grade, say_failed
from expectations.rules.column_rules import ColumnCheck, missing_column
from expectations.rules.sql_rows import broken_rows
from expectations.rules.table_rules import check_table
from expectations.sql_condition import parse_condition
from expectations.suite import RawResult, run_suite
from expectations.text.phrases import say_share, shorten


def check_frame(
    frame: pd.DataFrame,
    contract: Contract,
    *,
    kinds: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> CheckOutcome:
    """Check every rule of `contract` on `frame`, which is not changed."""
    # `kinds` inferred from this table only describe what was found. `now` is when freshness is
    # judged. Raises RuleError when ``rules`` names an expectation or an argument that does not
    # exist.
    started = time.monotonic()
    facts = gather_facts(frame, contract.columns)
    raw = run_suite(frame, contract, facts)
    verdicts = {result.rule: result for result in raw if result.column is None}
    moment = now or datetime.now(UTC)
    results = [
        *check_table(frame, contract, facts, verdicts, moment),
        *_of_columns(frame, contract, facts, raw, kinds or {}),
        *_of_rules(frame, contract, verdicts),
    ]
    return CheckOutcome.since(started, results, len(frame))


def _of_columns(
    frame: pd.DataFrame,
    contract: Contract,
    facts: Mapping[str, ColumnFacts],
    raw: list[RawResult],
    kinds: Mapping[str, str],
) -> Iterator[CheckResult]:
    verdicts: dict[str, dict[str, RawResult]] = {}
    for result in raw:
        if result.column is not None:
            verdicts.setdefault(result.column, {})[result.rule] = result
    strangers = [str(name) for name in frame.columns if name not in contract.columns]
    for name, rule in contract.columns.items():
        if name not in facts:
            yield missing_column(name, rule, strangers)
            continue
        check = ColumnCheck(
            name, rule, facts[name], verdicts.get(name, {}), kinds.get(name), contract.by_chance
        )  # fmt: skip
        yield from check.results()


def _of_rules(
    frame: pd.DataFrame, contract: Contract, written: Mapping[str, RawResult]
) -> Iterator[CheckResult]:
    for index, rule in enumerate(contract.rules):
        if rule.sql is not None:
            result = _sql_result(frame, rule, by_chance=contract.by_chance)
        else:
            result = _expectation_result(len(frame), rule, written[f"#{index}"])
        yield replace(result, key=rule.key)


def _sql_result(frame: pd.DataFrame, rule: Rule, *, by_chance: bool) -> CheckResult:
    rows = len(frame)
    expected = shorten(rule.sql or "", 200)
    expected += f", broken by at most {say_share(rule.max_share)} of the rows" * bool(
        rule.max_share
    )
    result = CheckResult(None, shorten(rule.title, 80), rule.severity, False, expected)
    found = broken_rows(frame, parse_condition(rule.sql or ""))
    if found.problem:
        return replace(result, observed=found.problem)
    passed = found.failed_rows <= rule.max_share * rows + 1e-9
    graded = grade(found.failed_rows, rows, rule.max_share, rule.severity, by_chance=by_chance)
    return replace(
        result,
        passed=passed,
        severity=rule.severity if passed else graded,
        observed=f"{say_failed(found.failed_rows, rows, rule.max_share)} break it"
        if found.failed_rows
        else "holds",
        failed_rows=found.failed_rows,
        failed_share=found.failed_rows / max(rows, 1),
        sample=found.sample,
    )


def _expectation_result(rows: int, rule: Rule, raw: RawResult) -> CheckResult:
    arguments = ", ".join(f"{key} = {value}" for key, value in rule.arguments.items())
    observed = raw.problem or ("holds" if raw.success else raw.observed or "does not hold")
    if raw.failed_rows:
        observed = f"{say_failed(raw.failed_rows, rows)} break it"
    columns = rule.columns
    return CheckResult(
        column=columns[0] if len(columns) == 1 else None,
        rule=shorten(rule.title, 80),
        severity=rule.severity,
        passed=raw.success,
        expected=shorten(f"{rule.expect}({arguments})", 200),
        observed=observed,
        failed_rows=raw.failed_rows,
        failed_share=raw.failed_rows / max(rows, 1) if raw.failed_rows else None,
        sample=raw.sample,
    )
