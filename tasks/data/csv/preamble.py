"""Lines above the header of a CSV file: a spreadsheet's ``sep=``, comments, titles, blanks.

The header is the first line with as many fields as most lines have. Lines above it are skipped
only where what follows proves that it is the header: the names differ in form from the values
below them, or the skipped lines have far fewer fields.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass

_SEP = re.compile(r'^\ufeff?"?sep=(?P<sign>[^\r\n"])"?[;,\t ]*$', re.IGNORECASE)
_COMMENT = re.compile(r"^\s*(?:#|//|--|%|!)")
_SPACED = re.compile(r"^\s*(?:#|//|--|%|!)+\s")
_NUMBER = re.compile(r"^[+-]?(?:\d[\d.,' ]*|[.,]\d+)(?:[eE][+-]?\d+)?$")
_DATE = re.compile(r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b")
_WORD = re.compile(r"[^\W\d_]{2}")
MOST_LINES = 50
_BODY = 200
_MOSTLY = 0.8


@dataclass(frozen=True)
class Preamble:
    """Lines above the header."""

    lines: int = 0  # physical lines to skip before the header's
    sample: str = ""  # the first of them that is not blank
    delimiter: str | None = None  # as a ``sep=`` line states it


@dataclass(frozen=True)
class _Row:
    """A record of the sample: its fields and the physical lines before it."""

    cells: tuple[str, ...]
    above: int

    @property
    def extent(self) -> int:
        """Number of fields up to the last that holds something."""
        return max((i + 1 for i, cell in enumerate(self.cells) if cell), default=0)

    @property
    def filled(self) -> int:
        """Number of fields that hold something."""
        return sum(map(bool, self.cells))


def stated_separator(sample: str) -> str | None:
    r"""Return the delimiter that the first line states as spreadsheets do; None without one.

    >>> stated_separator("sep=;\na;b\n"), stated_separator('"sep=,"\na,b\n')
    (';', ',')
    """
    found = _SEP.match(sample.partition("\n")[0].rstrip("\r"))
    return found["sign"] if found else None


def skipped(sample: str, lines: int) -> Preamble:
    """Return a preamble of as many `lines` as the pipeline file states."""
    first = next((line for line in sample.splitlines()[:lines] if line.strip()), "")
    return Preamble(lines, _shortened(first), stated_separator(sample) if lines else None)


def find_preamble(sample: str, delimiter: str) -> Preamble:
    r"""Return the lines above the header of the text that `sample` begins.

    >>> find_preamble("Sales export\n\nqty,price,bought\n1,2.5,no\n2,3.5,yes\n", ",")
    Preamble(lines=2, sample='Sales export', delimiter=None)
    >>> find_preamble("a,b\n1,2\n", ",").lines
    0
    """
    stated = stated_separator(sample)
    rows = _rows(sample, delimiter, start=1 if stated else 0)
    found = _header(rows)
    lines = rows[found].above if rows and found else (1 if stated else 0)
    return skipped(sample, lines)


def below(sample: str, lines: int) -> str:
    """Return `sample` without its first `lines`."""
    return sample.split("\n", lines)[-1] if sample.count("\n") >= lines else ""


def _rows(sample: str, delimiter: str, start: int) -> list[_Row]:
    rows: list[_Row] = []
    text = io.StringIO(below(sample, start), newline="")
    reader, before = csv.reader(text, delimiter=delimiter), 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                stripped = tuple(cell.strip() for cell in cells)
                # A record ends on line_num; line ends inside it belong to it.
                above = reader.line_num - 1 - sum(cell.count("\n") for cell in cells)
                rows.append(_Row(stripped, start + max(above, before)))
            before = reader.line_num
            if len(rows) >= MOST_LINES + _BODY:
                break
    except csv.Error:
        return rows
    return rows


def _header(rows: list[_Row]) -> int:
    """Return which of `rows` is the header; 0 where nothing proves that it is a later one."""
    if not rows:
        return 0
    counts = Counter(len(row.cells) for row in rows)
    width = max(counts, key=lambda fields: (counts[fields], fields))
    body = [row for row in rows if len(row.cells) == width]
    extent = Counter(row.extent for row in body[-_BODY:]).most_common(1)[0][0]
    for at, row in enumerate(rows[: min(len(rows) - 1, MOST_LINES)]):
        whole = len(row.cells) == width and row.extent >= extent
        if whole and not _is_comment(rows, at, width):
            return at if at and _proved(rows, at, width) else 0
    return 0


def _is_comment(rows: list[_Row], at: int, width: int) -> bool:
    """Return whether a whole line that starts like a comment is one, and not the header."""
    first = rows[at].cells[0]
    if not _COMMENT.match(first):
        return False
    following = next(
        (i for i in range(at + 1, len(rows)) if not _COMMENT.match(rows[i].cells[0])), None
    )
    if following is None or len(rows[following].cells) != width:
        return False
    return _differs_from_values(rows, following) or (
        bool(_SPACED.match(first)) and _names(rows[following].cells)
    )


def _proved(rows: list[_Row], at: int, width: int) -> bool:
    above, header = rows[:at], rows[at]
    if all(_COMMENT.match(row.cells[0]) for row in above):
        return True
    if not _names(header.cells) or any(_divides_otherwise(row, width) for row in above):
        return False
    few = width >= 3 and all(
        row.filled == 1 or (len(row.cells) != width and 2 * row.filled <= width) for row in above
    )
    return few or _differs_from_values(rows, at)


def _divides_otherwise(row: _Row, width: int) -> bool:
    """Return whether a line's first field holds names that another sign divides."""
    padded = len(row.cells) == width and row.filled == 1
    return padded and bool(re.search(r"[^,;\t|\s][,;\t|][^,;\t|\s]", row.cells[0]))


def _names(cells: tuple[str, ...]) -> bool:
    """Return whether `cells` may be names: none twice, and no numbers but years."""
    filled = [cell for cell in cells if cell]
    values = [c for c in filled if (_NUMBER.match(c) and not _is_year(c)) or _DATE.match(c)]
    return len(set(filled)) == len(filled) and not values and not all(map(_is_year, filled))


def _is_year(cell: str) -> bool:
    return cell.isdigit() and len(cell) == 4 and "1800" <= cell <= "2100"


def _differs_from_values(rows: list[_Row], at: int) -> bool:
    """Return whether a column holds values of a kind that its name is not."""
    body = rows[at + 1 : at + 1 + _BODY]
    for place, name in enumerate(rows[at].cells):
        if not name or not _WORD.search(name):
            continue
        values = [row.cells[place] for row in body if place < len(row.cells) and row.cells[place]]
        like = sum(any(map(str.isdigit, value)) and not _WORD.search(value) for value in values)
        if values and like >= _MOSTLY * len(values):
            return True
    return False


def _shortened(line: str) -> str:
    text = line.strip().lstrip("\ufeff")
    return text if len(text) <= 60 else f"{text[:59]}…"
