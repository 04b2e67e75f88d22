from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expectations.facts.column_facts import facts_of, outside, repeated, unseen


@pytest.mark.parametrize(
    ("values", "dtype", "stored"),
    [
        ([1, 2], "int64", "number"),
        ([1, None], "Int64", "number"),
        ([1.5, None], "float32", "number"),
        ([Decimal("1.5"), None], object, "number"),
        ([10**400, 1], object, "number"),
        ([True, False], "bool", "boolean"),
        ([True, None], object, "boolean"),
        ([True, None], "boolean", "boolean"),
        (["a", None], "str", "text"),
        (["a", None], object, "text"),
        (["a", "b"], "category", "text"),
        ([1, "a"], object, "mixed"),
        ([[1], [2]], object, "mixed"),
        ([1 + 2j], "complex128", "mixed"),
        ([1], "timedelta64[s]", "mixed"),
        (["2024-01-01"], "datetime64[us]", "time"),
        (["2024-01-01"], "datetime64[us, UTC]", "time"),
        ([None, None], object, "empty"),
        ([np.nan], "float64", "empty"),
        ([], "float64", "empty"),
    ],
)
def test_how_values_are_stored_is_seen(values: list[Any], dtype: Any, stored: str) -> None:
    assert facts_of(pd.Series(values, dtype=dtype)).stored == stored


def test_ends_and_nulls_are_known_of_numbers_and_times() -> None:
    numbers = facts_of(pd.Series([3, None, -1], dtype="Int64"))
    assert (numbers.low, numbers.high, numbers.nulls, numbers.present) == (-1, 3, 1, 2)
    times = facts_of(pd.Series(pd.to_datetime(["2024-01-02", None])).dt.tz_localize("Asia/Tokyo"))
    assert times.low == pd.Timestamp("2024-01-01 15:00")


@pytest.mark.parametrize(
    ("values", "constant"),
    [([1, 1, None], True), ([1, 2], False), ([1], False), (["a", "a"], True), (["a", "b"], False)],
)
def test_a_constant_is_seen(values: list[Any], constant: bool) -> None:
    assert facts_of(pd.Series(values)).constant is constant


def test_rows_without_a_value_are_never_outside_or_unseen() -> None:
    numbers = facts_of(pd.Series([np.nan, -1.0, 5.0, np.inf]))
    assert outside(numbers, 0, 10).tolist() == [False, True, False, True]
    texts = facts_of(pd.Series(["a", None, "z"], dtype="str"))
    assert unseen(texts, ("a", "b")).tolist() == [False, False, True]


def test_rows_that_agree_are_found_and_the_empty_are_not() -> None:
    frame = pd.DataFrame({"a": ["x", "x", None, None], "b": [1.0, 1.0, None, None]})
    assert repeated(frame, ["a", "b"]).tolist() == [True, True, False, False]
    lists = pd.DataFrame({"a": [[1], [1], [2]]})
    assert repeated(lists, ["a"]).tolist() == [True, True, False]
