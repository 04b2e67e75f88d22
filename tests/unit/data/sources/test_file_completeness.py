"""Files that are being written wait; those that are complete are read."""

from __future__ import annotations

import gzip
import os
import time
from filecmp import cmp
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.errors import DataError, SourceError
from tasks.base.settings.sources import CsvSource, ParquetSource, Source, SqlSource
from tasks.base.source_notes import FileAside, note_text
from tasks.data.sources import file_completeness
from tasks.data.sources.file_completeness import complete_part, without_copies
from tasks.data.sources.source import column_names, newest_believed, read_source

CSV = CsvSource(kind="csv", path="*.csv*")
PARQUET = ParquetSource(kind="parquet", path="*.parquet")


def whole(folder: Path, kind: str, name: str = "a") -> bytes:
    """Write a complete file of one row; return its bytes."""
    file = folder / f"{name}.{kind}"
    if kind == "csv":
        file.write_text("x,y\n1,2\n")
    else:
        pq.write_table(pa.table({"x": [1], "y": [2]}), file)
    return file.read_bytes()


def sifted(source: Source, folder: Path, **options: bool) -> tuple[int, list[tuple[str, str]]]:
    """Return the rows that can be read, and the files left aside with their reason."""
    found, aside = complete_part(source, folder, **options)
    rows = 0 if found is None else read_source(found, folder).table.num_rows
    return rows, [(note.file, note.reason) for note in aside]


@pytest.mark.parametrize(("kind", "source"), [("csv", CSV), ("parquet", PARQUET)])
def test_an_empty_file_is_left_aside_and_the_others_are_read(
    tmp_path: Path, kind: str, source: Source
) -> None:
    data = whole(tmp_path, kind, "b")
    assert complete_part(source, tmp_path) == (source, ())
    (tmp_path / f"a.{kind}").write_bytes(b"")
    assert sifted(source, tmp_path) == (1, [(f"a.{kind}", "empty")])
    found, _ = complete_part(source, tmp_path)
    assert found is not None
    assert column_names(found, tmp_path) == ("x", "y")
    with pytest.raises(SourceError, match=f"a.{kind}: the file is empty"):
        read_source(source, tmp_path)
    (tmp_path / f"a.{kind}").write_bytes(data)
    assert sifted(source, tmp_path) == (2, [])


@pytest.mark.parametrize(("kind", "source"), [("csv", CSV), ("parquet", PARQUET)])
def test_a_file_that_was_delivered_twice_is_read_once(
    tmp_path: Path, kind: str, source: Source
) -> None:
    data = whole(tmp_path, kind, "a")
    (tmp_path / f"b.{kind}").write_bytes(data)
    found, (note,) = without_copies(source, tmp_path)
    assert read_source(found, tmp_path).table.num_rows == 1
    assert (note.file, note.of) == (f"b.{kind}", f"a.{kind}")
    assert "nothing to do" in note_text(note)

    other = data.replace(b"1", b"3") if kind == "csv" else b"another"
    (tmp_path / f"b.{kind}").write_bytes(other)
    assert without_copies(source, tmp_path) == (source, ())


def test_many_files_of_one_size_are_not_compared_with_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[Path] = []
    monkeypatch.setattr(
        file_completeness, "cmp", lambda a, b, **how: compared.append(a) or cmp(a, b, **how)
    )
    for number in range(100):
        (tmp_path / f"{number:03d}.csv").write_text(f"x,y\n{number:03d},1\n")
    (tmp_path / "again.csv").write_text("x,y\n007,1\n")
    _, (note,) = without_copies(CSV, tmp_path)
    assert (note.file, note.of) == ("again.csv", "007.csv")
    assert [file.name for file in compared] == ["again.csv"]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_parquet_file_that_is_cut_short_is_left_aside(tmp_path: Path, share: float) -> None:
    data = whole(tmp_path, "parquet")
    (tmp_path / "b.parquet").write_bytes(data[: int(len(data) * share)])
    assert sifted(PARQUET, tmp_path) == (1, [("b.parquet", "incomplete")])


def test_a_packed_file_that_is_cut_short_is_left_aside(tmp_path: Path) -> None:
    whole(tmp_path, "csv")
    packed = gzip.compress(b"x,y\n" + b"1,2\n" * 1000)
    (tmp_path / "b.csv.gz").write_bytes(packed[:-20])
    assert sifted(CSV, tmp_path) == (1, [("b.csv.gz", "incomplete")])


def test_a_csv_whose_last_line_is_open_waits_until_it_rests(tmp_path: Path) -> None:
    whole(tmp_path, "csv")
    (tmp_path / "b.csv").write_text("x,y\n1,2\n3,")
    assert sifted(CSV, tmp_path, settled=True) == (1, [("b.csv", "incomplete")])
    (tmp_path / "b.csv").write_text("x,y\n1,2\n3,4")
    before = time.time() - 600
    os.utime(tmp_path / "b.csv", (before, before))
    assert sifted(CSV, tmp_path, settled=True) == (3, [])


