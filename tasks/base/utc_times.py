"""Moments, all of them in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

FUTURE_TOLERANCE = timedelta(days=1)  # beyond it a mistake; local times pass


def latest_believed(now: datetime) -> datetime:
    """Return the time from which on a row's time is not believed to have come.

    What is read next, and which window is complete, is decided by rows before it.

    >>> latest_believed(datetime(2026, 3, 1, 12, tzinfo=UTC)).isoformat()
    '2026-03-02T12:00:00+00:00'
    """
    return as_utc(now) + FUTURE_TOLERANCE


def naive_utc(moment: datetime) -> datetime:
    """Return `moment` in UTC without its zone, as arrays hold times."""
    return as_utc(moment).replace(tzinfo=None)


def as_utc(moment: datetime) -> datetime:
    """Return `moment` in UTC; one without a zone is taken as UTC.

    A moment of Prefect's, which is a datetime of another library, becomes a plain one.

    >>> as_utc(datetime(2013, 1, 1)).isoformat()
    '2013-01-01T00:00:00+00:00'
    """
    if type(moment) is not datetime:
        moment = datetime.fromisoformat(moment.isoformat())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
