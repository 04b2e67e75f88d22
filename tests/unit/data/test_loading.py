"""The window of a pipeline: projected, cut, kept, and not read twice."""

from __future__ import annotations

import os
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError, DataError, SourceError
from tasks.data.column_kinds import build_schema
from tasks.data.loading import load_window, stated_options
from tasks.data.snapshots import read_frame
from tests.unit.data.tables_made import config, people

HOURS = 24 * 30


def made(folder: Path, **keys: Any) -> PipelineConfig:
    columns = people(HOURS)
    columns["at"] = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(HOURS)]
    if not (folder / "t.parquet").exists():
        pq.write_table(pa.table(columns), folder / "t.parquet")
    return config(**{"source": {"kind": "parquet", "path": "t.parquet"}} | keys)


def test_the_newest_window_is_read_without_excluded_columns(tmp_path: Path) -> None:
    wanted = made(tmp_path, time_column="at", exclude=("n",), training={"window": "2d"})
    snapshot = load_window(wanted, tmp_path, tmp_path / "data")
    assert snapshot.rows == 48
    assert "n" not in snapshot.kinds
    assert snapshot.start == datetime(2024, 1, 29, tzinfo=UTC)
    assert snapshot.end == datetime(2024, 1, 30, 23, tzinfo=UTC)
    assert Path(snapshot.path).parent == tmp_path / "data"


def test_an_unchanged_source_is_not_read_again(tmp_path: Path) -> None:
    wanted = made(tmp_path)
    first = load_window(wanted, tmp_path, tmp_path / "data")
    again = load_window(wanted, tmp_path, tmp_path / "data")
    assert not first.cached
    assert again.cached
    assert again == first.model_copy(update={"cached": True})
    assert not load_window(wanted, tmp_path, tmp_path / "data", fresh=True).cached


