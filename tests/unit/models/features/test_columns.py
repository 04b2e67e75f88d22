from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.base.errors import DataError
from tasks.data.typing.distinct_values import texts_of
from tasks.models.features.columns import CategoryCodes, Numbers, Output, features_of, numbers_of


def test_infinities_and_numbers_beyond_float32_are_missing() -> None:
    frame = pd.DataFrame({"a": [1.0, np.inf, -np.inf, 1e300], "b": [1, 2, 3, 10**18]})
    values = numbers_of(frame)
    assert values.dtype == np.float32
    assert np.isnan(values[1:, 0]).all()
    assert values[3, 1] == np.float32(1e18)


def test_the_frame_is_not_written_to() -> None:
    frame = pd.DataFrame({"a": np.array([1, np.inf], dtype=np.float32)})
    numbers_of(frame)
    assert frame["a"].tolist() == [1.0, np.inf]


def test_mixed_types_become_numbers_where_they_are_some() -> None:
    frame = pd.DataFrame({"a": pd.Series(["1.5", 2, None, "x", True], dtype=object)})
    values = numbers_of(frame)[:, 0]
    assert values[[0, 1, 4]].tolist() == [1.5, 2.0, 1.0]
    assert np.isnan(values[[2, 3]]).all()


def test_a_level_is_the_same_however_a_null_changed_the_columns_type() -> None:
    whole = texts_of(pd.Series([1, 2])).to_pylist()
    with_null = texts_of(pd.Series([1, 2, None])).to_pylist()
    as_text = texts_of(pd.Series(["1", "2"], dtype="str")).to_pylist()
    assert whole == with_null[:2] == as_text
    assert with_null[2] is None


def test_booleans_with_and_without_nulls_have_the_same_levels() -> None:
    assert texts_of(pd.Series([True, False])).to_pylist() == ["True", "False"]
    mixed = pd.Series([True, None], dtype=object)
    assert texts_of(mixed).to_pylist() == ["True", None]


def test_filled_numbers_have_the_median_and_an_indicator_only_where_nulls_were() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan, 5.0], "b": [1.0, 2.0, 3.0], "c": [np.nan] * 3})
    numbers = Numbers(fill=True).fit(frame)
    assert numbers.transform(frame).tolist() == [
        [1, 1, 0, 0, 1],
        [3, 2, 0, 1, 1],
        [5, 3, 0, 0, 1],
    ]
    names = numbers.outputs([Output(c, c) for c in "abc"])
    assert [(o.name, o.source) for o in names][3:] == [("a is missing", "a"), ("c is missing", "c")]


def test_bounded_numbers_stay_within_a_ranges_width_of_training() -> None:
    numbers = Numbers(bounded=True).fit(pd.DataFrame({"a": [0.0, 10.0]}))
    assert numbers.transform(pd.DataFrame({"a": [1e30, -1e30]})).tolist() == [[20.0], [-10.0]]


def test_unknown_levels_count_as_rare_and_null_is_a_level() -> None:
    seen = pd.DataFrame({"a": pd.Series(["x"] * 5 + ["y"] * 4 + [None] * 3 + ["z"], dtype="str")})
    codes = CategoryCodes(min_rows=2).fit(seen)
    new = pd.DataFrame({"a": pd.Series(["y", None, "z", "never", "x"], dtype="str")})
    assert codes.transform(new)[:, 0].tolist() == [1, 2, 3, 3, 0]
    assert [codes.level_name(0, c) for c in range(4)] == ["x", "y", "(null)", "(rare)"]


def test_without_rare_levels_an_unknown_one_is_minus_one() -> None:
    codes = CategoryCodes().fit(pd.DataFrame({"a": ["x", "y"]}))
    assert codes.transform(pd.DataFrame({"a": ["never"]})).tolist() == [[-1]]


@given(st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=1, max_size=30))
def test_codes_depend_on_counts_and_not_on_the_order_of_rows(levels: list[str | None]) -> None:
    there = pd.DataFrame({"a": pd.Series(levels, dtype=object)})
    back = pd.DataFrame({"a": pd.Series(levels[::-1], dtype=object)})
    forward = CategoryCodes(max_levels=3).fit(there)
    assert forward.levels_ == CategoryCodes(max_levels=3).fit(back).levels_
    assert (forward.transform(there)[::-1] == forward.transform(back)).all()


def test_features_of_another_kind_of_frame_are_those_of_the_same_rows() -> None:
    frame = pd.DataFrame({"a": [1.0, None], "b": ["x", "y"], "c": [0, 1]})

    found = features_of(
        pa.Table.from_pandas(frame), ["b", "a"]
    )  # Polars' frames have `to_pandas` too

    assert found.equals(features_of(frame, ["b", "a"]))
    with pytest.raises(DataError, match="ndarray"):
        features_of(frame.to_numpy(), ["a"])  # type: ignore[arg-type]
