"""What the ledger answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tasks.base.training_records import Record
from tasks.data.typing.storage import ColumnForm

Role = Literal["champion", "shadow"]
SERVED = "served-"
"""What names of batches begin with whose rows were answered over HTTP."""


@dataclass(frozen=True)
class AnsweredCells:
    """What rows answered over HTTP hold; a source has the cells of all other rows.

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
    """What became of a batch of predictions; `rows` is the sum of the other three.

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
    """What became of a table of labels.

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
    """How much of a window is known.

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
    """How many rows of each table were removed."""

    predictions: int = 0
    labels: int = 0
    batches: int = 0
    decisions: int = 0
