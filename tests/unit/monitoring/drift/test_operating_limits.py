from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tasks.monitoring.drift.operating_limits import LEAST_DISTANCE, calibrate
from tasks.monitoring.drift.reference_summary import Reference, build_reference

WEEK = timedelta(days=7)
START = np.datetime64("2026-01-05", "us")


def times_of(days: int, a_day: int) -> NDArray[np.datetime64]:
    return START + np.arange(days * a_day) * np.timedelta64(86_400_000_000 // a_day, "us")


def seasonal(days: int = 56, a_day: int = 50, seed: int = 0) -> Reference:
    """A steady column, one with a mean of its own every week, a counter, one with nulls."""
    rng = np.random.default_rng(seed)
    n = days * a_day
    week = np.arange(n) // (7 * a_day)
    frame = pd.DataFrame(
        {
            "steady": rng.normal(size=n),
            "weather": rng.normal(size=n) + rng.normal(0, 1, week.max() + 1)[week],
            "counter": np.arange(n, dtype=float),
            "plan": rng.choice(["a", "b", "c"], n),
            "gaps": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
        }
    )
    kinds = dict.fromkeys(frame.columns, "numeric") | {"plan": "categorical"}
    return build_reference(frame, kinds, times_of(days, a_day), WEEK)  # type: ignore[arg-type]


def test_a_column_that_differs_between_weeks_gets_a_wide_limit_and_a_steady_one_a_narrow() -> None:
    calibration = calibrate(seasonal(), false_alarms=0.05)
    assert calibration is not None
    assert calibration.blocks == pytest.approx(8, abs=0.2)
    limit = {
        name: calibration.limits[name, "value"].threshold(calibration.limit, 0.0)
        for name in ("steady", "weather", "counter", "plan")
    }
    assert limit["steady"] < 0.35 < limit["weather"] < 1.0
    assert limit["plan"] < 0.35
    # A counter is never like its past: no distance of it is out of the ordinary.
    assert limit["counter"] == 1.0
    nulls = calibration.limits["gaps", "nulls"].threshold(calibration.limit, 0.0)
    assert LEAST_DISTANCE["nulls"] < nulls < 0.3


def test_fewer_than_three_blocks_or_no_times_have_no_history() -> None:
    assert calibrate(seasonal(days=20), false_alarms=0.05) is None
    assert calibrate(seasonal(days=22), false_alarms=0.05) is not None
    frame = pd.DataFrame({"x": np.arange(500.0)})
    timeless = build_reference(frame, {"x": "numeric"}, None, WEEK)
    assert calibrate(timeless, false_alarms=0.05) is None
    nothing = build_reference(frame[:0], {"x": "numeric"}, times_of(0, 1), WEEK)
    assert calibrate(nothing, false_alarms=0.05) is None


def test_a_smaller_window_gets_a_wider_limit_and_a_larger_one_none() -> None:
    calibration = calibrate(seasonal(), false_alarms=0.05)
    assert calibration is not None
    limit = calibration.limits["steady", "value"]
    usual = limit.threshold(2.0, limit.noise)
    assert limit.threshold(2.0, 2 * limit.noise) > usual
    assert limit.threshold(2.0, limit.noise / 2) == usual


@pytest.mark.parametrize("noise", [0.0, 0.04, 0.1])
def test_the_excess_at_the_threshold_is_the_limit(noise: float) -> None:
    calibration = calibrate(seasonal(), false_alarms=0.05)
    assert calibration is not None
    limit = calibration.limits["weather", "value"]
    at = limit.threshold(1.5, noise)
    assert limit.excess(at, noise) == pytest.approx(1.5)
    assert limit.excess(at + 0.01, noise) > 1.5 > limit.excess(at - 0.01, noise)


def test_rarer_false_alarms_need_a_greater_excess() -> None:
    reference = seasonal(days=140)
    found = [calibrate(reference, false_alarms=share) for share in (0.2, 0.05, 0.001)]
    limits = [one.limit for one in found if one is not None]
    assert limits[0] <= limits[1] < limits[2]


def test_gaps_in_time_make_no_blocks() -> None:
    times = times_of(56, 50)
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=len(times))})
    kept = (times < times[14 * 50]) | (times >= times[42 * 50])
    reference = build_reference(frame[kept], {"x": "numeric"}, times[kept], WEEK)
    whole = build_reference(frame, {"x": "numeric"}, times, WEEK)
    short, full = (calibrate(one, false_alarms=0.05) for one in (reference, whole))
    assert short is not None
    assert full is not None
    assert short.blocks < full.blocks


def test_blocks_beside_a_gap_do_not_widen_the_limits() -> None:
    times = times_of(112, 50)
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=len(times))})
    kept = (times < times[60 * 50]) | (times >= times[73 * 50 - 5])
    limits = []
    for rows in (kept, np.ones(len(times), dtype=bool)):
        reference = build_reference(frame[rows], {"x": "numeric"}, times[rows], WEEK)
        found = calibrate(reference, false_alarms=0.05)
        assert found is not None
        part = found.limits["x", "value"]
        limits.append(part.threshold(found.limit, part.noise))
    assert limits[0] < 1.15 * limits[1]


@pytest.mark.slow
def test_a_following_week_of_the_same_kind_rarely_alarms() -> None:
    """Weeks with means of their own: the next one exceeds the limit about as often as stated."""
    exceeded = 0
    for seed in range(150):
        whole = seasonal_frame(seed)
        before, after = whole.iloc[: 56 * 20], whole.iloc[56 * 20 :]
        kinds = dict.fromkeys(whole.columns, "numeric")
        reference = build_reference(before, kinds, times_of(56, 20), WEEK)  # type: ignore[arg-type]
        from tasks.monitoring.drift.detector import measure

        exceeded += measure(reference, after, false_alarms=0.05, min_rows=20).alarm
    assert exceeded / 150 <= 0.1


def seasonal_frame(seed: int, weeks: int = 9, a_day: int = 20) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    week = np.repeat(np.arange(weeks), 7 * a_day)
    return pd.DataFrame(
        {
            f"weather {k}": rng.normal(size=len(week)) + rng.normal(0, 1, weeks)[week]
            for k in range(6)
        }
    )
