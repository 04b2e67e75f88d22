"""Amounts written as text: currencies, per cents, parentheses and trailing signs for what is owed.

A per cent keeps its number: 7.3% is 7.3. What a column was read in is its unit, so that a later
file in another one is refused and never mixed with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.base.errors import DataError
from tasks.base.runtime.libraries import pa, pc
from tasks.data.typing import numbers as number_text
from tasks.data.typing.distinct_values import Distinct
from tasks.data.typing.numbers import Style

_SYMBOLS = {"€": "€", "£": "£", "¥": "¥", "₹": "₹", "₩": "₩", "₽": "₽", "₺": "₺", "₴": "₴",
            "₫": "₫", "₪": "₪", "₱": "₱", "₦": "₦", "฿": "฿", "zł": "PLN", "Kč": "CZK", "Ft": "HUF",
            "kr": "kr", "kr.": "kr", "Rs": "₹", "Rs.": "₹", "Fr.": "CHF",
            "EUR": "€", "GBP": "£", "INR": "₹", "KRW": "₩", "RUB": "₽", "TRY": "₺", "UAH": "₴",
            "VND": "₫", "ILS": "₪", "PHP": "₱", "NGN": "₦", "THB": "฿"}  # fmt: skip
_CODES = (
    "USD", "CHF", "JPY", "CNY", "AUD", "CAD", "NZD", "HKD", "SGD", "SEK", "NOK", "DKK", "ISK",
    "PLN", "CZK", "HUF", "RON", "BGN", "BRL", "MXN", "ARS", "CLP", "COP", "PEN", "ZAR", "EGP",
    "MAD", "KES", "AED", "SAR", "QAR", "KWD", "TWD", "IDR", "MYR", "PKR", "BDT", "LKR",
)  # fmt: skip
_DOLLARS = r"(?:US|AU|NZ|HK|[ACRS])?\$"
_WORDS = "|".join(word.replace(".", r"\.") for word in sorted((*_SYMBOLS, *_CODES), key=len)[::-1])
_CURRENCY = rf"(?:{_DOLLARS}|{_WORDS})"
_MINUS = "[-\u2212\u2013]"
_BLANK = "[ \u00a0\u202f\u2009\t]*"
_NUMBER = "[0-9][0-9.,'\u2019 \u00a0\u202f]*[0-9][.,]?|[0-9][.,]?|[.,][0-9]+"
_CELL = (
    rf"^{_BLANK}(?P<a>{_CURRENCY})?{_BLANK}(?P<open>\()?{_BLANK}(?P<first>\+|{_MINUS})?{_BLANK}"
    rf"(?P<b>{_CURRENCY})?{_BLANK}(?P<second>\+|{_MINUS})?{_BLANK}(?P<number>{_NUMBER}){_BLANK}"
    rf"(?P<c>[%‰]|{_CURRENCY})?{_BLANK}(?P<last>{_MINUS})?{_BLANK}(?P<close>\))?"
    rf"{_BLANK}(?P<d>[%‰]|{_CURRENCY})?{_BLANK}$"
)
_EVEN = "([0-9])[.,][-\u2013\u2014]+"
LOOK = f"^{_BLANK}(?:{_CURRENCY}|[-+(\u2212\u2013]|{_BLANK})*[.,]?[0-9]"
"""Beginning of an amount."""


@dataclass(frozen=True)
class Amounts:
    """Cells taken apart."""

    numbers: Any  # strings: sign and digits of each cell, in whatever style
    units: dict[str, int]  # unit to number of distinct cells; "" for those without one
    marked: int  # position of the longest cell that is no plain number

    @property
    def unit(self) -> str | None:
        """The one unit of all cells; None where there are several."""
        # An amount without a currency is in the one that the others name. A number without its per
        # cent sign may be a share as well; only nought is the same in both.
        named = [unit for unit in self.units if unit]
        if len(named) > 1 or (named and named[0] in "%‰" and self.units.get("")):
            return None
        return named[0] if named else ""


class UnitError(DataError):
    """A column of amounts has another unit than in its contract; "" stands for plain numbers."""

    def __init__(self, column: str, found: str, known: str, where: str = "") -> None:
        self.column, self.found, self.known = column, found, known
        super().__init__(
            f"{where}{': ' if where else ''}column {column!r} is in {found or 'plain numbers'} and "
            f"was in {known or 'plain numbers'} when its contract was inferred.",
            "Bring it into that unit, or change `written_as` of the column in the contract and "
            "train again.",
        )

    def __reduce__(self) -> Any:
        return DataError, (self.message, self.remedy)


def units_of(cells: Any, missing: tuple[str, ...]) -> frozenset[str]:
    """Return the units of amounts among the strings `cells`; "" for those without one.

    >>> sorted(units_of(pa.chunked_array([["$7", "n/a", "3"]]), ("n/a",)))
    ['', '$']
    """
    found = taken_apart(Distinct(cells, missing).values, asked=True)
    return frozenset([""]) if found is None else frozenset(found.units)


def taken_apart(values: Any, *, asked: bool = False) -> Amounts | None:
    """Return distinct strings without null as amounts; None where one of them is none.

    Unless numbers are `asked`, signs alone make amounts only where some cells are without: (1), (2)
    may be labels.
    >>> found = taken_apart(pa.array(["$1,234.50", "($7)"]))
    >>> found.numbers.to_pylist(), found.unit
    (['1,234.50', '-7'], '$')
    """
    some = pc.replace_substring_regex(values[:50], _EVEN, r"\1")
    if not len(values) or not pc.all(pc.match_substring_regex(some, _CELL)).as_py():
        return None
    # 7.- is seven even, and not what is owed.
    found = pc.extract_regex(pc.replace_substring_regex(values, _EVEN, r"\1"), _CELL)
    if found.null_count:
        return None
    part = {found.type.field(i).name: found.field(i) for i in range(found.type.num_fields)}
    signs = [_is(part[name]) for name in ("open", "first", "second", "last")]
    count = sum((sign.cast(pa.int8()).to_numpy(zero_copy_only=False) for sign in signs), 0)
    paired = pc.equal(_is(part["open"]), _is(part["close"]))
    if bool((count > 1).any()) or not pc.all(paired).as_py():
        return None
    words = [part[name].to_pylist() for name in "abcd"]
    units = [_named(cell) for cell in zip(*words, strict=True)]
    if None in units:
        return None
    minus = pc.invert(pc.or_(pc.equal(part["first"], "+"), pc.equal(part["second"], "+")))
    negative = pc.and_(pa.array(count > 0), minus)
    numbers = pc.binary_join_element_wise(pc.if_else(negative, "-", ""), part["number"], "")
    marked = [u or s for u, s in zip(units, _marked(part), strict=True)]
    nought = pc.match_substring_regex(part["number"], "^0*[.,]?0*$").to_pylist()
    counted: dict[str, int] = {}
    for unit, zero in zip(units, nought, strict=True):
        if unit or not zero:
            counted[str(unit)] = counted.get(str(unit), 0) + 1
    if not any(marked) or not (asked or any(units) or not all(marked)):
        return None
    lengths = pc.utf8_length(part["number"]).to_pylist()
    telling = max((i for i, mark in enumerate(marked) if mark), key=lambda i: lengths[i])
    return Amounts(numbers, counted, telling)


def _is(texts: Any) -> Any:
    return pc.not_equal(texts, "")


def _marked(part: dict[str, Any]) -> list[bool]:
    """Return which cells show their sign as no plain number does."""
    unusual = pc.or_(_is(part["open"]), _is(part["last"]))
    for name in ("first", "second"):
        unusual = pc.or_(unusual, pc.match_substring_regex(part[name], "[\u2212\u2013]"))
    marked: list[bool] = unusual.to_pylist()
    return marked


def _named(words: tuple[str, ...]) -> str | None:
    """Return the unit that a cell names; None where it names two."""
    found = {_SYMBOLS.get(word, word) for word in words if word}
    if len(found) > 1:
        return None
    return found.pop() if found else ""


@dataclass(frozen=True)
class Writing:
    """Format of the cells of a column of numbers, as a contract states it.

    >>> str(Writing("$", Style(".", ","))), Writing.of("€ 1.234,5").unit
    ('$ 1,234.5', '€')
    """

    unit: str
    style: Style

    def __str__(self) -> str:
        number = f"1{self.style.thousands or ''}234{self.style.decimal}5"
        return f"{self.unit} {number}".strip()

    @classmethod
    def of(cls, text: str) -> Writing | None:
        """Return the style that `text` states; None where it is no such statement."""
        for style in number_text.STYLES:
            sample = str(cls("", style))
            unit = text.removesuffix(sample).strip()
            if text.endswith(sample) and not any(sign.isdigit() for sign in unit):
                return cls(unit, style)
        return None
