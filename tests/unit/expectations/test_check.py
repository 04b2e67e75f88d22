from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_wine

from expectations.check import check_frame
from expectations.contract import Contract
from expectations.inference import infer_contract
from expectations.results import CheckOutcome, CheckResult
from tests.unit.expectations.tables_made import HOSTILE, KINDS, orders

NOW = datetime(2024, 2, 21)


def check(frame: pd.DataFrame, columns: dict[str, Any], **more: Any) -> CheckOutcome:
    values = {"contract": "x", "columns": columns, **more}
    return check_frame(frame, Contract.model_validate(values), now=NOW)


def found(outcome: CheckOutcome, column: str | None, rule: str) -> CheckResult:
    (result,) = [r for r in outcome.results if (r.column, r.rule) == (column, rule)]
    return result


def broken(outcome: CheckOutcome) -> set[tuple[str | None, str, str]]:
    return {(r.column, r.rule, r.severity) for r in outcome.results if not r.passed}


# What keeps its contract


def test_a_table_keeps_the_contract_inferred_from_it() -> None:
    contract = infer_contract(orders(), KINDS, time_column="when", id_columns=["id"], now=NOW)
    outcome = check_frame(orders(), contract, now=NOW)
    assert outcome.passed
    assert broken(outcome) == set()
    assert outcome.rows == 1200


def test_later_rows_of_the_same_process_keep_it() -> None:
    contract = infer_contract(orders(), KINDS, time_column="when", id_columns=["id"], now=NOW)
    for seed in range(1, 6):
        later = orders(rows=400, seed=seed, start="2024-02-20")
        assert check_frame(later, contract, now=datetime(2024, 3, 9)).passed


def test_every_rule_says_what_was_required_and_found() -> None:
    contract = infer_contract(orders(), KINDS, time_column="when", id_columns=["id"], now=NOW)
    for result in check_frame(orders(), contract, now=NOW).results:
        assert result.expected
        assert result.observed


# What breaks it


