"""Numbers written with more than a float keeps: with more digits, or beyond the greatest one."""

from __future__ import annotations

import re
from typing import Any

from tasks.base.runtime.libraries import pa, pc
from tasks.base.source_notes import BeyondRange, LostDigits, ReadingNote

# So many digits distinguish every float from every other.
_DIGITS = 17
_LOOKED_AT = 1_000
_WRITTEN = 30


def kept_numbers(numbers: Any, cells: Any, name: str, findings: list[ReadingNote]) -> Any:
    """Return the floats read from `cells`, null beyond their range; note that and lost digits."""
    beyond = pc.and_(pc.is_inf(numbers), pc.match_substring_regex(cells, "[0-9]"))
    rows = pc.sum(beyond).as_py() or 0
    if rows:
        example = str(cells.filter(beyond)[0].as_py()).strip()[:_WRITTEN]
        findings.append(BeyondRange(column=name, example=example, rows=rows))
        numbers = pc.if_else(beyond, pa.scalar(None, pa.float64()), numbers)
    cell = _shortened(numbers, cells)
    if cell is not None:
        findings.append(LostDigits(column=name, stored=cell[:_WRITTEN], kept="about 16"))
    return numbers


def _shortened(numbers: Any, cells: Any) -> str | None:
    """Return a cell whose digits its float does not keep; None where there is none."""
    long = pc.greater(pc.binary_length(cells), _DIGITS)
    if not pc.any(long).as_py():
        return None
    texts = cells.filter(long)[:_LOOKED_AT].to_pylist()
    values = numbers.filter(long)[:_LOOKED_AT].to_pylist()
    pairs = zip(texts, values, strict=True)
    return next((t.strip() for t, v in pairs if v is not None and _loses(t, v)), None)


def _loses(cell: str, number: float) -> bool:
    """Return whether `cell` is not how `number` is written with as many digits.

    >>> _loses("0.1234567890123456789", 0.1234567890123456789)
    True
    >>> _loses("1.000000000000000056e-01", 0.1)
    False
    """
    mantissa = re.split("[eE]", cell)[0]
    digits = re.sub(r"\D", "", mantissa).lstrip("0")
    if len(digits) <= _DIGITS:
        return False
    own = re.sub(r"\D", "", f"{abs(number):.{len(digits) - 1}e}".partition("e")[0])
    return own.rstrip("0") != digits.rstrip("0")
