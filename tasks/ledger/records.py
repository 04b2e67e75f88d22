"""Results of the ledger's queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tasks.base.training_records import Record
from tasks.data.typing.storage import ColumnForm

Role = Literal["champion", "shadow"]
SERVED = "served-"  # prefix of the names of batches whose rows were predicted over HTTP


@dataclass(frozen=True)
class AnsweredCells:
    """Cells of rows predicted over HTTP; a source has the cells of all other rows."""

    forms: Mapping[str, ColumnForm]  # column to how a source stores it
    # Row by row a JSON list in the order of `forms`, times as microseconds since 1970 in UTC.
    cells: Sequence[str]
    keys: Sequence[str] = ()  # of the rows, as the ledger gives them back


class Written(Record):
    """Result of writing a batch of predictions; `rows` is the sum of the other three."""

    rows: int
    new: int  # rows that the ledger did not have
    known: int  # rows whose prediction stood there already; it stays as it was
    repeated: int = 0  # rows whose id an earlier row of the same batch has; only that one is kept


class LabelsWritten(Record):
    """Result of writing a table of labels."""

    rows: int  # rows that have a label; a null is none
    new: int  # new, changed: labels that were not there, or had another value
    changed: int
    unpredicted: int = 0  # labels of rows that were never predicted; they are not kept


class Coverage(Record):
    """Known rows of a window."""

    rows: int  # predicted rows of the champion
    labelled: int  # those of them whose label is known
    newest: datetime | None = None  # greatest time among them, in UTC; None where none has a time


class Pruned(Record):
    """Number of rows removed from each table."""

    predictions: int = 0
    labels: int = 0
    batches: int = 0
    decisions: int = 0
