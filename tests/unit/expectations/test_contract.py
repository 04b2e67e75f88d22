from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from expectations.contract import Contract

FULL: dict[str, Any] = {
    "contract": "flights",
    "version": 1,
    "table": {
        "rows": {"min": 1000, "max": 5000},
        "freshness": {"column": "time_hour", "max_age": "30d"},
        "extra_columns": "error",
        "unique": [["carrier", "flight"]],
    },
    "columns": {
        "carrier": {"kind": "categorical", "categories": {"values": ["AA", "B6"]}},
        "flight": {"kind": "categorical", "stored_as": "number", "categories": {"values": [1, 2]}},
        "distance": {
            "kind": "numeric",
            "range": {"min": 0, "max": 7500, "severity": "warning"},
            "nulls": {"max": 0.02, "usual": 0.01},
        },
        "time_hour": {"kind": "datetime", "range": {"min": "2013-01-01T00:00:00"}},
    },
    "rules": [
        {"expect": "expect_column_sum_to_be_between", "column": "distance", "min_value": 1},
        {"sql": "distance > 0", "severity": "warning", "name": "a flight goes somewhere"},
    ],
}


def change(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(FULL))
    place: Any = copied
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copied


def test_plain_values_come_back_without_what_is_default() -> None:
    contract = Contract.model_validate(FULL)
    assert contract.to_dict() == FULL
    assert json.loads(json.dumps(contract.to_dict())) == FULL
    assert Contract.model_validate(contract.to_dict()) == contract


USUAL = {"usual": 0.02, "empty_from": 2}


def test_columns_that_state_no_nulls_have_those_of_the_table() -> None:
    columns = {
        "a": {"kind": "numeric"},
        "b": {"kind": "numeric", "nulls": {"max": 0.5}},
        "c": {"kind": "text", "nulls": {}},
    }
    plain = {"contract": "x", "version": 2, "table": {"nulls": USUAL}, "columns": columns}
    contract = Contract.model_validate(plain)
    found = {name: rule.nulls for name, rule in contract.columns.items()}
    assert found["a"] == contract.table.nulls
    assert found["b"] != found["a"] != found["c"]
    assert contract.to_dict() == plain
    assert contract.feature_part(["a", "b"]).columns == {
        name: contract.columns[name] for name in "ab"
    }


def test_what_most_columns_allow_is_written_once_and_deviations_are_not_lost() -> None:
    columns = {name: {"kind": "numeric", "nulls": USUAL} for name in "abcd"}
    columns["d"]["nulls"] = {"max": 0.5}
    contract = Contract.model_validate({"contract": "x", "version": 2, "columns": columns})
    shorter = contract.with_common_nulls()
    assert shorter.to_dict()["table"] == {"nulls": USUAL}
    assert [name for name, c in shorter.to_dict()["columns"].items() if "nulls" in c] == ["d"]
    assert Contract.model_validate(shorter.to_dict()).columns == contract.columns
    # A column without a rule would get one.
    columns["e"] = {"kind": "numeric"}
    loose = Contract.model_validate({"contract": "x", "version": 2, "columns": columns})
    assert loose.with_common_nulls() == loose


