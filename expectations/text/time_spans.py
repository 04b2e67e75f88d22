"""Spans of time as people write them, 30d or 2h, and moments in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
PATTERN = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*$")


def parse_span(value: Any) -> timedelta:
    """Return the span of time that `value` writes; ValueError for no positive number with a unit.

    >>> parse_span("2h")
    datetime.timedelta(seconds=7200)
    """
    if isinstance(value, timedelta):
        return value
    match = PATTERN.fullmatch(value) if isinstance(value, str) else None
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    span = timedelta(seconds=seconds if seconds < 1e10 else 0)  # to the microsecond
    if not span:
        raise ValueError(
            f"a duration is a number above 0 and a unit, s, m, h, d or w; got {value!r}. "
            "Write 30d, 2h or 120s"
        )
    return span


def format_span(value: timedelta) -> str:
    """Return `value` in its largest whole unit.

    >>> format_span(timedelta(days=30))
    '30d'
    """
    seconds = value.total_seconds()
    for unit, size in _UNITS.items():
        if seconds and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:g}s"


def as_naive_utc(moment: datetime) -> datetime:
    """Return `moment` in UTC without a zone; a moment without one is UTC already."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
