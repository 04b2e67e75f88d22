from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.base.monitoring_records import DriftResult
from tasks.base.training_records import Kind
from tasks.monitoring.drift.compared_rows import Side
from tasks.monitoring.drift.detector import measure
from tasks.monitoring.drift.harm.verdict import Evidence
from tasks.monitoring.drift.reference_store import load_reference, save
from tasks.monitoring.drift.reference_summary import Reference, build_reference
from tasks.monitoring.drift.seasons import cells_alike, in_season, season_of

DAY = np.timedelta64(1, "D")
WEEK = timedelta(days=7)
KINDS: dict[str, Kind] = {"warm": "numeric", "shop": "categorical"}
START = np.datetime64("2020-01-06", "us")


def days(first: int, last: int, seed: int, a_day: int = 20) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows of days since the start: warm in summer, as every year."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(first, last), a_day)
    warm = 10 - 15 * np.cos(2 * np.pi * day / 365.25) + rng.normal(0, 4, len(day))
    shop = np.where(rng.random(len(day)) < 0.5 + 0.4 * np.sin(2 * np.pi * day / 365.25), "a", "b")
    return pd.DataFrame({"warm": warm, "shop": shop}), START + day * DAY


@pytest.fixture(scope="module")
def reference() -> Reference:
    frame, times = days(0, 3 * 365, 0)
    return build_reference(frame, KINDS, times, WEEK)


def look(reference: Reference, frame: pd.DataFrame, times: np.ndarray) -> DriftResult:
    before, earlier = days(0, 3 * 365, 0, a_day=2)
    return measure(
        reference, frame, false_alarms=0.05, min_rows=100,
        evidence=Evidence(Side(before, earlier), times),
    )  # fmt: skip


def test_a_week_is_compared_with_the_same_weeks_of_other_years(reference: Reference) -> None:
    season = season_of(reference)
    assert season is not None
    frame, times = days(3 * 365 + 180, 3 * 365 + 187, 1)
    part = in_season(reference, season, times.min())
    assert part is not None
    assert part.rows == pytest.approx(3 * 49 * 20, rel=0.1)
    result = look(reference, frame, times)
    warm = next(c for c in result.columns if c.column == "warm")
    assert warm.statistic is not None
    assert warm.statistic < 0.2
    assert not result.alarm


def test_what_is_out_of_season_is_found_though_other_seasons_know_it(reference: Reference) -> None:
    frame, times = days(3 * 365 + 180, 3 * 365 + 187, 2)
    cold = frame.assign(warm=frame["warm"] - 10)
    assert look(reference, cold, times).alarm
    wide = build_reference(*_of_one_year(), WEEK)
    assert not look(wide, cold, times).alarm


def _of_one_year() -> tuple[pd.DataFrame, dict[str, Kind], np.ndarray]:
    frame, times = days(0, 500, 0)
    return frame, KINDS, times


def test_hours_have_the_season_of_a_day_and_short_references_none() -> None:
    frame, times = days(0, 20, 0)
    hours = times + np.tile(np.arange(20) * np.timedelta64(72, "m"), 20)
    hourly = build_reference(frame, KINDS, hours, timedelta(hours=1))
    season = season_of(hourly)
    assert season is not None
    assert season.period * hourly.length / hourly.cells_per_block == pytest.approx(86_400)
    alike = cells_alike(hourly, season, hours[0] + 3 * DAY)
    assert alike[0]
    assert not alike[5]
    assert season_of(build_reference(frame, KINDS, times, WEEK)) is None
    assert season_of(build_reference(frame, KINDS, None, WEEK)) is None


def test_a_stored_reference_knows_its_season(reference: Reference, tmp_path: Path) -> None:
    save(reference, tmp_path / "reference.npz")
    assert season_of(load_reference(tmp_path / "reference.npz")) == season_of(reference)