def mutants(frame: pd.DataFrame, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    column, rows = frame[name], len(frame)
    some = pd.Series(np.arange(rows) % 5 == 0)
    yield "missing", frame.drop(columns=[name])
    yield "renamed", frame.rename(columns={name: f"{name}_2"})
    yield (
        "all null",
        frame.assign(**{name: pd.Series([None] * rows)}),
    )
    half = pd.Series(np.arange(rows) % 2 == 0)
    yield "half null", frame.assign(**{name: column.astype(object).mask(half).infer_objects()})
    if pd.api.types.is_bool_dtype(column):
        yield "retyped", frame.assign(**{name: column.astype("int64")})
    elif pd.api.types.is_numeric_dtype(column):
        yield "retyped", frame.assign(**{name: column.astype("str")})
        yield "other unit", frame.assign(**{name: column * 1000.0})
        yield "constant", frame.assign(**{name: column.iloc[0]})
        if column.min() >= 0:
            yield "sentinel", frame.assign(**{name: column.mask(some, -1)})
    elif pd.api.types.is_datetime64_any_dtype(column):
        yield "retyped", frame.assign(**{name: column.astype("str")})
        yield "epoch", frame.assign(**{name: pd.Timestamp(0)})
    else:
        yield "retyped", frame.assign(**{name: pd.factorize(column)[0]})
        if column.nunique() < 10:
            yield "unseen", frame.assign(**{name: column.mask(some, "elsewhere")})


def tables() -> Iterator[Any]:
    yield pytest.param(orders(), KINDS, id="orders")
    for load, name in ((load_wine, "wine"), (load_breast_cancer, "cancer")):
        frame = load(as_frame=True).frame.iloc[:, :6]
        kinds = dict.fromkeys(frame.columns, "numeric")
        yield pytest.param(frame, kinds, id=name, marks=pytest.mark.slow)


@pytest.mark.parametrize(("frame", "kinds"), list(tables()))
def test_no_gross_fault_of_any_column_passes_unnamed(
    frame: pd.DataFrame, kinds: dict[str, str]
) -> None:
    contract = infer_contract(frame, kinds, now=NOW)
    silent = []
    for name in frame.columns:
        for fault, changed in mutants(frame, name):
            outcome = check_frame(changed, contract, now=NOW)
            named = {r.severity for r in outcome.results if not r.passed and r.column == name}
            # A part of the rows is for monitoring to weigh; the whole column is a fault.
            warned = fault in {"constant", "half null", "sentinel", "unseen"}
            warned |= kinds[name] in {"constant", "identifier"}
            wanted = {"error", "warning"} if warned else {"error"}
            if not named & wanted:
                silent.append((name, fault))
    assert silent == []


def test_a_missing_column_is_named_with_what_it_may_be_called_now() -> None:
    frame = pd.DataFrame({"Price ": [1.0]})
    result = found(check(frame, {"price": {"kind": "numeric"}}), "price", "present")
    assert not result.passed
    assert result.severity == "error"
    assert "'Price ' is new: was it renamed?" in result.observed


def test_a_number_that_became_text_shows_what_is_no_number() -> None:
    frame = pd.DataFrame({"x": pd.Series(["1", "2", "n/a", "3,5"], dtype="str")})
    result = found(check(frame, {"x": {"kind": "numeric", "range": {"min": 0}}}), "x", "kind")
    assert (result.passed, result.failed_rows, result.sample) == (False, 2, ("n/a", "3,5"))
    assert result.failed_share == 0.5


def test_numbers_as_text_are_retyped_even_if_all_read_as_numbers() -> None:
    frame = pd.DataFrame({"x": pd.Series(["1", "2"], dtype="str")})
    result = found(check(frame, {"x": {"kind": "numeric"}}), "x", "kind")
    assert not result.passed
    assert "every value reads as a number" in result.observed


def test_mixed_types_show_the_odd_values() -> None:
    frame = pd.DataFrame({"x": pd.Series([1, 2, "three", None], dtype=object)})
    result = found(check(frame, {"x": {"kind": "numeric"}}), "x", "kind")
    assert (result.passed, result.failed_rows, result.sample) == (False, 1, ("three",))


def test_one_absurd_value_is_a_warning_and_another_unit_an_error() -> None:
    columns = {"x": {"kind": "numeric", "range": {"min": 0, "max": 10}}}
    one = pd.DataFrame({"x": np.r_[np.ones(999), 5000.0]})
    result = found(check(one, columns), "x", "range")
    assert (result.severity, result.failed_rows, result.failed_share) == ("warning", 1, 0.001)
    assert result.sample == ("5,000",)
    assert result.observed == "1 row (0.1 %) outside; 1 to 5,000"
    assert found(check(one * 1000, columns), "x", "range").severity == "error"


def test_shares_are_of_the_rows_with_a_value() -> None:
    frame = pd.DataFrame({"x": [np.nan] * 900 + [1.0] * 50 + [-1.0] * 50})
    columns = {"x": {"kind": "numeric", "range": {"min": 0}}}
    result = found(check(frame, columns), "x", "range")
    assert (result.severity, result.failed_share) == ("error", 0.5)


@pytest.mark.parametrize(
    ("nulls", "state"), [(0, "ok"), (10, "ok"), (30, "warning"), (60, "error")]
)
def test_missing_values_have_a_usual_share_and_a_limit(nulls: int, state: str) -> None:
    frame = pd.DataFrame({"x": [np.nan] * nulls + [1.0] * (1000 - nulls)})
    outcome = check(frame, {"x": {"kind": "numeric", "nulls": {"usual": 0.01, "max": 0.05}}})
    result = found(outcome, "x", "nulls")
    assert result.passed == (state == "ok")
    assert result.severity == ("warning" if state == "warning" else "error")
    assert result.failed_rows == (0 if state == "ok" else nulls)


@pytest.mark.parametrize(("rows", "severity"), [(1, "warning"), (1000, "error")])
def test_one_odd_row_alone_is_no_stop(rows: int, severity: str) -> None:
    frame = pd.DataFrame({"x": pd.Series(["new"] * rows, dtype="str")})
    columns = {"x": {"kind": "categorical", "categories": {"values": ["old"]}}}
    assert found(check(frame, columns), "x", "categories").severity == severity


def test_a_limit_of_none_is_kept_in_small_tables_too() -> None:
    frame = pd.DataFrame({"x": pd.Series(["new"], dtype="str")})
    rule = {"kind": "categorical", "categories": {"values": ["old"], "max_unseen": 0.0}}
    assert not check(frame, {"x": rule}).passed


def test_a_severity_of_a_rule_overrides_that_of_its_column() -> None:
    frame = pd.DataFrame({"x": [-1.0] * 200})
    rule = {"kind": "numeric", "severity": "warning", "range": {"min": 0, "severity": "error"}}
    assert broken(check(frame, {"x": rule})) == {("x", "range", "error")}
    rule["range"] = {"min": 0}
    assert broken(check(frame, {"x": rule})) == {("x", "range", "warning")}


def test_infinite_values_are_outside() -> None:
    frame = pd.DataFrame({"x": [1.0, np.inf, -np.inf]})
    rule = {"kind": "numeric", "range": {"min": -1e300, "max": 1e300}}
    assert found(check(frame, {"x": rule}), "x", "range").sample == ("∞", "−∞")


def test_ids_that_repeat_are_counted_and_sampled() -> None:
    frame = pd.DataFrame({"id": pd.Series(["a", "b", "a", None], dtype="str")})
    result = found(check(frame, {"id": {"kind": "identifier", "unique": True}}), "id", "unique")
    assert (result.passed, result.severity, result.failed_rows) == (False, "error", 2)
    assert result.sample == ("a",)


def test_columns_unique_together() -> None:
    frame = pd.DataFrame({"a": [1, 1, 2], "b": [1, 1, 1]})
    columns = {"a": {"kind": "numeric"}, "b": {"kind": "numeric"}}
    result = found(check(frame, columns, table={"unique": [["a", "b"]]}), None, "unique")
    assert (result.passed, result.failed_rows, result.sample) == (False, 2, ("1, 1",))
    absent = found(check(frame, columns, table={"unique": [["a", "c"]]}), None, "unique")
    assert (absent.passed, absent.observed) == (False, "there is no column c")


def test_a_constant_column_is_a_warning_where_values_should_differ() -> None:
    frame = pd.DataFrame({"x": [3.0] * 60})
    assert broken(check(frame, {"x": {"kind": "numeric", "varies": True}})) == {
        ("x", "varies", "warning")
    }
    assert broken(check(frame.head(3), {"x": {"kind": "numeric", "varies": True}})) == set()


def test_the_number_of_rows_is_judged() -> None:
    frame = pd.DataFrame({"x": [1.0] * 5})
    outcome = check(frame, {}, table={"rows": {"min": 10}, "extra_columns": "ignore"})
    assert broken(outcome) == {(None, "rows", "error")}
    assert not check(frame.head(0), {"x": {"kind": "numeric"}}).passed


def test_further_columns_and_another_order_are_warnings() -> None:
    frame = pd.DataFrame({"b": [1.0], "new": [1], "a": [1.0]})
    outcome = check(frame, {"a": {"kind": "numeric"}, "b": {"kind": "numeric"}})
    assert broken(outcome) == {
        (None, "extra columns", "warning"),
        (None, "column order", "warning"),
    }
    assert outcome.passed
    assert found(outcome, None, "extra columns").observed == "1 more: new"


@pytest.mark.parametrize(
    ("newest", "passed"),
    [("2024-02-20", True), ("2024-01-01", False), ("2024-03-01", False), (None, False)],
)
def test_freshness_is_judged_in_both_directions(newest: str | None, passed: bool) -> None:
    frame = pd.DataFrame({"t": pd.to_datetime(["2023-01-01" if newest else None, newest])})
    table = {"freshness": {"column": "t", "max_age": "7d"}}
    outcome = check(frame, {"t": {"kind": "datetime"}}, table=table)
    assert found(outcome, None, "freshness").passed is passed


def test_a_sql_rule_counts_and_samples_its_rows() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, None], "b": [1.0, 3.0, 1.0]})
    rules = [{"sql": "a = b", "name": "they agree"}]
    outcome = check(frame, {}, rules=rules)
    result = found(outcome, None, "they agree")
    assert (result.passed, result.failed_rows, result.sample) == (False, 1, ("a = 2, b = 3",))
    assert not outcome.passed


