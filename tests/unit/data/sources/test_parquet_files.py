"""Parquet: projection, windows, partitions, files that differ, files that are damaged."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.errors import DataError, SourceError
from tasks.base.settings.sources import ParquetSource
from tasks.base.source_notes import UnreadColumn
from tasks.data.sources import parquet_files
from tasks.data.sources.source import column_names, newest_time, read_source

T0 = datetime(2024, 1, 1)


def source(path: str, **keys: int) -> ParquetSource:
    return ParquetSource(kind="parquet", path=path, **keys)


def hours(start: int, stop: int) -> pa.Table:
    at = pa.array([T0 + timedelta(hours=i) for i in range(start, stop)], pa.timestamp("ns", "UTC"))
    return pa.table({"at": at, "x": pa.array(range(start, stop), pa.int32()), "z": ["w"] * len(at)})


def test_only_the_columns_and_the_window_asked_for_come_back(tmp_path: Path) -> None:
    pq.write_table(hours(0, 100), tmp_path / "t.parquet", row_group_size=10)
    read = read_source(
        source("t.parquet"), tmp_path, columns=["x", "at"], time_column="at",
        start=T0 + timedelta(hours=10), end=datetime(2024, 1, 1, 13, tzinfo=UTC),
    )  # fmt: skip
    assert read.table.column_names == ["at", "x"]
    assert read.table["x"].to_pylist() == [10, 11, 12]
    assert read.table["at"].type == pa.timestamp("us", "UTC")
    assert read.latest == datetime(2024, 1, 1, 12, tzinfo=UTC)


def test_the_newest_time_is_known_from_one_column(tmp_path: Path) -> None:
    pq.write_table(hours(0, 30), tmp_path / "t.parquet")
    assert newest_time(source("t.parquet"), tmp_path, "at") == datetime(2024, 1, 2, 5, tzinfo=UTC)


def test_a_folder_with_hive_partitions_is_one_table(tmp_path: Path) -> None:
    for year, start in ((2023, 0), (2024, 5)):
        (tmp_path / "d" / f"year={year}").mkdir(parents=True)
        pq.write_table(hours(start, start + 5), tmp_path / "d" / f"year={year}" / "a.parquet")
    (tmp_path / "d" / "_SUCCESS").write_text("")
    (tmp_path / "d" / "notes.txt").write_text("not data")
    read = read_source(source("d"), tmp_path)
    assert read.table["x"].to_pylist() == list(range(10))
    assert read.table["year"].to_pylist() == [2023] * 5 + [2024] * 5
    assert column_names(source("d"), tmp_path) == ("at", "x", "z", "year")
    assert read_source(source("d/*/a.parquet"), tmp_path).table.num_rows == 10


def test_every_type_becomes_a_plain_one(tmp_path: Path) -> None:
    table = pa.table(
        {
            "words": pa.array(["a", None, "a"]).dictionary_encode(),
            "large": pa.array(["p", "q", None], pa.large_string()),
            "price": pa.array([Decimal("1.25"), None, Decimal("2.50")]),
            "count": pa.array([1, None, 3], pa.uint16()),
            "huge": pa.array([2**63, 1, 2], pa.uint64()),
            "day": pa.array([date(2024, 1, 2), None, date(2024, 1, 3)], pa.date32()),
            "clock": pa.array([time(1, 0, 1), None, time(2)], pa.time64("us")),
            "took": pa.array([timedelta(seconds=1.5)] * 3, pa.duration("ms")),
            "half": pa.array(np.array([1, 2, 3], np.float16)),
            "nothing": pa.nulls(3),
            "flag": [True, None, False],
            "list": [[1], [2], []],
            "raw": [b"a\xff", b"b", b"c"],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    read = read_source(source("t.parquet"), tmp_path)
    got = read.table.to_pydict()
    assert got["words"] == ["a", None, "a"]
    assert got["large"] == ["p", "q", None]
    assert got["price"] == [1.25, None, 2.5]
    assert got["count"] == [1, None, 3]
    assert got["huge"] == ["9223372036854775808", "1", "2"]
    assert got["day"] == [datetime(2024, 1, 2), None, datetime(2024, 1, 3)]
    assert got["clock"] == [3601, None, 7200]
    assert got["took"] == [1.5] * 3
    assert got["half"] == [1.0, 2.0, 3.0]
    assert got["nothing"] == [None] * 3
    assert got["flag"] == [True, None, False]
    assert "list" not in got
    assert "raw" not in got
    unread = {n.column: n.stored for n in read.findings if isinstance(n, UnreadColumn)}
    assert unread == {"list": "list<int64>", "raw": "bytes"}


def test_text_of_numbers_and_blanks_is_read_as_numbers_and_codes_stay_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "total": ["29.85", " ", "108.15"],
            "code": ["1", "2", "3"],
            "answer": ["Yes", "No", "Yes"],
            "blank": [" ", "a", "NA"],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    read = read_source(source("t.parquet"), tmp_path)
    assert read.table["total"].to_pylist() == [29.85, None, 108.15]
    assert read.table["code"].to_pylist() == ["1", "2", "3"]
    assert read.table["answer"].to_pylist() == ["Yes", "No", "Yes"]
    assert read.table["blank"].to_pylist() == [" ", "a", "NA"]
    assert any(note.startswith("total: text that holds numbers") for note in read.assumptions)
    declared = read_source(source("t.parquet"), tmp_path, expected={"code": "numeric"})
    assert declared.table["code"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (pa.array([2015, 2016], pa.int16()), datetime(2015, 1, 1)),
        (pa.array([20150131, 20160229]), datetime(2015, 1, 31)),
        (pa.array([1_700_000_000, 1_700_000_060]), datetime(2023, 11, 14, 22, 13, 20)),
        (pa.array([1_700_000_000_000.0, None]), datetime(2023, 11, 14, 22, 13, 20)),
        (pa.array(["2015-01-31", None]), datetime(2015, 1, 31)),
        (pa.array([date(2015, 1, 31), date(2015, 2, 1)]), datetime(2015, 1, 31)),
    ],
)
def test_a_time_column_may_be_numbers_or_text(
    tmp_path: Path, cells: pa.Array, first: datetime
) -> None:
    pq.write_table(pa.table({"at": cells, "x": [1, 2]}), tmp_path / "t.parquet")
    read = read_source(source("t.parquet"), tmp_path, time_column="at")
    assert read.table["at"][0].as_py() == first


@pytest.mark.parametrize(
    "cells",
    [[3, 5], [20151301, 20150101], ["soon", "2015-01-01"], [True, False], [1.6e9, float("inf")]],
)
def test_what_is_no_time_is_refused(tmp_path: Path, cells: list[object]) -> None:
    pq.write_table(pa.table({"at": cells, "x": [1, 2]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="time column 'at' holds"):
        read_source(source("t.parquet"), tmp_path, time_column="at")


def test_a_window_on_dates_is_exact(tmp_path: Path) -> None:
    days = pa.array([date(2024, 1, d) for d in range(1, 10)], pa.date32())
    pq.write_table(pa.table({"day": days, "x": range(1, 10)}), tmp_path / "t.parquet")
    read = read_source(
        source("t.parquet"), tmp_path, time_column="day", start=datetime(2024, 1, 3, 12),
        end=datetime(2024, 1, 6),
    )  # fmt: skip
    assert read.table["x"].to_pylist() == [4, 5]


def test_files_with_other_columns_or_widths_are_united_and_said(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"a": pa.array([1], pa.int32()), "s": pa.array(["x"]).dictionary_encode()}),
        tmp_path / "1.parquet",
    )
    pq.write_table(pa.table({"a": [2.5], "s": ["y"], "new": [7]}), tmp_path / "2.parquet")
    read = read_source(source("*.parquet"), tmp_path)
    assert read.table.to_pydict() == {"a": [1.0, 2.5], "s": ["x", "y"], "new": [None, 7]}
    assert [(n.files, n.new) for n in read.findings] == [(("2.parquet",), ("new",))]


def test_files_that_disagree_on_a_type_are_refused_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "2.parquet")
    with pytest.raises(SourceError, match=r"'a' is string in 2\.parquet and int64 in 1\.parquet"):
        read_source(source("*.parquet"), tmp_path)


def test_a_file_cut_short_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    pq.write_table(hours(0, 2000), tmp_path / "whole.parquet", row_group_size=100)
    whole = (tmp_path / "whole.parquet").read_bytes()
    for percent in range(0, 100, 5):
        (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) * percent // 100])
        with pytest.raises(SourceError, match=r"cut\.parquet"):
            read_source(source("cut.parquet"), tmp_path)


def test_a_file_with_damaged_pages_is_refused_by_name(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pa.table({"x": random.normal(size=5000)})
    for name in ("good", "bad"):
        pq.write_table(table, tmp_path / f"{name}.parquet", write_page_checksum=True)
    data = bytearray((tmp_path / "bad.parquet").read_bytes())
    data[200:4000] = bytes(3800)
    (tmp_path / "bad.parquet").write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"bad\.parquet"):
        read_source(source("*.parquet"), tmp_path)


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"x": ["a" * 1000] * 5000}),
        tmp_path / "t.parquet",
        use_dictionary=False,
        compression="zstd",
    )
    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    with pytest.raises(SourceError, match="once unpacked"):
        read_source(source("t.parquet", max_bytes=1_000_000), tmp_path)


def test_other_files_and_empty_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match=r"t\.parquet: not a whole Parquet file"):
        read_source(source("t.parquet"), tmp_path)
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "e.parquet")
    with pytest.raises(DataError, match="no row"):
        read_source(source("e.parquet"), tmp_path)


def test_a_footer_that_claims_more_rows_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": list(range(4096))}), path, compression="none")
    # 4096 and about 1e9 as Thrift's zigzag varints.
    data, claimed = path.read_bytes(), b"\x80\x94\xeb\xdc\x07"
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8].replace(b"\x80\x40", claimed)
    path.write_bytes(data[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1")

    with pytest.raises(SourceError, match=r"4,096 rows, where the file states 1,0"):
        read_source(source("t.parquet"), tmp_path)


@pytest.mark.parametrize("cells_of_part", [1, 100])
def test_a_large_table_is_read_a_few_columns_at_a_time_and_is_the_same(
    cells_of_part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = hours(0, 40).append_column("text", [[None, *map(str, range(39))]])
    for part, place in enumerate((0, 20)):
        pq.write_table(table.slice(place, 20), tmp_path / f"{part}.parquet", row_group_size=7)
    window = {
        "time_column": "at", "start": datetime(2024, 1, 1, 3, tzinfo=UTC),
        "end": datetime(2024, 1, 2, 3, tzinfo=UTC),
    }  # fmt: skip
    scratch = tmp_path / "scratch"
    for given in ({}, window):
        at_once = read_source(source("*.parquet"), tmp_path, scratch=scratch, **given)
        assert not scratch.exists()
        with monkeypatch.context() as patch:
            patch.setattr(parquet_files, "_LARGE_CELLS", 10)
            patch.setattr(parquet_files, "_CELLS_OF_PART", cells_of_part)
            mapped = read_source(source("*.parquet"), tmp_path, scratch=scratch, **given)
        assert mapped.table.equals(at_once.table)
        assert mapped.latest == at_once.latest
        assert list(scratch.iterdir()) == []
        scratch.rmdir()
