from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.text.time_spans import as_naive_utc, format_span, parse_span


def test_no_time_is_no_weeks() -> None:
    assert format_span(timedelta(0)) == "0s"


@given(st.integers(min_value=1, max_value=10**9))
def test_a_span_reads_back_as_it_was_written(seconds: int) -> None:
    span = timedelta(seconds=seconds)
    assert parse_span(format_span(span)) == span


@pytest.mark.parametrize("wrong", ["30", "d", "-1d", "0d", 30, None, "1y", "9e99d"])
def test_anything_else_is_refused_with_what_to_write(wrong: object) -> None:
    with pytest.raises(ValueError, match="Write 30d"):
        parse_span(wrong)


def test_moments_are_compared_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    assert as_naive_utc(datetime(2024, 1, 1, 2, tzinfo=east)) == datetime(2024, 1, 1)
    assert as_naive_utc(datetime(2024, 1, 1, tzinfo=UTC)) == datetime(2024, 1, 1)
    assert as_naive_utc(datetime(2024, 1, 1)) == datetime(2024, 1, 1)