def test_a_sql_rule_may_tolerate_a_share() -> None:
    frame = pd.DataFrame({"a": [0.0] * 10 + [1.0] * 990})
    result = found(check(frame, {}, rules=[{"sql": "a > 0", "max_share": 0.02}]), None, "a > 0")
    assert (result.passed, result.severity, result.failed_rows) == (True, "error", 10)


def test_a_rule_on_an_absent_column_fails_and_does_not_crash() -> None:
    frame = pd.DataFrame({"price": [1.0]})
    rules = [
        {"sql": "prize > 0", "name": "in sql"},
        {"expect": "expect_column_values_to_be_unique", "column": "prize", "name": "in gx"},
    ]
    outcome = check(frame, {}, rules=rules)
    assert "nearest is price" in found(outcome, None, "in sql").observed
    assert "nearest is price" in found(outcome, "prize", "in gx").observed


def test_hostile_names_are_checked_like_others() -> None:
    frame = pd.DataFrame({name: [1.0, 2.0, 3.0] * 40 for name in HOSTILE})
    contract = infer_contract(frame, dict.fromkeys(HOSTILE, "numeric"))
    assert check_frame(frame, contract).passed
    outcome = check_frame(-frame, contract)
    assert {r.column for r in outcome.warnings} == set(HOSTILE)


