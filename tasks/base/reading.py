"""Notes on reading a source, as values; `note_text` writes the sentence where one is shown."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class SkippedLines(BaseModel):
    """Lines of a CSV file above its header or below its rows that hold no row.

    Attributes
    ----------
    file
        Name of the file, without its folder.
    sample
        The first of these lines, at most 60 characters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["skipped_lines"] = "skipped_lines"
    file: str
    where: Literal["above", "below"]
    lines: int
    sample: str


ReadingNote = SkippedLines


def note_text(note: ReadingNote) -> str:
    """Return the sentence that shows `note`.

    Examples
    --------
    >>> note_text(SkippedLines(file="sales.csv", where="above", lines=1, sample="sep=;"))
    "sales.csv: 1 line above the header was skipped: 'sep=;' (`source.skip_rows` changes it)"
    """
    many = "line" if note.lines == 1 else "lines"
    were = "was" if note.lines == 1 else "were"
    if note.where == "above":
        return (
            f"{note.file}: {note.lines:,} {many} above the header {were} skipped: "
            f"{note.sample!r} (`source.skip_rows` changes it)"
        )
    return f"{note.file}: {note.lines:,} {many} below the last row {were} skipped: {note.sample!r}"
