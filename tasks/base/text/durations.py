"""Durations as people write them: 180d, 2h, 30m, 120s, 1w."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from expectations.text.time_spans import PATTERN
from expectations.text.time_spans import format_span as format_duration
from expectations.text.time_spans import parse_span as parse_duration

__all__ = ["Delay", "Duration", "format_duration", "parse_delay", "parse_duration"]


def parse_delay(value: Any) -> timedelta:
    """Return the duration that `value` writes, which may be none at all.

    >>> parse_delay("0s")
    datetime.timedelta(0)
    """
    if isinstance(value, str) and re.fullmatch(r"\s*0\s*[smhdw]?\s*", value):
        return timedelta(0)
    return parse_duration(value)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PATTERN.pattern}),
]

Delay = Annotated[
    timedelta,
    BeforeValidator(parse_delay),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PATTERN.pattern}),
]