def test_a_name_alone_is_a_contract() -> None:
    assert Contract.model_validate({"contract": "x"}).to_dict() == {"contract": "x", "version": 1}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("tabel",), {}, "Extra inputs"),
        (("version",), 3, "Input should be 1 or 2"),
        (("contract",), "", "at least 1 character"),
        (("columns", "distance", "kind"), "number", "numeric"),
        (("columns", "distance", "rang"), {}, "Extra inputs"),
        (("columns", "distance", "range", "min"), "low", "a bound is a number or a time"),
        (("columns", "distance", "range", "min"), float("inf"), "finite"),
        (("columns", "distance", "nulls", "max"), 30, "less than or equal to 1"),
        (("columns", "distance", "nulls", "max"), "0.1", "valid number"),
        (("columns", "distance", "severity"), "fatal", "error"),
        (("columns", "carrier", "categories", "values", 0), None, "belong to `nulls`"),
        (("columns", "carrier", "categories", "values"), [], "at least 1 item"),
        (("table", "freshness", "max_age"), "30", "Write 30d"),
        (("table", "rows", "min"), -1, "greater than or equal to 0"),
    ],
)
def test_the_place_of_a_mistake_follows_the_file(
    path: tuple[str | int, ...], value: Any, said: str
) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        Contract.model_validate(change(path, value))
    assert [error["loc"] for error in caught.value.errors()] == [path]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("columns", "distance", "range"), {"min": 5, "max": 1}, "min must not exceed max"),
        (("columns", "distance", "range"), {}, "needs min, max or both"),
        (("columns", "distance", "range"), {"min": 1, "max": "2024-01-01"}, "both be times"),
        (("columns", "distance", "nulls"), {"max": 0.1, "usual": 0.2}, "usual must not exceed"),
        (("columns", "distance"), {"kind": "numeric", "range": {"min": "2024-01-01"}}, "times"),
        (("columns", "carrier", "range"), {"min": 1}, "does not fit a column of kind categorical"),
        (("columns", "carrier", "categories", "values"), [1], "is no text"),
        (("columns", "flight", "categories", "values"), ["1"], "is no number"),
        (("table", "rows"), {"min": 5, "max": 1}, "min must not exceed max"),
        (("table", "unique"), [["a", "a"]], "different columns"),
        (("rules", 1), {"sql": "distance >"}, "cannot read"),
    ],
)
def test_contradictions_are_refused(path: tuple[str | int, ...], value: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Contract.model_validate(change(path, value))


@pytest.mark.parametrize("values", [None, [], "contract", 3])
def test_a_file_that_is_no_mapping_is_refused(values: Any) -> None:
    with pytest.raises(ValidationError):
        Contract.model_validate(values)


def test_the_digest_follows_the_content_not_the_order() -> None:
    contract = Contract.model_validate(FULL)
    turned = {**FULL, "columns": dict(reversed(FULL["columns"].items()))}
    assert contract.digest() == Contract.model_validate(turned).digest()
    assert contract.digest() != Contract.model_validate(change(("contract",), "other")).digest()
    assert len(contract.digest()) == 64


def test_a_time_that_yaml_already_read_is_a_bound() -> None:
    values = change(("columns", "time_hour", "range", "min"), None)
    values["columns"]["time_hour"]["range"]["min"] = datetime(2013, 1, 1)
    assert Contract.model_validate(values) == Contract.model_validate(FULL)


def test_the_feature_part_asks_nothing_of_the_table_and_the_target() -> None:
    part = Contract.model_validate(FULL).feature_part(["distance", "carrier"])
    assert list(part.columns) == ["carrier", "distance"]
    assert part.table.rows is None
    assert part.table.freshness is None
    assert part.table.extra_columns == "ignore"
    assert part.table.unique == ()
    assert [rule.title for rule in part.rules] == [
        "expect_column_sum_to_be_between",
        "a flight goes somewhere",
    ]
    assert Contract.model_validate(FULL).feature_part(["carrier"]).rules == ()


def test_the_feature_part_reads_back() -> None:
    part = Contract.model_validate(FULL).feature_part(["distance"])
    assert Contract.model_validate(part.to_dict()) == part


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=30),
        st.fixed_dictionaries(
            {"kind": st.just("categorical")},
            optional={
                "categories": st.fixed_dictionaries(
                    {"values": st.lists(st.text(), min_size=1, max_size=5)}
                ),
                "unique": st.booleans(),
            },
        ),
        max_size=5,
    )
)
def test_any_names_survive_the_way_through_plain_values(columns: dict[str, Any]) -> None:
    contract = Contract.model_validate({"contract": "any", "columns": columns})
    assert Contract.model_validate(json.loads(json.dumps(contract.to_dict()))) == contract
