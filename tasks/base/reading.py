"""Notes on reading a source, as values; `note_text` writes the sentence where one is shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


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


class FileAside(BaseModel):
    """A file that is empty or incomplete, as while it is being written, and was not read.

    Attributes
    ----------
    stale
        Whether it has not changed for an hour, so that it may be damaged rather than arriving.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["file_aside"] = "file_aside"
    file: str
    reason: Literal["empty", "incomplete"]
    stale: bool = False


ReadingNote = Annotated[SkippedLines | FileAside, Field(discriminator="kind")]


def note_text(note: ReadingNote) -> str:
    """Return the sentence that shows `note`.

    Examples
    --------
    >>> note_text(SkippedLines(file="sales.csv", where="above", lines=1, sample="sep=;"))
    "sales.csv: 1 line above the header was skipped: 'sep=;' (`source.skip_rows` changes it)"
    """
    if isinstance(note, FileAside):
        return _aside_text(note)
    many = "line" if note.lines == 1 else "lines"
    were = "was" if note.lines == 1 else "were"
    if note.where == "above":
        return (
            f"{note.file}: {note.lines:,} {many} above the header {were} skipped: "
            f"{note.sample!r} (`source.skip_rows` changes it)"
        )
    return f"{note.file}: {note.lines:,} {many} below the last row {were} skipped: {note.sample!r}"


def _aside_text(note: FileAside) -> str:
    text = f"{note.file} is {note.reason} and was left aside; it is read once it is complete"
    if note.stale:
        text += ". It has not changed for an hour: write it again or remove it if it is damaged"
    return text
