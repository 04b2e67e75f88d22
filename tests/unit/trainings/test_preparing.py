"""What a training says of the rows it stands on."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tasks.base.records import Schema
from tasks.data.snapshots import write_snapshot
from tasks.trainings.preparing import repeated_ids

SCHEMA = Schema(
    target="y", task="binary", features={"x": "numeric"}, id_columns=("customer",),
    time_column="month",
)  # fmt: skip


def said(tmp_path: Path, customers: list[str], schema: Schema = SCHEMA) -> str:
    table = pa.table({"customer": customers, "x": [1.0] * len(customers)})
    snapshot = write_snapshot(
        table, {"customer": "identifier", "x": "numeric"}, tmp_path, time_column=None,
        assumptions=(),
    )  # fmt: skip
    return repeated_ids(snapshot, schema)


def test_ids_that_name_one_row_each_need_no_word(tmp_path: Path) -> None:
    assert said(tmp_path, ["a", "b", "c"]) == ""


def test_ids_that_repeat_are_said_with_the_remedy(tmp_path: Path) -> None:
    text = said(tmp_path, ["a", "b", "a", "a"])

    assert "2 rows" in text
    assert "add 'month'" in text


def test_rows_without_ids_are_not_asked(tmp_path: Path) -> None:
    assert said(tmp_path, ["a", "a"], SCHEMA.model_copy(update={"id_columns": ()})) == ""
