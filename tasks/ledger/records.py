"""Results of the ledger's queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tasks.base.training_records import Record
from tasks.data.typing.storage import ColumnForm

Role = Literal["champion", "shadow"]
SERVED = "served-"
"""Prefix of the names of batches whose rows were predicted over HTTP."""


@dataclass(frozen=True)
class AnsweredCells:
    """Cells of rows predicted over HTTP; a source has the cells of all other rows.

    Attributes
    ----------
    forms
        Column to how a source stores it.
    cells
        Row by row a JSON list in the order of `forms`, times as microseconds since 1970 in UTC.
    keys
        Of the rows, as the ledger gives them back.
    """

    forms: Mapping[str, ColumnForm]
    cells: Sequence[str]
    keys: Sequence[str] = ()


class Written(Record):
    """Result of writing a batch of predictions; `rows` is the sum of the other three.

    Attributes
    ----------
    new
        Rows that the ledger did not have.
    known
        Rows whose prediction stood there already; it stays as it was.
    repeated
        Rows whose id an earlier row of the same batch has; only that one is kept.
    """

    rows: int
    new: int
    known: int
    repeated: int = 0


class LabelsWritten(Record):
    """Result of writing a table of labels.

    Attributes
    ----------
    rows
        Rows that have a label; a null is none.
    new, changed
        Labels that were not there, and labels that stood there with another value.
    unpredicted
        Labels of rows that were never predicted; they are not kept.
    """

    rows: int
    new: int
    changed: int
    unpredicted: int = 0


class Coverage(Record):
    """Known rows of a window.

    Attributes
    ----------
    rows
        Predicted rows of the champion.
    labelled
        Those of them whose label is known.
    newest
        Greatest time among them, in UTC; None where none has a time.
    """

    rows: int
    labelled: int
    newest: datetime | None = None


class Pruned(Record):
    """Number of rows removed from each table."""

    predictions: int = 0
    labels: int = 0
    batches: int = 0
    decisions: int = 0
