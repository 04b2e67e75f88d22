"""When schedules run, in both directions, on the nights on which the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from croniter import croniter

from tasks.history import schedule
from tasks.history.schedule import next_time, time_before

_NIGHTS = [
    ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, tzinfo=UTC)),
]
_CRONS = {  # and how many hours before and after the night are looked at
    "30 2 * * *": 80,
    "30 1 * * *": 80,
    "0 2 * * *": 80,
    "0 3 * * 0": 400,
    "0 * * * *": 12,
    "*/30 * * * *": 6,
}


def runs(expression: str, timezone: str, start: datetime, end: datetime) -> list[datetime]:
    """Return every time in [start, end) at which a schedule runs, one after the other."""
    found = []
    moment = start - timedelta(seconds=1)
    while (moment := next_time(expression, timezone, moment)) < end:
        found.append(moment)
    return found


@pytest.mark.parametrize(("timezone", "night"), _NIGHTS)
@pytest.mark.parametrize("expression", _CRONS)
def test_the_time_before_is_a_time_that_was_next(
    timezone: str, night: datetime, expression: str
) -> None:
    span = timedelta(hours=_CRONS[expression])
    expected = runs(expression, timezone, night - span, night + span)

    for place, moment in enumerate(expected[2:], 2):
        later = moment + timedelta(seconds=1)
        assert time_before(expression, timezone, moment, 1) == expected[place - 1]
        assert time_before(expression, timezone, later, 1) == moment
        assert time_before(expression, timezone, later, 2) == expected[place - 1]


@pytest.mark.slow
@pytest.mark.parametrize(("timezone", "night"), _NIGHTS)
def test_both_directions_name_what_prefects_server_schedules(
    timezone: str, night: datetime
) -> None:
    from prefect.server.schemas.schedules import CronSchedule

    start, end = night - timedelta(days=2), night + timedelta(days=2)
    for expression in _CRONS:
        schedule = CronSchedule(cron=expression, timezone=timezone)
        dates = schedule._get_dates_generator(n=1_000, start=start, end=end)
        due = sorted(moment.astimezone(UTC) for moment in dates)

        assert runs(expression, timezone, start, end) == [m for m in due if m < end]


def test_a_schedule_of_every_minute_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    walked = 0

    class Counted(croniter):
        def get_prev(self, *given: Any) -> Any:
            nonlocal walked
            walked += 1
            return super().get_prev(*given)

        def get_next(self, *given: Any) -> Any:
            nonlocal walked
            walked += 1
            return super().get_next(*given)

    monkeypatch.setattr(schedule, "croniter", SimpleNamespace(croniter=Counted))
    now = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)

    assert time_before("* * * * *", "UTC", now, 2) == datetime(2026, 3, 2, 11, 59, tzinfo=UTC)
    assert walked < 1_000
