"""Text that may hold anything, made safe for a terminal.

A terminal acts on escapes, bells, C1 controls and bidirectional marks, and reads a line break in a
name for the end of keepfit's own line. All of it is shown as an escape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff]"
)
_BREAKS = str.maketrans({"\n": r"\n", "\t": r"\t"})
# By rich, from any text that it is given.
_DROPPED = dict.fromkeys((7, 8, 11, 12, 13))
_MOST_NAMES = 100_000
_names: dict[str, str] = {}


def know_names(names: Iterable[object]) -> None:
    """Remember names of columns and keys that hold line breaks, which `visible` then escapes."""
    # Within a sentence nothing else separates the break of a name from one of keepfit's own.
    for name in names:
        # A name of nothing but breaks would take all of keepfit's own with it.
        if not isinstance(name, str) or not name.strip() or len(_names) >= _MOST_NAMES:
            continue
        if "\n" in name or "\t" in name:
            for form in (name, name.translate(_DROPPED)):
                _names[form] = form.translate(_BREAKS)


def visible(text: str) -> str:
    r"""Return `text` as a terminal may show it: every mark that steers the terminal escaped.

    Line breaks stay, but those of known names; JSON stays JSON.

    >>> visible("a\x1b[2Kb\x9b1m\u202e\r\nc")
    'a\\u001b[2Kb\\u009b1m\\u202e\\u000d\nc'
    >>> know_names(["pay\nPromoted: 3"])
    >>> visible("drift in pay\nPromoted: 3\n2 columns")
    'drift in pay\\nPromoted: 3\n2 columns'
    """
    for name, shown in _names.items():
        text = text.replace(name, shown)
    return without_marks(text)


def without_marks(text: str) -> str:
    """Return `text` with every mark that steers a terminal or an editor escaped."""
    return _ODD.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)