def test_a_change_of_source_or_configuration_is_read(tmp_path: Path) -> None:
    wanted = made(tmp_path)
    load_window(wanted, tmp_path, tmp_path / "data")
    other = load_window(made(tmp_path, exclude=("x",)), tmp_path, tmp_path / "data")
    assert not other.cached
    stat = (tmp_path / "t.parquet").stat()
    os.utime(tmp_path / "t.parquet", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    touched = load_window(wanted, tmp_path, tmp_path / "data")
    assert not touched.cached
    Path(touched.path).unlink()
    assert not load_window(wanted, tmp_path, tmp_path / "data").cached


def test_a_torn_record_of_the_last_reading_is_read_over(tmp_path: Path) -> None:
    wanted = made(tmp_path)
    load_window(wanted, tmp_path, tmp_path / "data")
    record = next((tmp_path / "data").glob("read-*.json"))
    record.write_text(record.read_text()[:50])
    assert not load_window(wanted, tmp_path, tmp_path / "data").cached


def test_a_record_of_another_reading_is_not_taken_for_this_one(tmp_path: Path) -> None:
    first, second = made(tmp_path), made(tmp_path, exclude=("x",))
    load_window(first, tmp_path, tmp_path / "data")
    (one,) = (tmp_path / "data").glob("read-*.json")
    load_window(second, tmp_path, tmp_path / "data")
    (other,) = set((tmp_path / "data").glob("read-*.json")) - {one}
    shutil.copy(one, other)
    shutil.copy(f"{one}.sha256", f"{other}.sha256")

    again = load_window(second, tmp_path, tmp_path / "data")

    assert not again.cached
    assert "x" not in again.kinds


def test_rows_to_score_need_no_target_and_no_window(tmp_path: Path) -> None:
    table = pa.table(people(50))
    pq.write_table(table.drop_columns(["y", "n"]), tmp_path / "new.parquet")
    wanted = made(
        tmp_path, time_column="at", exclude=("n",), training={"window": "2d"},
        scoring={"source": {"kind": "parquet", "path": "new.parquet"}},
    )  # fmt: skip
    snapshot = load_window(wanted, tmp_path, tmp_path / "data", for_scoring=True)
    assert snapshot.rows == 50
    assert list(snapshot.kinds) == ["id", "at", "x", "k", "flag"]


def test_declared_kinds_decide_how_a_batch_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("zip,flag,n,y\n10001,1,1,a\n10002,0,oops,b\n")
    wanted = config(kinds={"zip": "categorical", "flag": "boolean", "n": "numeric"})
    snapshot = load_window(wanted, tmp_path, tmp_path / "data", for_scoring=True)
    frame = read_frame(snapshot.path)
    assert frame["zip"].tolist() == ["10001", "10002"]
    assert frame["flag"].tolist() == [True, False]
    assert frame["n"].tolist() == ["1", "oops"]
    assert snapshot.kinds["n"] == "numeric"


def test_declared_times_become_times_where_they_can(tmp_path: Path) -> None:
    table = pa.table({"since": [2015, 2016] * 20, "when": ["soon", "late"] * 20, "y": [1, 0] * 20})
    pq.write_table(table, tmp_path / "d.parquet")
    wanted = config(
        source={"kind": "parquet", "path": "d.parquet"},
        kinds={"since": "datetime", "when": "datetime"},
    )
    snapshot = load_window(wanted, tmp_path, tmp_path / "data")
    frame = read_frame(snapshot.path)
    assert str(frame["since"].dtype) == "datetime64[us]"
    assert frame["when"].tolist()[:2] == ["soon", "late"]
    with pytest.raises(DataError, match="'when' is declared datetime and holds 'soon'"):
        build_schema(snapshot, wanted)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"target": "yy"}, r"`target` names 'yy'.*nearest: y"),
        ({"exclude": ("X",)}, r"`exclude` names 'X'.*nearest: x"),
        ({"time_column": "att"}, r"`time_column`.*nearest: at"),
        ({"kinds": {"flagg": "boolean"}}, r"`kinds`.*nearest: flag"),
    ],
)
def test_a_name_the_source_lacks_is_refused(
    tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load_window(made(tmp_path, **keys), tmp_path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "flights.csv").write_text("a\n1\n")
    for path in ("flihgts.csv", "flight*.parquet", "none/flights.csv"):
        wanted = config(source={"kind": "csv", "path": path})
        with pytest.raises(SourceError) as caught:
            load_window(wanted, tmp_path, tmp_path / "data")
        assert "flights.csv" in str(caught.value) or "none" in path or "*" in path


def test_one_row_from_the_future_does_not_empty_the_window(tmp_path: Path) -> None:
    columns = people(200)
    columns["at"][0] = datetime(2999, 1, 1)
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    wanted = config(
        source={"kind": "parquet", "path": "f.parquet"}, time_column="at",
        training={"window": "1d"},
    )  # fmt: skip
    snapshot = load_window(wanted, tmp_path, tmp_path / "data")
    assert snapshot.rows > 50
    assert any("1 rows lie after" in note for note in snapshot.assumptions)
    whole = wanted.model_copy(update={"training": config().training})
    said = load_window(whole, tmp_path, tmp_path / "data").assumptions
    assert any("1 row lies in the future" in note for note in said)


def test_a_time_column_without_any_time_is_refused(tmp_path: Path) -> None:
    columns = people(50) | {"at": pa.nulls(50, pa.timestamp("us"))}
    pq.write_table(pa.table(columns), tmp_path / "n.parquet")
    wanted = config(
        source={"kind": "parquet", "path": "n.parquet"}, time_column="at",
        training={"window": "1d"},
    )  # fmt: skip
    with pytest.raises(DataError, match="has no value"):
        load_window(wanted, tmp_path, tmp_path / "data")


def test_a_database_is_read_each_time_into_the_same_snapshot(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("create table t (at text, x real, y integer)")
        connection.executemany(
            "insert into t values (?, ?, ?)",
            [(f"2024-01-{d:02d} 00:00:00", d / 2, d % 2) for d in range(1, 31)],
        )
    connection.close()
    wanted = config(
        source={"kind": "sql", "url": f"sqlite:///{tmp_path / 't.db'}", "table": "t"},
        time_column="at", training={"window": "1w"},
    )  # fmt: skip
    first = load_window(wanted, tmp_path, tmp_path / "data")
    again = load_window(wanted, tmp_path, tmp_path / "data")
    assert first.rows == 7
    assert again == first
    assert not again.cached


def test_nothing_secret_is_kept_beside_the_snapshot(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n" + "1.5,a\n2.5,b\n" * 20)
    load_window(config(alerts=("https://CANARY@h",)), tmp_path, tmp_path / "data")
    assert all(b"CANARY" not in path.read_bytes() for path in (tmp_path / "data").iterdir())


def test_what_was_found_out_can_be_stated_and_reads_the_same(tmp_path: Path) -> None:
    text = "Tag;Größe;y\n" + "12/31/2023;1,5;a\n01/02/2024;2,25;b\n" * 20
    (tmp_path / "t.csv").write_bytes(text.encode("cp1252"))
    found = stated_options(config().source, tmp_path)
    assert found == {
        "encoding": "cp1252",
        "delimiter": ";",
        "decimal": ",",
        "date_formats": {"Tag": "%m/%d/%Y"},
    }
    stated = config(source={"kind": "csv", "path": "t.csv", **found})
    first = load_window(config(), tmp_path, tmp_path / "data")
    assert load_window(stated, tmp_path, tmp_path / "data").digest == first.digest
    # A later file in which nothing decides is read like the first.
    (tmp_path / "t.csv").write_bytes("Tag;Größe;y\n01/02/2024;1,234;a\n".encode("cp1252"))
    later = read_frame(load_window(stated, tmp_path, tmp_path / "data", for_scoring=True).path)
    assert later["Tag"][0] == datetime(2024, 1, 2)
    assert later["Größe"][0] == 1.234
