"""Next runs by schedule, and runs that should have happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tasks.base.runtime.libraries import croniter
from tasks.base.settings.monitoring import SchedulesConfig

FLOWS = ("scoring", "monitoring", "training")
_LONGEST_SHIFT = timedelta(hours=3)  # more than any clock is set forward or back


def next_runs(schedules: SchedulesConfig, now: datetime) -> dict[str, datetime]:
    """Return flow, or ``refit``, to when its schedule runs it next, in UTC, the soonest first.

    >>> schedules = SchedulesConfig(scoring="0 6 * * *", timezone="Europe/Berlin")
    >>> next_runs(schedules, datetime(2026, 7, 1, tzinfo=UTC))["scoring"].isoformat()
    '2026-07-01T04:00:00+00:00'
    """
    found = {}
    for key in (*FLOWS, "refit"):
        expression = getattr(schedules, key)
        if expression is not None:
            found[key] = next_time(expression, schedules.timezone, now)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def next_time(expression: str, timezone: str, now: datetime) -> datetime:
    """Return when a schedule runs next after `now`, in UTC, as Prefect's server does it.

    A time that the clock shows twice counts once, the first; one that it leaves out is an hour
    later, so that it may come after the time that follows it.

    >>> next_time("30 1 * * *", "America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)).day
    2
    >>> next_time("30 2 * * *", "America/New_York", datetime(2027, 3, 14, 7, tzinfo=UTC)).hour
    7
    """
    zone = ZoneInfo(timezone)
    wall = croniter.croniter(expression, now.astimezone(zone).replace(tzinfo=None) - _LONGEST_SHIFT)
    soonest: datetime | None = None
    while True:
        shown: datetime = wall.get_next(datetime)
        moment = shown.replace(tzinfo=zone).astimezone(UTC)
        if moment > now and (soonest is None or moment < soonest):
            soonest = moment
        if soonest is not None and shown >= soonest.astimezone(zone).replace(tzinfo=None):
            return soonest


def time_before(expression: str, timezone: str, now: datetime, count: int) -> datetime:
    """Return the last but `count` - 1 time before `now` at which a schedule runs, in UTC.

    >>> time_before("30 2 * * *", "UTC", datetime(2026, 3, 2, 2, 30, tzinfo=UTC), 1).day
    1
    """
    zone = ZoneInfo(timezone)
    wall = croniter.croniter(expression, now.astimezone(zone).replace(tzinfo=None) + _LONGEST_SHIFT)
    latest: list[datetime] = []
    while True:
        shown: datetime = wall.get_prev(datetime)
        moment = shown.replace(tzinfo=zone).astimezone(UTC)
        if moment < now and moment not in latest:
            latest = sorted([*latest, moment])[-count:]
        first = latest[0].astimezone(zone).replace(tzinfo=None) if latest else shown
        if len(latest) == count and shown < first - _LONGEST_SHIFT:
            return latest[0]
