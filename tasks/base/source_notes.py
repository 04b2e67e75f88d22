"""Notes on reading a source, as values; `note_text` writes the sentence where one is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Note(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SkippedLines(_Note):
    """Lines of a CSV file above its header or below its rows that hold no row."""

    kind: Literal["skipped_lines"] = "skipped_lines"
    file: str  # name of the file, without its folder
    where: Literal["above", "below"]
    lines: int
    sample: str  # the first of these lines, at most 60 characters


class FileAside(_Note):
    """A file that was not read: empty or incomplete, as while it is being written, or a copy."""

    kind: Literal["file_aside"] = "file_aside"
    file: str
    reason: Literal["empty", "incomplete", "copy"]
    of: str = ""  # the file of which it is a copy
    stale: bool = False  # whether it has not changed for an hour and may be damaged


class UnreadColumn(_Note):
    """A column that is not read, because there is no number, text or time for its cells."""

    kind: Literal["unread_column"] = "unread_column"
    column: str
    stored: str


class LostDigits(_Note):
    """A column whose numbers or times have more digits than are kept."""

    kind: Literal["lost_digits"] = "lost_digits"
    column: str
    stored: str
    kept: str


class BeyondRange(_Note):
    """A column with numbers greater than any float, such as 1e400, which count as missing."""

    kind: Literal["beyond_range"] = "beyond_range"
    column: str
    example: str
    rows: int


class DecodedBytes(_Note):
    """A column of bytes that was read as something else."""

    kind: Literal["decoded_bytes"] = "decoded_bytes"
    column: str
    as_what: str  # `text`, or the numbers that the bytes are


class UnnamedIndex(_Note):
    """The row index of a data frame, which its writer kept as a column without a name."""

    kind: Literal["unnamed_index"] = "unnamed_index"
    column: str


class PartitionKeyInFile(_Note):
    """A key of a partitioned folder that the files hold as a column too."""

    kind: Literal["partition_key_in_file"] = "partition_key_in_file"
    column: str


class ChangedColumns(_Note):
    """Columns in which files differ from the others of their source, or from what is known."""

    kind: Literal["changed_columns"] = "changed_columns"
    files: tuple[str, ...]  # names of the files that differ in this way
    new: tuple[str, ...]  # new, absent: what only they have, and what they lack
    absent: tuple[str, ...]
    renamed: dict[str, str] = Field({})  # absent column to the new one called nearly like it


class LabelTwins(_Note):
    """Labels of the target that differ in case, space or a final dot only."""

    kind: Literal["label_twins"] = "label_twins"
    target: str
    spellings: dict[str, int]  # label to its rows, the most frequent first

    @property
    def name(self) -> str:
        """The most frequent spelling."""
        return next(iter(self.spellings))


class JoinedLabels(_Note):
    """Spellings of labels that `labels` of the pipeline file joined."""

    kind: Literal["joined_labels"] = "joined_labels"
    target: str
    rows: dict[str, int]  # spelling to its rows
    unknown: dict[str, str] = Field({})  # spelling that does not occur to the nearest that does


class AmountsRead(_Note):
    """A column of amounts, such as $1,234.50 or (7), that was read as numbers."""

    kind: Literal["amounts_read"] = "amounts_read"
    column: str
    example: str  # example, number: a cell and what was read
    number: float
    unit: str  # currency, `%` or empty; a per cent keeps its number: 7.3% is 7.3


class SeveralUnits(_Note):
    """A column of amounts that was kept as text, because they are in several units."""

    kind: Literal["several_units"] = "several_units"
    column: str
    units: tuple[str, ...]  # currency or `%`; empty for amounts without one
    files: dict[str, str] = Field({})  # unit to the first file that holds it, if several


_ColumnNote = (
    UnreadColumn
    | LostDigits
    | BeyondRange
    | DecodedBytes
    | UnnamedIndex
    | PartitionKeyInFile
    | AmountsRead
    | SeveralUnits
)

ReadingNote = Annotated[
    SkippedLines | FileAside | ChangedColumns | LabelTwins | JoinedLabels | _ColumnNote,
    Field(discriminator="kind"),
]


def note_text(note: ReadingNote) -> str:
    """Return the sentence that shows `note`.

    >>> note_text(SkippedLines(file="sales.csv", where="above", lines=1, sample="sep=;"))
    "sales.csv: 1 line above the header was skipped: 'sep=;' (`source.skip_rows` changes it)"
    """
    match note:
        case SkippedLines():
            return _skipped(note)
        case FileAside():
            return _aside_text(note)
        case ChangedColumns():
            return _changed_text(note)
        case LabelTwins():
            return _twins_text(note)
        case JoinedLabels():
            return _joined_text(note)
        case _:
            return _column_text(note)


def _column_text(note: _ColumnNote) -> str:
    match note:
        case UnreadColumn():
            return (
                f"{note.column}: left out, because its cells are {note.stored}; `exclude` it, or "
                "flatten it into columns of numbers, text or times"
            )
        case LostDigits():
            return f"{note.column}: {note.stored} has more digits than are kept ({note.kept})"
        case BeyondRange():
            return (
                f"{note.column}: {note.rows:,} numbers greater than the greatest that is kept "
                f"(1.8e308), such as {note.example}, count as missing"
            )
        case DecodedBytes():
            return f"{note.column}: bytes read as {note.as_what}"
        case UnnamedIndex():
            return f"{note.column}: the data frame's unnamed row index, left out"
        case AmountsRead():
            unit = f", in {note.unit}" if note.unit else ""
            example = " ".join(note.example.split())
            return f"{note.column}: amounts read as numbers{unit}: {example} is {note.number:.10g}"
        case SeveralUnits():
            files = {unit: f" in {name}" for unit, name in note.files.items()}
            units = " and ".join(f"{u or 'none'}{files.get(u, '')}" for u in note.units)
            return (
                f"{note.column}: kept as text, because its amounts are in several units ({units}); "
                "bring them into one"
            )
        case PartitionKeyInFile():
            return f"{note.column}: a folder's key and a column of its files; the column is read"


def _skipped(note: SkippedLines) -> str:
    many = "line" if note.lines == 1 else "lines"
    were = "was" if note.lines == 1 else "were"
    if note.where == "above":
        return (
            f"{note.file}: {note.lines:,} {many} above the header {were} skipped: "
            f"{note.sample!r} (`source.skip_rows` changes it)"
        )
    return f"{note.file}: {note.lines:,} {many} below the last row {were} skipped: {note.sample!r}"


def _aside_text(note: FileAside) -> str:
    if note.reason == "copy":
        return f"{note.file} is a copy of {note.of} and its rows count once: nothing to do"
    text = f"{note.file} is {note.reason} and was left aside; it is read once it is complete"
    if note.stale:
        text += ". It has not changed for an hour: write it again or remove it if it is damaged"
    return text


def _twins_text(note: LabelTwins) -> str:
    shown = ", ".join(f"{label!r} ({rows:,})" for label, rows in list(note.spellings.items())[:6])
    more = len(note.spellings) - 6
    others = ", ".join(repr(label) for label in list(note.spellings)[1:7])
    return (
        f"labels of {note.target!r} differ in case, space or a final dot only: {shown}"
        f"{f' and {more} more' if more > 0 else ''}; they count as different classes. If they are "
        f"one, join them: `labels: {{{note.name!r}: [{others}]}}`"
    )


def _joined_text(note: JoinedLabels) -> str:
    rows = sum(note.rows.values())
    text = f"{note.target}: {rows:,} rows of {len(note.rows)} spellings were joined (`labels`)"
    if note.unknown:
        text += f"; not found: {', '.join(map(repr, list(note.unknown)[:6]))}"
    return text


def _changed_text(note: ChangedColumns) -> str:
    where = _few(note.files, 3)
    parts = [
        f"{new!r} is new in {where}, while {absent!r} is absent there"
        for absent, new in note.renamed.items()
    ]
    absent = [column for column in note.absent if column not in note.renamed]
    new = [column for column in note.new if column not in note.renamed.values()]
    if absent:
        parts.append(f"{_few(absent, 6)}: absent in {where}")
    if new:
        parts.append(f"{_few(new, 6)}: new in {where}")
    return f"{'; '.join(parts)}; absent cells are null"


def _few(names: Sequence[str], most: int) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