@pytest.mark.parametrize(
    "name", [".c.csv", "_c.csv", "c.csv.tmp", "c.csv.part", "c.csv.crdownload", "c.csv~"]
)
def test_files_that_are_called_unfinished_are_not_read(tmp_path: Path, name: str) -> None:
    whole(tmp_path, "csv")
    (tmp_path / name).write_text("x,y\n1")
    assert sifted(CSV, tmp_path) == (1, [])


def test_files_without_a_complete_one_leave_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(" \n")
    found, (note,) = complete_part(CSV, tmp_path)
    assert found is None
    assert not note.stale


def test_a_file_that_rests_incomplete_is_told_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"")
    os.utime(tmp_path / "a.csv", (0, 0))
    (note,) = complete_part(CSV, tmp_path)[1]
    assert note == FileAside(file="a.csv", reason="empty", stale=True)
    assert "damaged" in note_text(note)


def test_what_is_another_format_is_no_unfinished_file(tmp_path: Path) -> None:
    whole(tmp_path, "parquet")
    (tmp_path / "b.parquet").write_text("x,y\n1,2\n")
    found, aside = complete_part(PARQUET, tmp_path)
    assert aside == ()
    with pytest.raises(SourceError, match=r"b\.parquet: not a whole Parquet file"):
        read_source(found or PARQUET, tmp_path)


@pytest.mark.parametrize("form", ["csv", "parquet", "sql"])
def test_no_row_is_an_error_only_where_there_must_be_some(tmp_path: Path, form: str) -> None:
    source: Source
    if form == "csv":
        (tmp_path / "t.csv").write_text("at,x\n")
        source = CsvSource(kind="csv", path="t.csv")
    elif form == "parquet":
        table = pa.table({"at": pa.array([], pa.string()), "x": pa.array([], pa.int64())})
        pq.write_table(table, tmp_path / "t.parquet")
        source = ParquetSource(kind="parquet", path="t.parquet")
    else:
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(tmp_path / "t.db")) as database:
            database.execute("create table t (at text, x int)")
            database.commit()
        source = SqlSource(kind="sql", url="sqlite:///t.db", table="t")
    with pytest.raises(DataError):
        read_source(source, tmp_path)
    read = read_source(source, tmp_path, time_column="at", may_be_empty=True)
    assert (read.table.num_rows, read.table.column_names) == (0, ["at", "x"])
    assert pa.types.is_timestamp(read.table["at"].type)
    assert read.latest is None


@pytest.mark.parametrize("form", ["csv", "parquet", "sql"])
def test_a_row_of_the_future_is_not_the_newest(tmp_path: Path, form: str) -> None:
    from datetime import UTC, datetime, timedelta

    now = datetime(2024, 5, 1, 12, tzinfo=UTC)
    times = [now - timedelta(days=2), now + timedelta(hours=3), now + timedelta(days=900)]
    texts = [f"{time:%Y-%m-%d %H:%M:%S}" for time in times]
    source: Source
    if form == "csv":
        (tmp_path / "t.csv").write_text("at\n" + "\n".join(texts) + "\n")
        source = CsvSource(kind="csv", path="t.csv")
    elif form == "parquet":
        pq.write_table(pa.table({"at": pa.array(times)}), tmp_path / "t.parquet")
        source = ParquetSource(kind="parquet", path="t.parquet")
    else:
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(tmp_path / "t.db")) as database:
            database.execute("create table t (at text)")
            database.executemany("insert into t values (?)", [(text,) for text in texts])
            database.commit()
        source = SqlSource(kind="sql", url="sqlite:///t.db", table="t")
    assert newest_believed(source, tmp_path, "at", now) == times[1]


def test_a_csv_that_ends_within_a_line_is_left_aside_however_old_it_is(tmp_path: Path) -> None:
    rows = "".join(f"r{i},{i},{i}.5\n" for i in range(30))
    (tmp_path / "a.csv").write_text(f"id,x,y\n{rows}")
    (tmp_path / "b.csv").write_text(f"id,x,y\n{rows}r30,3")
    before = time.time() - 7200
    os.utime(tmp_path / "b.csv", (before, before))
    found, aside = complete_part(CSV, tmp_path)
    assert sifted(CSV, tmp_path) == (30, [("b.csv", "incomplete")])
    assert [note.stale for note in aside] == [True]
    assert found is not None


@pytest.mark.parametrize("end", ["Total: 30", 'r30,3,"a, b"', "r30,3,7"])
def test_a_footer_or_a_whole_line_without_a_line_end_completes_a_file(
    tmp_path: Path, end: str
) -> None:
    rows = "".join(f"r{i},{i},{i}.5\n" for i in range(30))
    (tmp_path / "a.csv").write_text(f"id,x,y\n{rows}{end}")
    assert sifted(CSV, tmp_path)[1] == []
