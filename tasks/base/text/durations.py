"""Durations as people write them: 180d, 2h, 30m, 120s, 1w."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PATTERN = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*$")


def parse_duration(value: Any) -> timedelta:
    """Return the duration that `value` writes.

    Examples
    --------
    >>> parse_duration("2h")
    datetime.timedelta(seconds=7200)
    """
    if isinstance(value, timedelta):
        return value
    match = _PATTERN.match(value) if isinstance(value, str) else None
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds < 1e10:
        raise ValueError(
            f"a duration is a number above 0 and a unit, s, m, h, d or w; got {value!r}. "
            "Write 120s, 30m, 2h, 7d or 1w"
        )
    return timedelta(seconds=seconds)


def parse_delay(value: Any) -> timedelta:
    """Return the duration that `value` writes, which may be none at all.

    Examples
    --------
    >>> parse_delay("0s")
    datetime.timedelta(0)
    """
    if isinstance(value, str) and re.fullmatch(r"\s*0\s*[smhdw]?\s*", value):
        return timedelta(0)
    return parse_duration(value)


def format_duration(value: timedelta) -> str:
    """Return `value` in its largest whole unit.

    Examples
    --------
    >>> format_duration(timedelta(days=7))
    '1w'
    >>> format_duration(timedelta(seconds=90))
    '90s'
    """
    seconds = value.total_seconds()
    for unit in ("w", "d", "h", "m"):
        if seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:g}s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _PATTERN.pattern}),
]

Delay = Annotated[
    timedelta,
    BeforeValidator(parse_delay),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _PATTERN.pattern}),
]
