"""Moments, all of them in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def as_utc(moment: datetime) -> datetime:
    """Return `moment` in UTC; one without a zone is taken as UTC.

    Examples
    --------
    >>> as_utc(datetime(2013, 1, 1)).isoformat()
    '2013-01-01T00:00:00+00:00'
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
