"""No value is altered or lost in silence: what stands in a source comes out of the reader."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.errors import DataError, SourceError
from tasks.base.settings.sources import ParquetSource, Source, SqlSource
from tasks.base.source_notes import (
    BeyondRange,
    ChangedColumns,
    DecodedBytes,
    LostDigits,
    UnnamedIndex,
    UnreadColumn,
)
from tasks.data.loading import load_window
from tasks.data.source_table import SourceTable
from tasks.data.sources.driver_rows import Columns
from tasks.data.sources.source import column_names, newest_time, read_source
from tests.unit.data.tables_made import config, csv_read

BIG = 900_719_925_474_099_300
UUIDS = [UUID(int=2**120 + i) for i in range(3)]


def parquet(folder: Path, table: pa.Table, name: str = "t.parquet") -> SourceTable:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return read_source(ParquetSource(kind="parquet", path=name), folder)


PARQUET: dict[str, tuple[pa.Array, list[Any]]] = {
    "whole decimals": (
        pa.array([Decimal(BIG), Decimal(BIG + 1), None], pa.decimal128(38, 0)),
        [BIG, BIG + 1, None],
    ),
    "decimals beyond 64 bits": (
        pa.array([Decimal(10**25), Decimal(10**25 + 1)], pa.decimal128(38, 0)),
        [str(10**25), str(10**25 + 1)],
    ),
    "wide decimals": (pa.array([Decimal(BIG)], pa.decimal256(60, 0)), [BIG]),
    "narrow decimals": (pa.array([Decimal(7), None], pa.decimal128(5, 0)), [7, None]),
    "whole decimals with a scale": (
        pa.array([Decimal(BIG), Decimal(BIG + 1)], pa.decimal128(38, 10)),
        [BIG, BIG + 1],
    ),
    "amounts": (pa.array([Decimal("1.25"), Decimal("-0.10")]), [1.25, -0.1]),
    "cents": (
        pa.array([Decimal(i) / 100 for i in range(100)], pa.decimal128(12, 2)),
        [i / 100 for i in range(100)],
    ),
    "cents in wide decimals": (
        pa.array([None, Decimal("0.05"), Decimal(-BIG), Decimal("0.35")], pa.decimal128(38, 6)),
        [None, 0.05, float(-BIG), 0.35],
    ),
    "unsigned": (pa.array([2**64 - 1, 2**64 - 2], pa.uint64()), [str(2**64 - 1), str(2**64 - 2)]),
    "unsigned small": (pa.array([BIG, None], pa.uint64()), [BIG, None]),
    "signed": (pa.array([BIG + 1, None]), [BIG + 1, None]),
    "categories": (pa.array([BIG, BIG, None]).dictionary_encode(), [BIG, BIG, None]),
    "large text": (pa.array(["007", None], pa.large_string()), ["007", None]),
    "views": (pa.array(["007", None], pa.string_view()), ["007", None]),
    "codes": (pa.array(["00123", "0456", ""]), ["00123", "0456", ""]),
    "experiments": (pa.array(["1E5", "2E3", "10E4"]), ["1E5", "2E3", "10E4"]),
    "long digits": (pa.array(["9" * 19, "9" * 20]), ["9" * 19, "9" * 20]),
    "uuids": (pa.array([u.bytes for u in UUIDS], pa.uuid()), [str(u) for u in UUIDS]),
    "raw uuids": (
        pa.array([bytes.fromhex("f47ac10b58cc4372a5670e02b2c3d479"), None], pa.binary(16)),
        ["f47ac10b-58cc-4372-a567-0e02b2c3d479", None],
    ),
    "raw uuids beside nil": (
        pa.array([bytes(16), bytes.fromhex("f47ac10b58cc4372a5670e02b2c3d479")], pa.binary(16)),
        [str(UUID(int=0)), "f47ac10b-58cc-4372-a567-0e02b2c3d479"],
    ),
    "bytes of text": (pa.array(["Zürich".encode(), None, b"Lund"]), ["Zürich", None, "Lund"]),
    "halves": (pa.array(np.array([1.5, 2], np.float16)), [1.5, 2.0]),
    "clock": (pa.array([time(1, 0, 1, 500_000), time(2)], pa.time64("us")), [3601.5, 7200.0]),
    "clock in ns": (pa.array([3_600_000_000_000, None], pa.time64("ns")), [3600, None]),
    "took": (pa.array([1_500_000_001], pa.duration("ns")), [1.500000001]),
    "zoned": (
        pa.array([datetime(2024, 3, 31, 1, 30)], pa.timestamp("us", "UTC")).cast(
            pa.timestamp("ns", "Europe/Paris")
        ),
        [pd.Timestamp("2024-03-31T01:30Z").to_pydatetime()],
    ),
    "nothing": (pa.nulls(2), [None, None]),
    "flags": (pa.array([True, None, False]), [True, None, False]),
}


@pytest.mark.parametrize("case", PARQUET)
def test_parquet_cells_come_out_as_they_were(tmp_path: Path, case: str) -> None:
    array, values = PARQUET[case]
    read = parquet(tmp_path, pa.table({"c": array}))
    assert read.table["c"].to_pylist() == values
    assert not any(isinstance(note, LostDigits) for note in read.findings)


FILES: dict[str, tuple[list[pa.Array], list[Any]]] = {
    "amounts and whole numbers": ([pa.array([Decimal("0.35")]), pa.array([2])], [0.35, 2.0]),
    "two scales": ([pa.array([Decimal("1.5")]), pa.array([Decimal("2.125")])], [1.5, 2.125]),
    "wide decimals and integers": (
        [pa.array([Decimal(10**25)], pa.decimal128(38, 0)), pa.array([2])],
        [str(10**25), "2"],
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_store_numbers_in_two_types_are_read_together(tmp_path: Path, case: str) -> None:
    arrays, values = FILES[case]
    for number, array in enumerate(arrays):
        parquet(tmp_path, pa.table({"c": array}), f"{number}.parquet")
    read = read_source(ParquetSource(kind="parquet", path="*.parquet"), tmp_path)
    assert read.table["c"].to_pylist() == values


def test_files_whose_types_no_type_holds_are_not_called_damaged(tmp_path: Path) -> None:
    parquet(tmp_path, pa.table({"c": [2**53 + 1]}), "a.parquet")
    parquet(tmp_path, pa.table({"c": [1.5]}), "b.parquet")
    with pytest.raises(SourceError, match="one type") as refused:
        read_source(ParquetSource(kind="parquet", path="*.parquet"), tmp_path)
    assert "damaged" not in str(refused.value)


CSV: dict[str, tuple[list[str], list[Any]]] = {
    "long ids": ([str(BIG), str(BIG + 1), ""], [BIG, BIG + 1, None]),
    "ids beyond 64 bits": (["9" * 19, "9" * 20], ["9" * 19, "9" * 20]),
    "long ids beside fractions": ([str(BIG + 1), "1.5"], [str(BIG + 1), "1.5"]),
    "long ids as floats": ([f"{BIG + 1}.0", "1.0"], [f"{BIG + 1}.0", "1.0"]),
    "long round numbers": (["9007199254740992.0", "1.5"], [2.0**53, 1.5]),
    "leading zeros": (["007", "10"], ["007", "10"]),
    "experiments": (["1E5", "10E4", "12"], ["1E5", "10E4", "12"]),
    "powers of ten": (["1E5", "1.5"], [1e5, 1.5]),
    "written by a program": (["1e-05", "1e+16", "3"], [1e-5, 1e16, 3.0]),
    "telephone numbers": (["+4915112345678", "+12025550100"], ["+4915112345678", "+12025550100"]),
    "signed numbers": (["+1200000", "-7"], [1200000, -7]),
    "truth": (["TRUE", "true", "False", ""], [True, True, False, None]),
}


@pytest.mark.parametrize("case", CSV)
def test_csv_cells_come_out_as_they_were(tmp_path: Path, case: str) -> None:
    cells, values = CSV[case]
    read = csv_read(tmp_path, "c;k\n" + "".join(f"{cell};w\n" for cell in cells))
    assert read.table["c"].to_pylist() == values


def test_codes_like_powers_of_ten_are_said_and_can_be_declared_numbers(tmp_path: Path) -> None:
    text = "c,k\n1E5,w\n2E3,w\n"
    assert any("1E5" in note for note in csv_read(tmp_path, text).assumptions)
    declared = csv_read(tmp_path, text, expected={"c": "numeric"})
    assert declared.table["c"].to_pylist() == [1e5, 2e3]


def test_digits_that_no_float_holds_are_said(tmp_path: Path) -> None:
    table = pa.table(
        {
            "c": pa.array([Decimal("0.123456789012345678")], pa.decimal128(38, 18)),
            "t": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
            "fine": pa.array([Decimal("0.1")], pa.decimal128(38, 18)),
        }
    )
    notes = parquet(tmp_path, table).findings
    assert [(note.kind, note.column) for note in notes if isinstance(note, LostDigits)] == [
        ("lost_digits", "c"),
        ("lost_digits", "t"),
    ]


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_number_beyond_every_float_is_missing_and_said(tmp_path: Path, sign: str) -> None:
    read = csv_read(tmp_path, f"c\n1.5\n{sign}1e400\ninf\n")
    assert read.table["c"].to_pylist() == [1.5, None, float("inf")]
    assert read.findings == (BeyondRange(column="c", example=f"{sign}1e400", rows=1),)


@pytest.mark.parametrize(
    ("cell", "lost"),
    [
        ("0.1234567890123456789", True),
        ("12345678.90123456789", True),
        ("0,1234567890123456789", True),
        ("1.000000000000000056e-01", False),  # as np.savetxt writes 0.1
        ("0.30000000000000004", False),
        ("0.000000000000000000000125", False),
        ("1.50000000000000000000000", False),
    ],
)
def test_digits_that_a_cell_of_text_has_beyond_a_float_are_said(
    tmp_path: Path, cell: str, lost: bool
) -> None:
    read = csv_read(tmp_path, f'c\n"{cell}"\n"{"0,5" if "," in cell else "0.5"}"\n')
    assert [type(note) for note in read.findings] == [LostDigits] * lost


@pytest.mark.parametrize("form", [pa.binary(), pa.binary(16), pa.uuid()], ids=str)
@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")], ids=["bytes first", "text first"])
def test_files_that_hold_uuids_as_bytes_and_as_text_are_one_column(
    tmp_path: Path, form: Any, names: tuple[str, str]
) -> None:
    raw = pa.array([u.bytes for u in UUIDS], pa.binary(16)).cast(
        pa.binary() if form == pa.binary() else pa.binary(16)
    )
    if form == pa.uuid():
        raw = pa.ExtensionArray.from_storage(form, raw)
    for name, ids in zip(names, (raw, [str(UUIDS[0]).upper(), None]), strict=True):
        pq.write_table(pa.table({"id": ids, "x": range(len(ids))}), tmp_path / f"{name}.parquet")
    read = read_source(ParquetSource(kind="parquet", path="*.parquet"), tmp_path)
    assert sorted(filter(None, read.table["id"].to_pylist())) == sorted(
        [*map(str, UUIDS), str(UUIDS[0])]
    )


def test_a_moment_beyond_what_is_kept_is_refused_by_its_column(tmp_path: Path) -> None:
    table = pa.table({"c": pa.array([2**59], pa.timestamp("ms"))})
    with pytest.raises(DataError, match="'c'"):
        parquet(tmp_path, table)


ROWS: dict[str, tuple[list[Any], list[Any]]] = {
    "integers": ([BIG, BIG + 1], [BIG, BIG + 1]),
    "integers beyond 64 bits": ([10**20, 10**20 + 1], [str(10**20), str(10**20 + 1)]),
    "whole numeric": ([Decimal(BIG), Decimal(BIG + 1), None], [BIG, BIG + 1, None]),
    "numeric beyond 64 bits": (
        [Decimal(10**25), Decimal(10**25 + 1)],
        [str(10**25), str(10**25 + 1)],
    ),
    "numeric with zeros": ([Decimal("5.00"), Decimal("6.00")], [5, 6]),
    "numeric in powers": ([Decimal("1E+25"), Decimal(1)], [str(10**25), "1"]),
    "amounts": ([Decimal("1.25"), Decimal(3)], [1.25, 3.0]),
    "no number": ([Decimal("NaN"), Decimal("1.5")], [None, 1.5]),
    "long beside fractions": ([BIG + 1, 1.5], [str(BIG + 1), "1.5"]),
    "short beside fractions": ([7, 1.5], [7.0, 1.5]),
    "uuids": (UUIDS, [str(u) for u in UUIDS]),
    "bytes of text": ([b"Lund", None, "Oslo"], ["Lund", None, "Oslo"]),
    "raw uuids": (
        [bytes.fromhex("f47ac10b58cc4372a5670e02b2c3d479"), None, UUID(int=0).bytes],
        ["f47ac10b-58cc-4372-a567-0e02b2c3d479", None, str(UUID(int=0))],
    ),
    "numpy integers": (
        [np.int64(4).tobytes(), np.int64(-2).tobytes(), 7],
        [4, -2, 7],
    ),
    "numpy booleans": ([np.bool_(True).tobytes(), np.bool_(False).tobytes()], [1, 0]),
    "numpy floats": ([np.float32(1.5).tobytes(), np.float32(-3e4).tobytes()], [1.5, -3e4]),
}


@pytest.mark.parametrize("rows_at_once", [1, 10])
@pytest.mark.parametrize("case", ROWS)
def test_cells_of_a_database_come_out_as_they_were(case: str, rows_at_once: int) -> None:
    cells, values = ROWS[case]
    columns = Columns(["c"])
    for start in range(0, len(cells), rows_at_once):
        columns.add([(cell,) for cell in cells[start : start + rows_at_once]])
    got = columns.table()["c"].to_pylist()
    assert got == values
    assert [type(v) for v in got if isinstance(v, str)] == [
        type(v) for v in values if isinstance(v, str)
    ]


def test_digests_are_no_numbers() -> None:
    columns = Columns(["c"])
    columns.add([(bytes.fromhex(f"9f86d081884c7d{i:02x}"),) for i in range(20)])
    assert columns.table().num_columns == 0
    assert columns.findings == (UnreadColumn(column="c", stored="bytes (BLOB)"),)


def test_decoded_bytes_are_said() -> None:
    columns = Columns(["c"])
    columns.add([(np.int64(4).tobytes(),)])
    columns.table()
    assert columns.findings == (DecodedBytes(column="c", as_what="64-bit integers"),)


def folder_of(folder: Path, keys: list[str], **columns: list[Any]) -> ParquetSource:
    for key in keys:
        parquet(folder, pa.table({"x": [1, 2], **columns}), f"d/store={key}/a.parquet")
    return ParquetSource(kind="parquet", path="d")


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (["0042", "0107"], ["0042", "0107"]),
        (["0042", "2A01"], ["0042", "2A01"]),
        (["42", "107"], [107, 42]),
        (["0", "42"], [0, 42]),
        (["1" * 19, "2"], ["1" * 19, "2"]),
        (["a%20b", "c"], ["a b", "c"]),
        (["1.50", "2.5"], [1.5, 2.5]),
        (["__HIVE_DEFAULT_PARTITION__", "7"], [7, None]),
    ],
)
def test_a_partition_key_keeps_its_text_unless_all_are_whole_numbers(
    tmp_path: Path, keys: list[str], values: list[Any]
) -> None:
    read = read_source(folder_of(tmp_path, keys), tmp_path)
    assert read.table["store"].to_pylist() == [v for v in values for _ in range(2)]


def test_a_key_that_the_files_hold_too_is_read_from_them(tmp_path: Path) -> None:
    source = folder_of(tmp_path, ["0042", "0107"], store=["0042", "0107"])
    read = read_source(source, tmp_path)
    assert read.table["store"].to_pylist() == ["0042", "0107"] * 2
    assert [note.kind for note in read.findings] == ["partition_key_in_file"]
    assert column_names(source, tmp_path) == ("x", "store")


def test_a_file_outside_the_folders_of_a_key_is_named(tmp_path: Path) -> None:
    source = folder_of(tmp_path, ["a", "b"])
    parquet(tmp_path, pa.table({"x": [3]}), "d/loose.parquet")
    (note,) = read_source(source, tmp_path).findings
    assert isinstance(note, ChangedColumns)
    assert (note.files, note.absent) == (("loose.parquet",), ("store",))


def test_an_index_without_a_name_is_no_column_and_one_with_a_name_is(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1, 2]}, index=[7, 9])
    frame.to_parquet(tmp_path / "a.parquet")
    frame.rename_axis("key").to_parquet(tmp_path / "b.parquet")
    frame.assign(__index_level_0__=5).to_parquet(tmp_path / "c.parquet", index=False)
    columns = [
        column_names(ParquetSource(kind="parquet", path=f"{name}.parquet"), tmp_path)
        for name in "abc"
    ]
    assert columns == [("x",), ("x", "key"), ("x", "__index_level_0__")]
    read = read_source(ParquetSource(kind="parquet", path="a.parquet"), tmp_path)
    assert read.table.column_names == ["x"]
    assert read.findings == (UnnamedIndex(column="__index_level_0__"),)


def _lists(folder: Path) -> Source:
    table = pa.table({"x": [1.0, 2.0], "y": [[1], [2]]})
    pq.write_table(table, folder / "t.parquet")
    return ParquetSource(kind="parquet", path="t.parquet")


def _blobs(folder: Path) -> Source:
    with sqlite3.connect(folder / "t.db") as connection:
        connection.execute("create table t (x real, y blob)")
        connection.executemany("insert into t values (?, ?)", [(1.0, b"\xff\xd8\xff")] * 3)
    connection.close()
    return SqlSource(kind="sql", url="sqlite:///t.db", table="t")


@pytest.mark.parametrize(
    ("made", "stored"), [(_lists, "list<int64>"), (_blobs, "bytes")], ids=["list", "blob"]
)
def test_a_target_that_cannot_be_read_is_named_with_its_type(
    tmp_path: Path, made: Callable[[Path], Source], stored: str
) -> None:
    made_config = config(source=made(tmp_path).model_dump())
    with pytest.raises(DataError) as refused:
        load_window(made_config, tmp_path, tmp_path / "snapshots")
    assert stored in str(refused.value)
    assert "'y'" in str(refused.value)


def test_a_time_column_that_cannot_be_read_is_named_with_its_type(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0, 2.0], "at": [[1], [2]]}), tmp_path / "t.parquet")
    source = ParquetSource(kind="parquet", path="t.parquet")
    with pytest.raises(DataError, match=r"'at'.*list<int64>"):
        read_source(source, tmp_path, time_column="at")


@pytest.mark.parametrize("read", [read_source, newest_time])
def test_a_time_column_of_a_database_that_cannot_be_read_is_named_with_its_type(
    tmp_path: Path, read: Callable[..., Any]
) -> None:
    with pytest.raises(DataError, match=r"'y'.*BLOB"):
        read(_blobs(tmp_path), tmp_path, time_column="y")


def test_durations_are_seconds_to_the_nanosecond(tmp_path: Path) -> None:
    table = pa.table({"c": pa.array([timedelta(seconds=1.5)], pa.duration("ms"))})
    assert parquet(tmp_path, table).table["c"].to_pylist() == [1.5]
