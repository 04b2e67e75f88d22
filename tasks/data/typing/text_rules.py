"""Rules by which text becomes values, and notes about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.base.runtime.libraries import pa
from tasks.base.text.phrases import listed

# Cells that mean "no value" in any column of a CSV file, and those that do so only among numbers.
NULL_TOKENS = (
    "", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "Null", "None", "NONE", "<NA>",
    "#N/A", "NaT",
)  # fmt: skip
SOFT_NULL_TOKENS = ("?", "-", "--", ".", "..", "*")


@dataclass(frozen=True)
class TextRules:
    """Rules for reading text as values."""

    decimal: str | None = None
    thousands: str | None = None
    null_values: tuple[str, ...] | None = None
    date_formats: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ","
    # All is text, as in CSV; else text turns into values only where nothing else is possible.
    loose: bool = True

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the cells that mean no value."""
        if not self.loose:
            return ("",)
        return NULL_TOKENS if self.null_values is None else ("", *self.null_values)


class Notes:
    """Sentences on columns; columns with the same sentence share it."""

    def __init__(self) -> None:
        self._columns: dict[str, list[str]] = {}

    def add(self, sentence: str, column: str) -> None:
        """Add `sentence` about `column`."""
        self._columns.setdefault(sentence, []).append(column)

    def sentences(self) -> tuple[str, ...]:
        """Return each sentence once, with its columns."""
        return tuple(
            f"{listed([_short(n) for n in names])}: {text}" for text, names in self._columns.items()
        )


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"


_WORDS = ({"yes": True, "no": False}, {"true": True, "false": False})
_LETTERS = ({"y": True, "n": False}, {"t": True, "f": False})
_DIGITS = {"1": True, "0": False, "1.0": True, "0.0": False}


def parse_booleans(values: Any, *, asked: bool) -> tuple[Any, str] | None:
    """Read distinct strings without null as booleans, and name the pair of words; else None.

    Where booleans are `asked`, 0 and 1, and one letter without its other, are booleans too. An F
    alone may as well be a sex or a grade.
    >>> parse_booleans(pa.array(["No", "Yes"]), asked=False)[0].to_pylist()
    [False, True]
    >>> parse_booleans(pa.array(["F"]), asked=False) is None
    True
    """
    if len(values) > 12:
        return None
    lower = [text.lower() for text in values.to_pylist()]
    for pair in (*_WORDS, *_LETTERS, *((_DIGITS,) if asked else ())):
        sure = asked or pair in _WORDS or len(set(lower)) == 2
        if sure and set(lower) <= set(pair):
            words = "/".join(word.capitalize() for word in list(pair)[:2])
            return pa.array([pair[text] for text in lower]), words
    return None
