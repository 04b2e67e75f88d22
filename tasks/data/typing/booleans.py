"""Words for true and false."""

from __future__ import annotations

from typing import Any

from tasks.base.runtime.libraries import pa

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
