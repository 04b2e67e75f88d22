from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from expectations.text.phrases import sample_of, say_number, say_share, say_value, shorten


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_float_can_be_said(value: float) -> None:
    assert say_number(value)


@given(st.floats(min_value=0.0, max_value=1.0))
def test_only_none_and_all_are_said_as_0_and_100_percent(share: float) -> None:
    said = say_share(share)
    assert (said == "0 %") == (share == 0.0)
    assert (said == "100 %") == (share == 1.0)


def test_small_and_large_numbers_keep_their_digits() -> None:
    assert say_number(0.00096) == "0.00096"
    assert say_number(1234567.0) == "1,234,567"
    assert say_number(1e20) == "1e+20"
    assert (say_number(123450.4), say_number(999999.7)) == ("123,450", "1,000,000")


@given(st.text())
def test_a_value_is_one_short_line(text: str) -> None:
    said = say_value(text)
    assert len(said) <= 40
    assert said.isprintable()


def test_a_sample_holds_five_different_values() -> None:
    assert sample_of([1, 1, 2, 3, 4, 5, 6]) == ("1", "2", "3", "4", "5")


def test_values_of_any_type_can_be_said() -> None:
    odd = [None, b"x", [1, 2], {"a": 1}, np.float32(2.5), np.True_, pd.Timestamp("2024-01-02")]
    assert all(isinstance(say_value(value), str) for value in odd)


def test_a_text_of_the_very_length_is_not_cut() -> None:
    assert shorten("abcde", 5) == "abcde"
    assert shorten("abcdef", 5) == "abcd…"


@given(st.floats(min_value=0.0, max_value=1.0), st.floats(min_value=0.0, max_value=1.0))
def test_shares_that_differ_beyond_rounding_are_said_apart(share: float, limit: float) -> None:
    if abs(share - limit) > 1e-9:
        assert say_share(share, beside=limit) != say_share(limit, beside=share)
