"""Numbers, shares and values as text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

Severity = Literal["error", "warning"]

MAX_SAMPLE = 5
MAX_VALUE = 40


def say_number(value: float) -> str:
    """Return `value` with thousands separated, to six digits.

    >>> say_number(5480), say_number(-0.25), say_number(123450.4), say_number(float("inf"))
    ('5,480', '−0.25', '123,450', '∞')
    """
    if isinstance(value, float) and math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        text = f"{size:.3g}"
    elif float(size).is_integer():
        text = f"{int(size):,}"
    else:
        text = f"{size:,.{max(0, 5 - math.floor(math.log10(size)))}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"−{text}" if value < 0 else text


def say_share(share: float, *, beside: float | None = None) -> str:
    """Return a share as a percentage; never 0 % or 100 % unless it is none or all.

    Where it differs from the share `beside`, so does its text.

    >>> say_share(0.000036), say_share(0.5), say_share(0.99999)
    ('0.004 %', '50 %', 'almost 100 %')
    >>> say_share(0.98634, beside=0.98581), say_share(0.98581, beside=0.98634)
    ('98.63 %', '98.58 %')
    """
    text = _share(share)
    if beside is None or share == beside or text != _share(beside):
        return text
    for digits in range(1, 13):
        text = f"{100 * share:.{digits}f}"
        if text != f"{100 * beside:.{digits}f}":
            break
    return f"{text} %"


def _share(share: float) -> str:
    if share in {0.0, 1.0}:
        return f"{share * 100:.0f} %"
    percent = share * 100
    if percent < 0.001:
        return "under 0.001 %"
    if percent >= 99.95:
        return "almost 100 %"
    # Three digits above 1 %, one below.
    magnitude = math.floor(math.log10(percent))
    digits = max(0, 2 - magnitude) if percent >= 1 else -magnitude
    text = f"{percent:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


def say_rows(count: int) -> str:
    """Return a number of rows.

    >>> say_rows(1), say_rows(12000)
    ('1 row', '12,000 rows')
    """
    return f"{count:,} row" + ("" if count == 1 else "s")


def say_value(value: Any) -> str:
    """Return one value as text of at most 40 characters.

    >>> say_value("x" * 50)
    'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'
    """
    if isinstance(value, str):
        return shorten(value, MAX_VALUE)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return say_number(value)
    except (TypeError, ValueError, OverflowError):
        return shorten(str(value), MAX_VALUE)


def shorten(text: str, length: int) -> str:
    """Return `text` on one line, cut to `length` characters."""
    line = "".join(mark if mark.isprintable() else "␣" for mark in text[: length + 1])
    return line if len(line) <= length else line[: length - 1] + "…"


def sample_of(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the first five different values as text."""
    found: dict[str, None] = {}
    for value in values:
        found.setdefault(say_value(value))
        if len(found) == MAX_SAMPLE:
            break
    return tuple(found)
