"""A contract that broke because columns changed: the error names the files and the columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tasks.base.errors import ContractError
from tasks.base.source_notes import ChangedColumns, ReadingNote, note_text


@contextmanager
def naming_changes(findings: Iterable[ReadingNote]) -> Iterator[None]:
    """Add to a contract's error a line for each change of columns that it does not name itself."""
    try:
        yield
    except ContractError as error:
        changed = [
            note_text(note)
            for note in findings
            if isinstance(note, ChangedColumns) and error.absent.isdisjoint(note.absent)
        ]
        error.message = "\n".join([error.message, *(f"  {text}" for text in changed)])
        raise
