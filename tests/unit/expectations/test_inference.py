from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.contract import Contract
from expectations.inference import infer_contract
from tests.unit.expectations.tables_made import KINDS, orders

NOW = datetime(2024, 2, 21)


def infer(frame: pd.DataFrame, kinds: dict[str, str], **more: Any) -> Contract:
    return infer_contract(frame, kinds, now=NOW, **more)


def test_every_kind_gets_its_rules() -> None:
    contract = infer(
        orders(), KINDS, target="late", time_column="when", id_columns=["id"], name="orders"
    )
    columns = contract.columns
    assert list(columns) == list(KINDS)
    assert columns["id"].unique
    assert columns["shop"].categories is not None
    assert columns["shop"].categories.values == ("Aix", "Bern", "Köln")
    assert columns["unit"].categories is not None
    assert columns["unit"].categories.severity == "warning"
    assert columns["price"].range is not None
    assert columns["price"].range.min == 0
    assert columns["price"].varies
    assert columns["when"].range is not None
    assert columns["when"].range.max is None
    assert columns["note"].model_dump(exclude_defaults=True).keys() == {"kind", "nulls"}
    assert contract.table.rows is not None
    assert contract.table.rows.min == 60


def test_it_reads_back_from_its_plain_values() -> None:
    contract = infer(orders(), KINDS, time_column="when", id_columns=["id"])
    assert Contract.model_validate(contract.to_dict()) == contract


def test_the_same_table_gives_the_same_contract() -> None:
    assert infer(orders(), KINDS).digest() == infer(orders(), KINDS).digest()


def test_ranges_stay_on_their_side_of_zero() -> None:
    frame = pd.DataFrame(
        {"up": [1.0, 9.0] * 50, "down": [-9.0, -1.0] * 50, "both": [-1.0, 1.0] * 50}
    )
    columns = infer(frame, dict.fromkeys(frame, "numeric")).columns
    assert columns["up"].range is not None
    assert columns["down"].range is not None
    assert columns["both"].range is not None
    assert columns["up"].range.min == 0
    assert columns["down"].range.max == 0
    assert columns["both"].range.min < -1  # type: ignore[operator]


def test_more_slack_gives_a_wider_range() -> None:
    frame = orders()
    narrow = infer(frame, KINDS, slack=0.1).columns["change"].range
    wide = infer(frame, KINDS, slack=1.0).columns["change"].range
    assert narrow is not None
    assert wide is not None
    assert wide.min < narrow.min < narrow.max < wide.max  # type: ignore[operator]


def test_a_column_that_moves_with_time_may_move_on() -> None:
    rows = 4000
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "month": np.arange(rows) // 700 + 1,
            "year": np.where(np.arange(rows) < 3900, 2023, 2024),
        }
    )
    kinds = {"when": "datetime", "month": "numeric", "year": "numeric"}
    columns = infer(frame, kinds, time_column="when").columns
    assert columns["month"].range is not None
    assert columns["month"].range.max >= 12  # type: ignore[operator]
    assert not columns["month"].varies
    assert columns["year"].range is not None
    assert columns["year"].range.max >= 2030  # type: ignore[operator]


def test_categories_that_are_ever_new_are_not_listed() -> None:
    rows = 3000
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "day": pd.Series([f"d{i // 24}" for i in range(rows)], dtype="str"),
        }
    )
    kinds = {"when": "datetime", "day": "categorical"}
    assert infer(frame, kinds, time_column="when").columns["day"].categories is None
    assert infer(frame, kinds).columns["day"].categories is not None


def test_too_many_categories_are_not_listed() -> None:
    frame = pd.DataFrame({"c": pd.Series([f"c{i % 201}" for i in range(1000)], dtype="str")})
    assert infer(frame, {"c": "categorical"}).columns["c"].categories is None


def test_numbers_declared_categorical_are_categories() -> None:
    frame = pd.DataFrame({"code": [3.0, 1.0, np.nan, 2.0] * 50})
    rule = infer(frame, {"code": "categorical"}).columns["code"]
    assert rule.stored_as == "number"
    assert rule.categories is not None
    assert rule.categories.values == (1, 2, 3)


def test_an_unseen_label_of_the_target_is_never_tolerated() -> None:
    rule = infer(orders(), KINDS, target="shop").columns["shop"]
    assert rule.categories is not None
    assert rule.categories.max_unseen == 0.0


def test_an_id_that_repeats_is_not_required_to_be_unique() -> None:
    frame = orders()
    frame.loc[0, "id"] = frame.loc[1, "id"]
    assert not infer(frame, KINDS, id_columns=["id"]).columns["id"].unique


def test_several_id_columns_are_unique_together() -> None:
    frame = pd.DataFrame({"a": [1, 1, 2], "b": [1, 2, 1]})
    kinds = {"a": "identifier", "b": "identifier"}
    assert infer(frame, kinds, id_columns=["a", "b"]).table.unique == (("a", "b"),)


def test_missing_values_in_stretches_widen_what_is_usual() -> None:
    even, stretch = np.ones(2400), np.ones(2400)
    even[::10] = np.nan
    stretch[1000:1240] = np.nan
    frame = pd.DataFrame({"even": even, "stretch": stretch})
    columns = infer(frame, dict.fromkeys(frame, "numeric")).columns
    assert columns["even"].nulls is not None
    assert columns["stretch"].nulls is not None
    assert columns["even"].nulls.usual < columns["stretch"].nulls.usual < 1.0  # type: ignore[operator]
    assert columns["even"].nulls.empty_from < columns["stretch"].nulls.empty_from  # type: ignore[operator]


def test_fresh_rows_are_asked_only_of_a_table_that_still_grows() -> None:
    growing = infer(orders(), KINDS, time_column="when").table.freshness
    assert growing is not None
    assert growing.column == "when"
    historic = infer(orders(start="2013-01-01"), KINDS, time_column="when")
    assert historic.table.freshness is None


def test_columns_without_a_kind_are_left_out() -> None:
    assert list(infer(orders(), {"price": "numeric"}).columns) == ["price"]


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_tables_with_hardly_any_row_have_a_contract(rows: int) -> None:
    frame = orders(5).head(rows)
    contract = infer(frame, KINDS, target="late", time_column="when", id_columns=["id"])
    assert Contract.model_validate(contract.to_dict()) == contract


KIND = st.sampled_from(
    ["numeric", "categorical", "boolean", "datetime", "text", "identifier", "constant"]
)
CELL = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.datetimes()
)


@settings(max_examples=150, deadline=None)
@given(st.lists(CELL, max_size=12), KIND)
def test_no_column_of_any_kind_crashes_it(cells: list[Any], kind: str) -> None:
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object)})
    contract = infer(frame, {"x": kind}, target="x", time_column="x", id_columns=["x"])
    assert Contract.model_validate(contract.to_dict()) == contract


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats() | st.none(), min_size=1, max_size=30))
def test_numbers_of_any_size_have_a_contract(cells: list[float | None]) -> None:
    frame = pd.DataFrame({"x": pd.Series(cells, dtype="float64")})
    contract = infer(frame, {"x": "numeric"})
    assert Contract.model_validate(contract.to_dict()) == contract
