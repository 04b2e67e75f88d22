from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.base.errors import ContractError
from tasks.base.monitoring_records import Cause
from tasks.base.training_records import ContractResult, RuleResult
from tasks.contracts.snapshot_check import require_passed
from tasks.ledger.ledger import ledger_of
from tasks.monitoring.incidents.contract_stops import record_stop
from tests.opened import opened
from tests.unit.monitoring.alerts.test_notification import pipeline

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CAUSE = Cause(kind="schedule", correlation="c1", at=NOW)


def error_of(count: int, observed: str) -> ContractError:
    rules = tuple(
        RuleResult(
            column=f"c{number}", rule="nulls", severity="error", passed=False,
            expected="at most 2 %", observed=observed, sample=("Alice",),
        )
        for number in range(count)
    )  # fmt: skip
    result = ContractResult(
        passed=False, contract_digest="c", data_digest="d", rows=9, rules=rules, page="/s/page.html"
    )
    with pytest.raises(ContractError) as caught:
        require_passed(result)
    return caught.value


def test_a_stop_records_what_broke_and_no_value_of_a_row(tmp_path: Path) -> None:
    plan, error = pipeline(tmp_path), error_of(14, "40 %")
    stop = record_stop(opened(plan), "training", CAUSE, error, "run-1", NOW)

    assert stop.evidence["rules_broken"] == 14
    assert stop.sentence.endswith("Broken: c0: nulls, c1: nulls, c2: nulls, c3: nulls and 10 more.")
    assert stop.evidence["page"] == "/s/page.html"
    rules = stop.evidence["rules"]
    assert isinstance(rules, list)
    assert rules[0] == "c0: nulls: expected at most 2 %; found 40 %"
    assert "Alice" not in stop.model_dump_json()
    assert "Alice" in error.message


def test_more_rows_of_the_same_fault_are_the_same_stop(tmp_path: Path) -> None:
    plan = pipeline(tmp_path)
    ledger = ledger_of(plan)
    first, more, other = (
        record_stop(
            opened(plan, ledger=ledger),
            "training",
            CAUSE,
            error,
            "",
            NOW + timedelta(minutes=minutes),
        )
        for minutes, error in enumerate(
            (error_of(1, "4 %"), error_of(1, "9 %"), error_of(2, "4 %"))
        )
    )

    assert first.id == more.id != other.id
