from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.models.features.datetime_features import DateParts


def test_the_time_column_never_tells_how_late_a_row_is() -> None:
    hours = pd.date_range("2024-01-01", periods=24 * 60, freq="h")
    parts = DateParts("t").fit(pd.DataFrame({"t": hours}))
    assert parts.parts_ == [["hour", "weekday"]]


def test_months_are_used_once_all_twelve_were_seen() -> None:
    days = pd.DataFrame({"t": pd.date_range("2023-01-01", periods=366, freq="D")})
    assert DateParts("t").fit(days).parts_ == [["weekday", "month"]]


def test_other_moments_count_days_to_the_rows_own_time() -> None:
    frame = pd.DataFrame(
        {
            "t": pd.to_datetime(["2024-03-01 10:00", "2024-03-02 11:00"]),
            "born": pd.to_datetime(["2024-02-01 10:00", None]),
        }
    )
    parts = DateParts("t").fit(frame)
    days = parts.transform(frame)[:, -1]
    assert days[0] == -29.0
    assert np.isnan(days[1])


def test_moments_with_a_zone_and_as_text_are_read_as_utc() -> None:
    frame = pd.DataFrame({"t": pd.to_datetime(["2024-03-01 10:00", "2024-03-02 11:00"])})
    parts = DateParts("t").fit(frame)
    expected = parts.transform(frame)
    zoned = frame.assign(t=frame["t"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    assert (parts.transform(zoned) == expected).all()
    assert (parts.transform(frame.assign(t=frame["t"].astype("str"))) == expected).all()
    in_two_ways = frame.assign(t=["2024-03-01 10:00", "2024-03-02T11:00:00Z"])
    assert (parts.transform(in_two_ways) == expected).all()


@pytest.mark.parametrize("cyclic", [False, True])
def test_moments_that_are_all_null_make_no_trouble(cyclic: bool) -> None:
    frame = pd.DataFrame({"t": pd.to_datetime([None, None])})
    parts = DateParts(cyclic=cyclic).fit(frame)
    assert parts.transform(frame).shape == (2, 1)
