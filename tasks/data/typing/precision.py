"""Numbers, decimals or text, with more than a float keeps: more digits, or beyond its range."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from tasks.base.runtime.libraries import pa, pc
from tasks.base.source_notes import BeyondRange, LostDigits, ReadingNote

# So many digits distinguish every float from every other.
_DIGITS = 17
_WRITTEN = 30
_EXACT = 2**53
_EXACT_POWERS = 22  # the highest power of ten that a float holds exactly
_SURE_DIGITS = 15  # every decimal of so many digits comes back from a float as it was
_LOOKED_AT = 1000


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


def plain_decimals(column: Any) -> tuple[Any, bool]:
    """Return decimals as int64, float64 or (beyond 64 bits) text, and whether digits were lost."""
    kind = column.type
    if not pa.types.is_decimal256(kind):
        # Arrow's casts from narrower decimals to integers refuse small numbers.
        column = column.cast(pa.decimal128(38, max(kind.scale, 0)))
    whole = _whole(column)
    if whole is None:
        return _floats(column), _loses_digits(column)
    highest = pc.max(pc.abs(whole)).as_py() or 0
    if kind.scale > 0 and highest < _EXACT:
        return whole.cast(pa.float64()), False
    try:
        return whole.cast(pa.int64()), False
    except pa.ArrowInvalid:
        return whole.cast(pa.string()), False


def _whole(column: Any) -> Any | None:
    """Return the column with scale 0; None where a cell has a fraction."""
    if column.type.scale == 0:
        return column
    wide = pa.decimal256 if pa.types.is_decimal256(column.type) else pa.decimal128
    try:
        return column.cast(wide(column.type.precision, 0))
    except pa.ArrowInvalid:
        return None


def _floats(column: Any) -> Any:
    """Return the float nearest to each decimal, which Arrow's own cast is not: 0.35 misses it."""
    scale = column.type.scale
    highest = pc.max(pc.abs(column)).as_py()
    exact = scale <= _EXACT_POWERS and highest.scaleb(scale) < _EXACT
    if pa.types.is_decimal256(column.type) or not exact:
        return column.cast(pa.string()).cast(pa.float64())
    units = pa.chunked_array(
        [
            pa.Array.from_buffers(
                pa.decimal128(38, 0), len(chunk), chunk.buffers(), chunk.null_count, chunk.offset
            )
            for chunk in column.chunks
        ]
    )
    # Both are floats without a rounding, so that their quotient is rounded once.
    return pc.divide(units.cast(pa.int64()).cast(pa.float64()), float(10**scale))


def _loses_digits(column: Any) -> bool:
    if column.type.precision <= _SURE_DIGITS:
        return False
    texts = column.cast(pa.string()).drop_null()
    digits = pc.replace_substring_regex(texts, r"^-?[0.]*|\.?0*$|\.", "")
    long = texts.filter(pc.greater(pc.utf8_length(digits), _SURE_DIGITS))
    return loses_digits(map(Decimal, long[:_LOOKED_AT].to_pylist()))


def loses_digits(numbers: Iterable[Decimal]) -> bool:
    """Return whether one of `numbers` is no longer itself once it was a float."""
    return any(Decimal(repr(float(number))) != number for number in numbers)
