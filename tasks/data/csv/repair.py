"""CSV lines whose number of fields differs from the header's: fixed where nothing can shift.

A line may end with surplus empty fields, or lack fields of columns that hold no value in any
line. Lines at the end that are too short and start as a footer does ("Total", "Source: …") are
skipped with a note. Everything else is refused with its line: a guess would move values between
columns.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tasks.base.errors import SourceError
from tasks.base.source_notes import ReadingNote, SkippedLines
from tasks.data.csv.dialect import MAX_FIELD, NO_DELIMITER, open_bytes

_FOOTER = re.compile(
    r"^\W*(?:(?:grand |sub)?totals?|sum|summe|source|quelle|notes?|footnotes?|remarks?|generated|"
    r"exported|created|report|copyright|end of|\(?\d+ (?:rows?|records?)|(?:rows?|records?)\b)|"
    r"^\s*(?:#|//|--|\*|©)",
    re.IGNORECASE,
)


def check_quotes(path: Path, encoding: str, delimiter: str, above: int = 0) -> None:
    """Refuse a file in which a quoted field, below `above` lines, does not end as it should."""
    for _ in _records(path, encoding, delimiter, above):
        pass


@contextmanager
def mended(
    path: Path, encoding: str, delimiter: str, width: int, above: int = 0
) -> Iterator[tuple[IO[bytes], str, tuple[ReadingNote, ...]]]:
    """Give the file below `above` lines as UTF-8, `width` fields a line, and what was fixed."""
    with tempfile.TemporaryFile() as out:
        text = io.TextIOWrapper(out, "utf-8", newline="", write_through=True)
        try:
            records = _records(path, encoding, delimiter, above)
            rows = _Footer(path, records, width)
            sentence = _copy(csv.writer(text, delimiter=delimiter), path, rows, delimiter, width)
        finally:
            text.detach()
        out.seek(0)
        yield out, sentence, rows.notes


class _Footer:
    """Records without those at the end that are no rows; `notes` has them afterwards."""

    def __init__(self, path: Path, records: Iterator[tuple[int, list[str]]], width: int) -> None:
        self._path, self._records, self._width = path, records, width
        self.notes: tuple[ReadingNote, ...] = ()

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        held: list[tuple[int, list[str]]] = []
        for line, row in self._records:
            if len(row) < self._width and _FOOTER.match(row[0]):
                held.append((line, row))
                continue
            yield from held
            held = []
            yield line, row
        if held:
            sample = ", ".join(cell for cell in held[0][1] if cell)[:60]
            self.notes = (
                SkippedLines(file=self._path.name, where="below", lines=len(held), sample=sample),
            )


def _copy(writer: Any, path: Path, records: _Footer, delimiter: str, width: int) -> str:
    longer = shorter = 0
    shortest: tuple[int, int] = (width, 0)
    last_used = -1
    for number, (line, row) in enumerate(records):
        if len(row) > width:
            if any(cell.strip() for cell in row[width:]):
                raise _ragged(path, line, len(row), width, delimiter)
            longer += 1
        elif len(row) < width:
            shorter += 1
            shortest = min(shortest, (len(row), line))
        if number and last_used < width - 1:
            filled = [place for place, cell in enumerate(row[:width]) if cell.strip()]
            last_used = max([last_used, *filled])
        writer.writerow([*row[:width], *[""] * (width - len(row))])
    if last_used >= shortest[0]:
        raise _ragged(path, shortest[1], shortest[0], width, delimiter)
    return _sentence(path, longer, shorter)


def _sentence(path: Path, longer: int, shorter: int) -> str:
    parts = {
        f"{longer:,} lines end with empty fields beyond the header, which were dropped": longer,
        f"{shorter:,} lines lack last fields that hold no value in any line": shorter,
    }
    found = " and ".join(part for part, lines in parts.items() if lines)
    return f"{path.name}: {found}" if found else ""


def _ragged(path: Path, line: int, found: int, expected: int, delimiter: str) -> SourceError:
    shown = {"\t": "tab", NO_DELIMITER: "none"}.get(delimiter, repr(delimiter))
    return SourceError(
        f"{path.name}, line {line}: {found} fields; the header has {expected} "
        f"(delimiter: {shown}).",
        "Fix that line, or state source.delimiter if another one divides the fields, or "
        "source.skip_rows if the header stands on a later line.",
    )


def _records(
    path: Path, encoding: str, delimiter: str, above: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield every record that is not blank, with the line on which it ends."""
    with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding, newline="") as text:
        csv.field_size_limit(MAX_FIELD)
        before = above
        try:
            for _ in range(above):
                text.readline()
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            for row in reader:
                before = above + reader.line_num
                if row:
                    yield before, row
        except csv.Error as error:
            raise SourceError(
                f"{path.name}, line {before + 1}: a quoted field that starts here does not end "
                f"as it should ({error}).",
                "Close the quote, or double the quotes inside the field.",
            ) from None
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{path.name}, after line {before}: not text in {encoding} ({error.reason}).",
                "State the right source.encoding, or leave it out to have it detected.",
            ) from None
