"""Snapshots: known by content, read back in canonical types."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.base.errors import DataError, InfrastructureError
from tasks.base.runtime.files import digest_of
from tasks.base.training_records import Kind
from tasks.data.snapshots import (
    Columns,
    content_digest,
    open_table,
    read_frame,
    write_snapshot,
)

KINDS: dict[str, Kind] = {
    "i": "numeric", "n": "numeric", "b": "boolean", "m": "boolean", "s": "categorical",
    "id": "identifier", "t": "datetime", "z": "datetime", "c": "categorical", "d": "categorical",
}  # fmt: skip


def table() -> pa.Table:
    at = [datetime(2024, 1, 1), None, datetime(2024, 1, 3)]
    return pa.table(
        {
            "i": [1, 2, 3],
            "n": [1, None, 3],
            "b": [True, False, True],
            "m": [True, None, False],
            "s": ["a", None, "ü"],
            "id": [7, 8, 9],
            "t": pa.array(at, pa.timestamp("ms")),
            "z": pa.array(at, pa.timestamp("ns", "Europe/Paris")),
            "c": [5, None, 6],
            "d": [1, 2, 3],
        }
    )


def write(folder: Path, data: pa.Table | None = None) -> Any:
    return write_snapshot(data or table(), KINDS, folder, time_column="t", assumptions=["said"])


def test_a_snapshot_reads_back_in_canonical_types(tmp_path: Path) -> None:
    snapshot = write(tmp_path)
    frame = read_frame(snapshot.path)
    assert frame["i"].dtype == np.int64
    assert frame["n"].dtype == np.float64
    assert np.isnan(frame["n"][1])
    assert frame["b"].dtype == np.bool_
    assert frame["m"].tolist() == [True, None, False]
    for name in ("s", "id", "c"):
        assert isinstance(frame[name].dtype, pd.StringDtype)
    assert frame["id"].tolist() == ["7", "8", "9"]
    assert frame["c"].tolist()[::2] == ["5", "6"]
    assert frame["d"].dtype == np.int64
    assert str(frame["t"].dtype) == "datetime64[us]"
    assert str(frame["z"].dtype) == "datetime64[us, UTC]"
    assert snapshot.start == datetime(2024, 1, 1, tzinfo=UTC)
    assert snapshot.end == datetime(2024, 1, 3, tzinfo=UTC)
    assert (snapshot.rows, snapshot.kinds, snapshot.assumptions) == (3, KINDS, ("said",))


def test_a_frame_has_the_columns_and_rows_asked_for_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path).path
    frame = read_frame(path, columns=["s", "i"], rows=np.array([2, 0]))
    assert list(frame.columns) == ["s", "i"]
    assert frame["i"].tolist() == [3, 1]
    assert list(frame.index) == [0, 1]
    assert read_frame(path, rows=np.array([1, 2]))["i"].tolist() == [2, 3]
    assert len(read_frame(path, rows=np.array([], np.int64))) == 0


def test_a_frame_may_be_written_to(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path).path)
    frame.loc[0, "i"] = 5
    assert frame["i"].to_numpy().flags.writeable or frame.loc[0, "i"] == 5


def test_the_digest_is_of_content_and_not_of_chunks(tmp_path: Path) -> None:
    one = table()
    chunks = pa.concat_tables([one.slice(0, 1), one.slice(1, 2)])
    assert content_digest(chunks, KINDS) == content_digest(one, KINDS)
    assert write(tmp_path, chunks).path == write(tmp_path, one).path
    assert len(list(tmp_path.iterdir())) == 1


def test_a_snapshot_of_several_batches_has_the_digests_of_its_content_and_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write(tmp_path)
    monkeypatch.setattr("tasks.data.snapshots._BATCH_ROWS", 2)
    monkeypatch.setattr("tasks.data.snapshots._SMALL_ROWS", 0)
    parted = write(tmp_path / "parted")

    assert parted.digest == whole.digest
    assert parted.file_digest == digest_of(Path(parted.path)) != whole.file_digest
    stored = open_table(parted.path)
    assert stored["i"].num_chunks == 2
    assert content_digest(stored, KINDS) == parted.digest
    assert stored.equals(open_table(whole.path))
    assert [file.name for file in (tmp_path / "parted").iterdir()] == [Path(parted.path).name]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("i", pa.array([1, 2, 4])),
        ("n", pa.array([1, 0, 3])),
        ("s", pa.array(["a", "", "ü"])),
        ("s", pa.array(["aü", None, ""])),
        ("m", pa.array([True, False, False])),
        ("i", pa.array([1.0, 2.0, 3.0])),
    ],
)
def test_any_change_of_a_cell_changes_the_digest(column: str, cells: pa.Array) -> None:
    one = table()
    other = one.set_column(one.column_names.index(column), column, cells)
    assert content_digest(other, KINDS) != content_digest(one, KINDS)


def test_names_and_kinds_count_too() -> None:
    one = table()
    renamed = one.rename_columns([*one.column_names[:-1], "e"])
    assert content_digest(renamed, {**KINDS, "e": "categorical"}) != content_digest(one, KINDS)
    assert content_digest(one, {**KINDS, "d": "numeric"}) != content_digest(one, KINDS)


def test_a_damaged_or_missing_snapshot_is_said(tmp_path: Path) -> None:
    snapshot = write(tmp_path)
    with pytest.raises(DataError, match="no column 'absent'"):
        read_frame(snapshot.path, columns=["absent"])
    Path(snapshot.path).write_bytes(b"ARROW1 no more")
    with pytest.raises(DataError, match="--fresh"):
        read_frame(snapshot.path)
    with pytest.raises(DataError, match="--fresh"):
        read_frame(tmp_path / "none.arrow")


def test_a_folder_that_is_mounted_for_reading_is_not_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)

    with pytest.raises(InfrastructureError, match="read-only") as caught:
        write(tmp_path)

    assert "space" not in caught.value.remedy


def test_a_large_file_read_few_columns_at_a_time_gives_the_same_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, scattered = write(tmp_path).path, np.array([2, 0])
    wanted = ["s", "m", "n", "z"]
    whole, part = read_frame(path), read_frame(path, columns=wanted, rows=scattered)
    monkeypatch.setattr("tasks.data.snapshots._AT_ONCE_BYTES", 1)
    pd.testing.assert_frame_equal(read_frame(path), whole)
    pd.testing.assert_frame_equal(read_frame(path, columns=wanted, rows=scattered), part)
    assert read_frame(path, columns=[]).shape == read_frame(path)[[]].shape


def test_of_a_few_rows_or_a_stretch_no_whole_column_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: dict[str, Kind] = {"x": "numeric"}
    numbers = pa.table({"x": np.arange(1_000)})
    path = write_snapshot(numbers, kinds, tmp_path, time_column=None, assumptions=()).path
    fetched: list[int] = []
    monkeypatch.setattr(
        "tasks.data.snapshots.prefetch", lambda table: fetched.append(table.num_rows)
    )

    assert read_frame(path, ["x"], np.array([5, 990]))["x"].tolist() == [5, 990]
    assert fetched == []
    assert read_frame(path, ["x"], np.arange(200, 400))["x"].sum() == sum(range(200, 400))
    assert fetched == [200]
    assert len(read_frame(path, ["x"])) == 1_000
    assert fetched == [200, 1_000]


def test_columns_are_read_one_by_one(tmp_path: Path) -> None:
    columns = Columns(write(tmp_path).path)
    assert columns.num_rows == 3
    assert columns["i"].to_pylist() == [1, 2, 3]
