"""Numbers written as text: decimal commas, thousands separators, what is no number at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.base.runtime.libraries import pa, pc

GROUPING = {",": ",", ".": r"\.", " ": "[ \u00a0\u202f]", "'": "['\u2019]"}
# Whole numbers from 2**53 on, of which not every one has a float.
_LONG = r"^[+-]?[0-9]{16,}(?:\.0*)?$"
_BARE_POWER = r"^[+-]?[0-9]+[eE][0-9]+$"
_PLUS_CODE = r"^\+[1-9][0-9]{6,}$"
_SURELY_FLOAT = r"[.,]|[eE][+-]"


@dataclass(frozen=True)
class Style:
    """Format of a number: the sign before decimals and the one between thousands."""

    decimal: str = "."
    thousands: str | None = None

    @property
    def pattern(self) -> str:
        """Regular expression (RE2) of a whole number in this style, without leading zeros."""
        point = r"\." if self.decimal == "." else ","
        whole = r"(?:0|[1-9][0-9]*)"
        if self.thousands:
            whole = rf"(?:{whole}|[1-9][0-9]{{0,2}}(?:{GROUPING[self.thousands]}[0-9]{{3}})+)"
        if self.thousands == ",":
            # India groups by hundreds above the thousand: 1,23,456.
            whole = rf"(?:{whole}|[1-9][0-9]?(?:,[0-9]{{2}})+,[0-9]{{3}})"
        return rf"^[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?$"


PLAIN = Style()
STYLES = (
    PLAIN, Style(","), Style(".", ","), Style(",", "."), Style(".", " "), Style(",", " "),
    Style(".", "'"), Style(",", "'"),
)  # fmt: skip


def styles_allowed(decimal: str | None, thousands: str | None) -> tuple[Style, ...]:
    """Return the styles that agree with what the pipeline file states.

    >>> styles_allowed(",", ".")
    (Style(decimal=',', thousands='.'),)
    """
    if decimal is not None and decimal == thousands:
        return ()
    return tuple(
        style
        for style in STYLES
        if decimal in (None, style.decimal) and (thousands is None or style.thousands == thousands)
    )


def plain_numbers(column: Any) -> Any | None:
    """Return a string column as int64 or float64 where every cell is a plain number, else None."""
    # Leading zeros and whole numbers beyond 64 bits make a column text: as numbers they would lose
    # digits. NaN becomes null.
    typed = _cast(column, pa.int64())
    if typed is None:
        typed = _cast(column, pa.float64())
        if typed is None or _loses_digits(column):
            return None
        if _any(pc.is_nan(typed)):
            typed = pc.if_else(pc.is_nan(typed), pa.scalar(None, pa.float64()), typed)
    return None if _leading_zeros(column) else typed


def _loses_digits(column: Any) -> bool:
    """Return whether a whole number in a column of floats is no longer itself as a float."""
    long = column.filter(pc.match_substring_regex(column, _LONG))
    if not len(long):
        return False
    try:
        whole = pc.replace_substring_regex(long, r"^\+|\.0*$", "").cast(pa.int64())
    except pa.ArrowInvalid:
        return True
    as_floats = whole.cast(pa.float64(), safe=False)
    return _any(pc.not_equal(as_floats.cast(pa.int64(), safe=False), whole))


def bare_power(column: Any) -> str | None:
    """Return a cell such as 1E5 of a column that holds no surer floating-point number, or None.

    Programs write a point or a sign into a power of ten; without both it is a code as often.
    >>> bare_power(pa.array(["1E5", "12"])), bare_power(pa.array(["1E5", "1.5"]))
    ('1E5', None)
    """
    found = column.filter(pc.match_substring_regex(column, _BARE_POWER))
    if not len(found) or _any(pc.match_substring_regex(column, _SURELY_FLOAT)):
        return None
    return str(found[0].as_py())


def plus_code(column: Any) -> str | None:
    """Return a cell such as +4915112345678 of a column without a number below 0, or None.

    Numbers have a plus where others of their column have a minus; telephone numbers always.
    >>> plus_code(pa.array(["+4915112345678"])), plus_code(pa.array(["+1200000", "-7"]))
    ('+4915112345678', None)
    """
    if not _any(pc.starts_with(column, "+")) or _any(pc.match_substring_regex(column, "^-|[.,]")):
        return None
    found = column.filter(pc.match_substring_regex(column, _PLUS_CODE))
    return str(found[0].as_py()) if len(found) else None


def _cast(column: Any, kind: Any) -> Any | None:
    try:
        # A cast that fails is slow: a few cells identify most columns of words.
        column[:100].cast(kind)
        return column.cast(kind)
    except pa.ArrowInvalid:
        return None


def _any(mask: Any) -> bool:
    return bool(pc.any(mask).as_py())


def _leading_zeros(column: Any) -> bool:
    zero = pc.or_(pc.starts_with(column, "0"), pc.starts_with(column, "-0"))
    some = column.filter(pc.or_(zero, pc.starts_with(column, "+0")))
    return _any(pc.match_substring_regex(some, "^[+-]?0[0-9xX]"))


def fitting(values: Any, styles: tuple[Style, ...]) -> tuple[Style, ...]:
    """Return the styles in which every one of `values` (strings without null) is a number."""

    def fits(style: Style) -> bool:
        # A handful of values refuses most styles before the whole is looked at.
        found = (pc.match_substring_regex(part, style.pattern) for part in (values[:50], values))
        return all(pc.all(match).as_py() for match in found)

    return tuple(filter(fits, styles))


def numbers_in(values: Any, style: Style) -> int:
    """Return how many of `values` are numbers in `style`."""
    return int(pc.sum(pc.match_substring_regex(values, style.pattern)).as_py() or 0)


def convert(values: Any, style: Style) -> Any | None:
    """Return `values`, all written in `style`, as int64 or float64; None beyond 64 bits."""
    if style.thousands:
        values = pc.replace_substring_regex(values, GROUPING[style.thousands], "")
    if style.decimal != ".":
        values = pc.replace_substring(values, style.decimal, ".")
    return plain_numbers(pc.replace_substring_regex(values, r"^\+", ""))


def decimal_evidence(values: Any) -> str | None:
    """Return the decimal sign that `values` (strings) prove, or None where they prove none.

    A sign proves itself where its digits cannot be a group of three: 2,6 or 0,758 or 1.234,5.
    >>> decimal_evidence(pa.array(["2,6", "1360"])), decimal_evidence(pa.array(["1,234", "5,678"]))
    (',', None)
    """
    # Most columns hold neither sign; this look is what keeps wide tables quick.
    if not _any(pc.match_substring_regex(values, "^[+-]?[0-9][0-9 .,']*$")):
        return None
    fits = fitting(values, STYLES)
    signs = {style.decimal for style in fits}
    if len(signs) != 1 or not _any(pc.match_substring_regex(values, "[.,]")):
        return None
    return signs.pop()


def choose(fits: tuple[Style, ...], decimal: str) -> tuple[Style, bool]:
    """Return the style to read with, and whether the other decimal sign would fit as well."""
    preferred = [style for style in fits if style.decimal == decimal]
    both = len({style.decimal for style in fits}) > 1
    return (preferred or list(fits))[0], both