def test_the_feature_part_passes_one_row_and_none() -> None:
    contract = infer_contract(orders(), KINDS, target="late", time_column="when", now=NOW)
    part = contract.feature_part(["price", "shop"])
    assert check_frame(orders(1), part).passed
    assert check_frame(orders(1).head(0), part).passed


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.floats(width=32) | st.none(), min_size=1, max_size=40),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
)
def test_a_range_agrees_with_plain_python(
    cells: list[float | None], one: float, other: float
) -> None:
    low, high = min(one, other), max(one, other)
    frame = pd.DataFrame({"x": pd.Series(cells, dtype="float64")})
    known = frame["x"].dropna().tolist()
    outcome = check(frame, {"x": {"kind": "numeric", "range": {"min": low, "max": high}}})
    result = found(outcome, "x", "range")
    assert result.failed_rows == sum(not low <= value <= high for value in known)
    assert result.passed == (result.failed_rows == 0)


CELL = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CELL, max_size=8))
def test_no_column_crashes_it(cells: list[Any]) -> None:
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object)})
    for rule in (
        {"kind": "numeric", "range": {"min": 0}, "unique": True, "varies": True},
        {"kind": "categorical", "categories": {"values": ["a"]}, "nulls": {"max": 0.5}},
        {"kind": "datetime", "range": {"min": "2024-01-01"}},
        {"kind": "constant"},
    ):
        assert check(frame, {"x": rule}).results


def test_results_are_plain_values() -> None:
    contract = infer_contract(orders(), KINDS, time_column="when", id_columns=["id"], now=NOW)
    changed = orders().assign(price=-1.0, shop=1, unit="USD").drop(columns="note")
    outcome = check_frame(pd.concat([changed, changed]), contract, now=NOW)
    plain = [asdict(result) for result in outcome.results]
    assert json.loads(json.dumps(plain, allow_nan=False))[0]["rule"] == "rows"
    assert type(outcome.passed) is bool
