"""Which rows of a delivery are not to be scored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expectations.check import check_frame
from expectations.contract import Contract
from expectations.failing_rows import Faults, find_faults
from expectations.inference import infer_contract
from tests.unit.expectations.tables_made import KINDS, orders

NOW = datetime(2024, 2, 21)
CONTRACT = infer_contract(
    orders(), KINDS, target="late", time_column="when", id_columns=["id"], now=NOW
).feature_part([name for name in KINDS if name != "late"])


def faults(rows: pd.DataFrame, contract: Contract = CONTRACT, now: datetime = NOW) -> Faults:
    outcome = check_frame(rows, contract, now=now)
    return find_faults(lambda names: rows[list(names)], len(rows), contract, outcome, now=now)


def delivery(rows: int = 60) -> pd.DataFrame:
    return orders(rows, seed=1, start="2024-02-18")


def test_an_ordinary_delivery_has_none() -> None:
    for rows in (1, 3, 20, 60):
        found = faults(delivery(rows))
        assert not found.rows.any()


@pytest.mark.parametrize("rows", [2, 4, 60])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda f: f.drop(columns="price"), id="absent"),
        pytest.param(lambda f: f.rename(columns={"price": "Price"}), id="renamed"),
        pytest.param(lambda f: f.assign(price=np.nan), id="all null"),
        pytest.param(lambda f: f.assign(price=f["price"] * 1000), id="x1000"),
        pytest.param(lambda f: f.assign(price=f["price"].astype("str") + " EUR"), id="text"),
    ],
)
def test_a_gross_fault_sets_a_delivery_of_any_size_aside_whole(
    fault: Callable[[pd.DataFrame], pd.DataFrame], rows: int
) -> None:
    found = faults(fault(delivery(rows)))

    assert found.whole
    assert found.rows.all()


def test_recoded_categories_are_a_fault_from_a_few_rows_on() -> None:
    def recoded(rows: int) -> pd.DataFrame:
        frame = delivery(rows)
        return frame.assign(shop="shop " + frame["shop"])

    assert faults(recoded(60)).whole
    assert faults(recoded(10)).whole
    assert not faults(recoded(1)).rows.any(), "one row with a new category is not known to be one"


def test_new_categories_missing_values_and_odd_values_of_some_rows_are_no_fault() -> None:
    frame = delivery(60)
    odd = frame.assign(
        shop=frame["shop"].where(frame.index % 10 != 0, "Davos"),
        change=frame["change"].where(frame.index % 2 == 0),
        price=frame["price"].where(frame.index % 4 != 0, -1.0),
    )

    outcome = check_frame(odd, CONTRACT, now=NOW)

    assert outcome.passed
    assert {w.column for w in outcome.warnings} >= {"change", "price"}
    assert not faults(odd).rows.any()


def test_single_rows_of_another_unit_are_set_aside_alone() -> None:
    frame = delivery(60)
    frame.loc[[3, 7], "price"] = 1e7

    found = faults(frame)

    assert not found.whole
    assert np.flatnonzero(found.rows).tolist() == [3, 7]
    results = check_frame(frame, CONTRACT, now=NOW).results
    scale = next(r for r in results if (r.column, r.rule) == ("price", "scale"))
    assert "10,000,000" in scale.observed, "their size, not the middle of all rows"
    frame["price"] *= 1e4
    results = check_frame(frame, CONTRACT, now=NOW).results
    scale = next(r for r in results if (r.column, r.rule) == ("price", "scale"))
    assert scale.observed.endswith(": another unit?"), "the figure stands before it"


def test_rows_of_one_id_are_set_aside_but_not_the_first_of_equal_rows() -> None:
    frame = pd.concat([delivery(60), delivery(60).iloc[[5]], delivery(60).iloc[[9]]])
    frame = frame.reset_index(drop=True)
    frame.loc[61, "price"] += 1

    found = faults(frame)

    assert np.flatnonzero(found.rows).tolist() == [9, 60, 61]


def test_rows_in_the_future_are_set_aside_although_they_are_a_warning() -> None:
    frame = delivery(60)
    frame.loc[4, "when"] = pd.Timestamp("2199-01-01")

    outcome = check_frame(frame, CONTRACT, now=NOW)

    assert outcome.passed
    assert np.flatnonzero(faults(frame).rows).tolist() == [4]


@pytest.mark.parametrize(
    "rule",
    [
        {"sql": "price < 100"},
        {"expect": "expect_column_values_to_be_between", "column": "price", "max_value": 99.99},
    ],
)
def test_rows_that_break_a_written_rule_are_named(rule: dict[str, Any]) -> None:
    frame = delivery(60).assign(price=50.0)
    frame.loc[[2, 30], "price"] = 150.0
    contract = Contract.model_validate(
        {"contract": "x", "columns": {"price": {"kind": "numeric"}}, "rules": [rule]}
    )

    found = faults(frame, contract)

    assert np.flatnonzero(found.rows).tolist() == [2, 30]


def test_a_contract_of_the_first_version_keeps_its_meaning() -> None:
    frame = delivery(200)
    frame.loc[: 0.13 * 200, "change"] = np.nan
    contract = Contract.model_validate(
        {"contract": "x", "columns": {"change": {"kind": "numeric", "nulls": {"max": 0.05}}}}
    )

    outcome = check_frame(frame, contract, now=NOW)

    assert contract.version == 1
    assert not outcome.passed
    assert np.array_equal(faults(frame, contract).rows, frame["change"].isna())


def test_rows_that_share_a_key_of_several_columns_are_found_whatever_its_names() -> None:
    long = "number_of_the_till_in_the_shop_and_of_the_day"
    rows = delivery().rename(columns={"id": long})
    kinds = {long if name == "id" else name: kind for name, kind in KINDS.items()}
    contract = infer_contract(rows, kinds, target="late", time_column="when", now=NOW)
    columns = {name: rule.model_copy(update={"unique": False}) for name, rule in
               contract.columns.items()}  # fmt: skip
    table = contract.table.model_copy(update={"unique": ((long, "shop"),)})
    contract = contract.model_copy(update={"columns": columns, "table": table})
    again = rows.copy()
    again.loc[1, [long, "shop"]] = again.loc[0, [long, "shop"]].to_numpy()

    found = faults(again, contract.feature_part([name for name in kinds if name != "late"]))

    assert not found.whole
    assert np.flatnonzero(found.rows).tolist() == [0, 1]


def test_rules_of_one_title_set_aside_the_rows_that_broke_each() -> None:
    written = [
        {"expect": "expect_column_values_to_be_between", "column": "price", "max_value": 1e6},
        {"expect": "expect_column_values_to_be_between", "column": "extra", "max_value": 1},
        {"sql": "extra < 3", "name": "range"},
    ]
    frame = delivery().assign(extra=0.5)
    frame.loc[[3, 5], "extra"] = 2.0
    frame.loc[7, "extra"] = 4.0
    contract = Contract.model_validate(
        {"contract": "c", "version": 1, "columns": {"extra": {"kind": "numeric"}}, "rules": written}
    )

    found = faults(frame, contract)

    assert not found.whole
    assert np.flatnonzero(found.rows).tolist() == [3, 5, 7]
