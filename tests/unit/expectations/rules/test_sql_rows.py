from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.rules import sql_rows
from expectations.rules.sql_rows import broken_rows
from expectations.sql_condition import parse_condition

FRAME = pd.DataFrame(
    {
        "distance": [10.0, 0.0, None, -5.0],
        "origin": pd.Series(["A", "B", "C", "D"], dtype="str"),
        "dest": pd.Series(["B", "B", None, "E"], dtype="str"),
        "night": [True, False, True, False],
        "when": pd.to_datetime(
            ["2024-01-01", "2024-06-01", None, "2024-12-31 23:00"], format="ISO8601"
        ),
        "a b": [1, 2, 3, 2**62],
    }
)


@pytest.mark.parametrize(
    ("condition", "failed"),
    [
        ("distance > 0", 2),
        ("distance > 0 AND origin <> dest", 2),
        ("origin <> dest", 1),
        ("night", 2),
        ("night = 1 OR distance <= 0", 0),
        ("\"when\" < '2024-07-01'", 1),
        ('"a b" < 10', 1),
        ("DISTANCE > 0", 2),
        ("origin IN ('A', 'B')", 2),
        ("1 = 0", 4),
        ("1 = 1", 0),
        ("distance IS NOT NULL", 1),
    ],
)
def test_rows_that_break_a_condition_are_counted(condition: str, failed: int) -> None:
    found = broken_rows(FRAME, parse_condition(condition))
    assert (found.failed_rows, found.problem) == (failed, "")


def test_the_sample_names_the_columns() -> None:
    found = broken_rows(FRAME, parse_condition("origin <> dest"))
    assert found.sample == ("origin = B, dest = B",)


def test_an_absent_column_is_said_with_the_nearest() -> None:
    found = broken_rows(FRAME, parse_condition("distanc > 0"))
    assert found.problem == "the table has no column distanc; the nearest is distance"


def test_a_quoted_name_that_is_absent_is_no_text() -> None:
    assert "no column" in broken_rows(FRAME, parse_condition('"nowhere" <> origin')).problem


def test_columns_that_differ_in_case_only_are_told_apart() -> None:
    frame = pd.DataFrame({"A": [1, 1], "a": [-1, 1]})
    assert broken_rows(frame, parse_condition("a > 0")).failed_rows == 1
    assert broken_rows(frame, parse_condition("A > 0")).failed_rows == 0


def test_rows_are_counted_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_rows, "CHUNK", 7)
    frame = pd.DataFrame({"x": np.arange(100) % 3})
    assert broken_rows(frame, parse_condition("x > 0")).failed_rows == 34


def test_values_that_sqlite_cannot_hold_do_not_crash_it() -> None:
    frame = pd.DataFrame({"x": pd.Series([10**30, [1], None, {"a": 1}], dtype=object)})
    assert broken_rows(frame, parse_condition("x IS NOT NULL")).failed_rows == 1


def test_an_empty_table_breaks_nothing() -> None:
    assert broken_rows(FRAME.head(0), parse_condition("distance > 0")).failed_rows == 0


@given(st.lists(st.integers(-3, 3) | st.none(), max_size=40), st.integers(-3, 3))
def test_it_agrees_with_plain_python(values: list[int | None], limit: int) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype="float64")})
    expected = sum(value is not None and not value > limit for value in values)
    assert broken_rows(frame, parse_condition(f"x > {limit}")).failed_rows == expected
