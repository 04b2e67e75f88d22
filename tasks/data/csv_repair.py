"""CSV lines whose number of fields differs from the header's: mended where nothing can shift.

A line may end with surplus empty fields, or lack fields of columns that hold no value in any
line. Everything else is refused with its line: a guess would move values between columns.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tasks.base.errors import SourceError
from tasks.data.csv_survey import NO_DELIMITER, open_bytes

MAX_FIELD = 1 << 24


def check_quotes(path: Path, encoding: str, delimiter: str) -> None:
    """Refuse a file in which a quoted field never ends or goes on after its end.

    Raises
    ------
    SourceError
        With the line on which the field starts.
    """
    for _ in _records(path, encoding, delimiter):
        pass


@contextmanager
def mended(
    path: Path, encoding: str, delimiter: str, width: int
) -> Iterator[tuple[IO[bytes], str]]:
    """Give the file with `width` fields in every line, as UTF-8, and a sentence on it.

    Raises
    ------
    SourceError
        With the first line that cannot be mended: its number, fields found and expected.
    """
    with tempfile.TemporaryFile() as out:
        text = io.TextIOWrapper(out, "utf-8", newline="", write_through=True)
        try:
            sentence = _copy(
                csv.writer(text, delimiter=delimiter), path, encoding, delimiter, width
            )
        finally:
            text.detach()
        out.seek(0)
        yield out, sentence


def _copy(writer: Any, path: Path, encoding: str, delimiter: str, width: int) -> str:
    longer = shorter = 0
    shortest: tuple[int, int] = (width, 0)
    last_used = -1
    for number, (line, row) in enumerate(_records(path, encoding, delimiter)):
        if len(row) > width:
            if any(cell.strip() for cell in row[width:]):
                raise _ragged(path, line, len(row), width, delimiter)
            longer += 1
        elif len(row) < width:
            shorter += 1
            shortest = min(shortest, (len(row), line))
        if number and last_used < width - 1:
            last_used = max(last_used, _last_filled(row[:width]))
        writer.writerow([*row[:width], *[""] * (width - len(row))])
    if last_used >= shortest[0]:
        raise _ragged(path, shortest[1], shortest[0], width, delimiter)
    return _sentence(path, longer, shorter)


def _last_filled(row: list[str]) -> int:
    return next((i for i in range(len(row) - 1, -1, -1) if row[i].strip()), -1)


def _sentence(path: Path, longer: int, shorter: int) -> str:
    parts = []
    if longer:
        parts.append(
            f"{longer:,} lines end with empty fields beyond the header, which were dropped"
        )
    if shorter:
        parts.append(f"{shorter:,} lines lack last fields that hold no value in any line")
    return f"{path.name}: {' and '.join(parts)}" if parts else ""


def _ragged(path: Path, line: int, found: int, expected: int, delimiter: str) -> SourceError:
    shown = {"\t": "tab", NO_DELIMITER: "none"}.get(delimiter, repr(delimiter))
    return SourceError(
        f"{path.name}, line {line}: {found} fields; the header has {expected} "
        f"(delimiter: {shown}).",
        "Mend that line, or state source.delimiter if another one divides the fields.",
    )


def _records(path: Path, encoding: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield every record that is not blank, with the line on which it ends."""
    with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding, newline="") as text:
        csv.field_size_limit(MAX_FIELD)
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        before = 0
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
                before = reader.line_num
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
