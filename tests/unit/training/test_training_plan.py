"""What a training says of the rows it stands on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from expectations.late_labels import LateLabels
from tasks.base.training_records import Schema
from tasks.data.snapshots import write_snapshot
from tasks.training.training_plan import repeated_ids, rows_without_label, share_held_out

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


@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize(
    ("known", "share"),
    [
        (900, 0.05),  # half of the 100 newer rows of 1,000
        (961, 0.2),  # too few newer rows to judge on half of them
        (100, 0.2),  # more newer rows than are held out anyway
    ],
)
def test_a_challenger_learns_from_half_of_the_rows_that_the_champion_does_not_know(
    tmp_path: Path, known: int, share: float, zone: str | None
) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [(start + timedelta(hours=n)).replace(tzinfo=None) for n in range(1100)]
    labels = [n % 2 if n < 1000 else None for n in range(1100)]  # the newest have none yet
    table = pa.table({"month": pa.array(times, pa.timestamp("us", zone)), "y": labels})
    snapshot = write_snapshot(
        table, {"month": "datetime", "y": "numeric"}, tmp_path, time_column="month",
        assumptions=(),
    )  # fmt: skip
    until = start + timedelta(hours=known - 1)

    assert share_held_out(snapshot, SCHEMA, 0.2, until, 20) == pytest.approx(share)


def test_rows_that_should_have_a_label_by_now_are_named_with_their_stretches(
    tmp_path: Path,
) -> None:
    start = datetime(2026, 1, 1)
    times: list[datetime | None] = [start + timedelta(hours=n) for n in range(240)]
    labels = [None if 48 <= n < 72 or n == 100 or n >= 200 else n % 2 for n in range(240)]
    table = pa.table({"month": pa.array(times, pa.timestamp("us")), "y": labels}).take(
        pa.array([*range(120, 240), *range(120)])  # files come in any order
    )
    snapshot = write_snapshot(
        table, {"month": "datetime", "y": "boolean"}, tmp_path, time_column="month", assumptions=()
    )

    late = LateLabels("y", "month", start + timedelta(hours=199))
    young, overdue = rows_without_label(snapshot, SCHEMA, late)

    assert "40 rows after 2026-01-09 07:00 UTC" in young
    assert "25 rows whose 'y' should be known by now have none and are left out" in overdue
    assert "24 in 2026-01-03 00:00..2026-01-03 23:00, 1 in 2026-01-05 04:00" in overdue
