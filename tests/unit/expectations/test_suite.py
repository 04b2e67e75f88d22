from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from expectations.contract import Contract
from expectations.custom_rules import RuleError
from expectations.facts.column_facts import gather_facts
from expectations.inference import infer_contract
from expectations.suite import RawResult, run_suite
from tests.unit.expectations.tables_made import HOSTILE, KINDS, orders

PAIR = "expect_column_pair_values_a_to_be_greater_than_b"


def results_of(frame: pd.DataFrame, contract: Contract) -> list[RawResult]:
    return run_suite(frame, contract, gather_facts(frame, contract.columns))


def with_rule(**rule: Any) -> Contract:
    return Contract.model_validate({"contract": "x", "rules": [rule]})


def test_every_rule_on_values_becomes_an_expectation() -> None:
    contract = infer_contract(orders(), KINDS, id_columns=["id"])
    found = {(result.column, result.rule) for result in results_of(orders(), contract)}
    wanted: set[tuple[str | None, str]] = {(None, "rows")}
    for name, rule in contract.columns.items():
        if rule.unique:
            wanted.add((name, "unique"))
        for part in ("nulls", "range", "categories"):
            if getattr(rule, part) is not None:
                wanted.add((name, part))
    assert found == wanted


def test_an_unknown_expectation_is_refused_with_the_nearest() -> None:
    contract = with_rule(expect="expect_column_value_to_be_unique", column="a")
    with pytest.raises(RuleError, match="nearest is expect_column_values_to_be_unique") as caught:
        results_of(pd.DataFrame({"a": [1.0], "b": [2.0]}), contract)
    assert caught.value.loc == ("rules", 0, "expect")


def test_an_unknown_argument_is_refused_with_the_nearest() -> None:
    contract = with_rule(expect=PAIR, column_A="a", column_C="b")
    with pytest.raises(RuleError, match="column_") as caught:
        results_of(pd.DataFrame({"a": [1.0], "b": [2.0]}), contract)
    assert caught.value.loc[:2] == ("rules", 0)


def test_a_written_rule_counts_and_samples_its_rows() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 9.0, None], "b": [2.0, 3.0, 1.0, 1.0]})
    (_, found) = results_of(frame, with_rule(expect=PAIR, column_A="a", column_B="b"))
    assert found == RawResult(None, "#0", False, "", "", 3, ("1, 2", "2, 3", "missing, 1"))


def test_a_written_rule_on_an_absent_column_fails_with_the_reason() -> None:
    frame = pd.DataFrame({"price": [1.0]})
    contract = with_rule(expect="expect_column_values_to_be_unique", column="prize")
    (_, found) = results_of(frame, contract)
    assert not found.success
    assert found.problem == "the table has no column prize; the nearest is price"


def test_a_rule_that_great_expectations_cannot_evaluate_fails_with_the_reason() -> None:
    frame = pd.DataFrame({"a": [1.0], "b": pd.to_datetime(["2024-01-01"])})
    (_, found) = results_of(frame, with_rule(expect=PAIR, column_A="a", column_B="b"))
    assert not found.success
    assert found.problem


def test_hostile_names_are_only_names() -> None:
    frame = pd.DataFrame({name: [1.0, 2.0, 3.0] * 40 for name in HOSTILE})
    contract = infer_contract(frame, dict.fromkeys(HOSTILE, "numeric"))
    results = results_of(frame, contract)
    assert {result.column for result in results} == {None, *HOSTILE} - {""}
    assert all(result.success for result in results)


def test_nothing_is_written_shown_or_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = orders(100)
    before = frame.copy()
    shown = warnings.showwarning
    handlers = list(logging.getLogger().handlers)
    results_of(frame, infer_contract(frame, KINDS))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert warnings.showwarning is shown
    assert logging.getLogger().handlers == handlers
    pd.testing.assert_frame_equal(frame, before)
