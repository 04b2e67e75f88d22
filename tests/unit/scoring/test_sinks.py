from __future__ import annotations

import csv
import multiprocessing
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from tasks.base.errors import ConfigError, InfrastructureError, TransientError
from tasks.base.settings.scoring import CsvSink, ParquetSink, SqlSink
from tasks.scoring.sinks import write_predictions
from tasks.scoring.sql_tables import column_names


def predictions(n: int = 4, batch: str = "d1", start: int = 0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": np.arange(start, start + n),
            "time": pd.date_range("2020", periods=n, freq="h").astype("datetime64[us]"),
            "prediction": ["yes", "no"] * (n // 2),
            "probability_yes": np.linspace(0, 1, n),
            "batch": pd.Series([batch] * n, dtype="str"),
        }
    )


def sql(path: str = "out/p.db", table: str = "predictions") -> SqlSink:
    return SqlSink(kind="sql", url=SecretStr(f"sqlite:///{path}"), table=table)


def stored(path: Path, table: str = "predictions") -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute(f'SELECT * FROM "{table}" ORDER BY batch, id').fetchall()
    connection.close()
    return rows


def test_pipelines_that_score_the_same_rows_share_a_table(tmp_path: Path) -> None:
    for model in ("a", "b", "a"):
        frame = predictions().assign(model_name=model).rename(columns={"id": "Batch"})
        write_predictions(frame, sql(), tmp_path)

    with sqlite3.connect(tmp_path / "out" / "p.db") as connection:
        found = connection.execute("SELECT model_name, count(*) FROM predictions GROUP BY 1")
        assert found.fetchall() == [("a", 4), ("b", 4)]
    connection.close()


# Files


def test_parquet_holds_what_was_written(tmp_path: Path) -> None:
    sink = ParquetSink(kind="parquet", path="new/folder/p.parquet")
    assert write_predictions(predictions(), sink, tmp_path) == str(tmp_path / sink.path)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / sink.path), predictions())
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["p.parquet"]


def test_csv_holds_what_was_written(tmp_path: Path) -> None:
    write_predictions(predictions(), CsvSink(kind="csv", path="p.csv"), tmp_path)
    found = pd.read_csv(tmp_path / "p.csv", parse_dates=["time"])
    assert found["probability_yes"].tolist() == predictions()["probability_yes"].tolist()
    assert found["prediction"].tolist() == ["yes", "no", "yes", "no"]
    assert (found["time"] == predictions()["time"]).all()


def test_an_absolute_path_stays_where_it_is(tmp_path: Path) -> None:
    sink = CsvSink(kind="csv", path=str(tmp_path / "p.csv"))
    write_predictions(predictions(), sink, tmp_path / "elsewhere")
    assert (tmp_path / "p.csv").is_file()


def test_an_earlier_file_is_replaced_whole_or_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ParquetSink(kind="parquet", path="p.parquet")
    write_predictions(predictions(), sink, tmp_path)
    before = (tmp_path / "p.parquet").read_bytes()

    def full(self: pq.ParquetWriter, table: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(InfrastructureError, match="No space left"):
            write_predictions(predictions(8), sink, tmp_path)
    assert (tmp_path / "p.parquet").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    write_predictions(predictions(8), sink, tmp_path)
    assert len(pd.read_parquet(tmp_path / "p.parquet")) == 8


@pytest.mark.parametrize(
    "sink", [ParquetSink(kind="parquet", path="p.parquet"), CsvSink(kind="csv", path="p.csv")]
)
def test_parts_of_a_batch_make_the_same_file(sink: ParquetSink | CsvSink, tmp_path: Path) -> None:
    whole = predictions(6).assign(number=[1.0, np.nan, 2, 3, 4, 5])
    # Of a column of whole numbers only the part with nulls is of floats.
    parts = [whole.iloc[:2], whole.iloc[2:].astype({"number": np.int64})]
    write_predictions(whole, sink, tmp_path / "whole")
    write_predictions(iter(parts), sink, tmp_path / "parts")
    read = pd.read_parquet if sink.kind == "parquet" else pd.read_csv
    pd.testing.assert_frame_equal(
        read(tmp_path / "whole" / sink.path), read(tmp_path / "parts" / sink.path)
    )


def test_parts_of_a_batch_fill_one_table_and_replace_it_once(tmp_path: Path) -> None:
    for _ in range(2):
        write_predictions((predictions(2, start=n) for n in (0, 2, 4)), sql(), tmp_path)
    assert [row[0] for row in stored(tmp_path / "out/p.db")] == [0, 1, 2, 3, 4, 5]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="this is a folder"):
        write_predictions(predictions(), CsvSink(kind="csv", path="out"), tmp_path)


def test_a_path_below_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match="cannot be written"):
        write_predictions(predictions(), CsvSink(kind="csv", path="file/p.csv"), tmp_path)


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "plain", "a=1", "", None, "ü\n"]


def test_formulas_in_texts_are_quoted_and_numbers_are_not(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "=cmd": pd.Series(HOSTILE, dtype="str"),
            "mixed": pd.Series(["=1", 2, -3.5, None, True, *["x"] * 6], dtype=object),
            "number": np.arange(11) - 5,
        }
    )
    write_predictions(frame, CsvSink(kind="csv", path="p.csv"), tmp_path)
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = list(csv.reader(file))
    assert header == ["'=cmd", "mixed", "number"]
    assert [line[0] for line in lines] == [
        "'=1+1", "+1", "-1", "'@SUM(A1)", "'\tx", "'\rx", "plain", "a=1", "", "", "ü\n",
    ]  # fmt: skip
    assert [line[1] for line in lines][:5] == ["'=1", "2", "-3.5", "", "True"]
    assert [line[2] for line in lines][:2] == ["-5", "-4"]


# Tables


def test_a_table_is_made_with_its_columns(tmp_path: Path) -> None:
    said = write_predictions(predictions(), sql(), tmp_path)
    assert said == f"sqlite:///{tmp_path}/out/p.db table predictions"
    first = stored(tmp_path / "out" / "p.db")[0]
    assert first == (0, "2020-01-01 00:00:00.000000", "yes", 0.0, "d1")


def test_a_batch_written_twice_is_there_once(tmp_path: Path) -> None:
    for n in (4, 6, 4):
        write_predictions(predictions(n), sql(), tmp_path)
    write_predictions(predictions(2, batch="d2"), sql(), tmp_path)
    batches = [row[-1] for row in stored(tmp_path / "out" / "p.db")]
    assert batches == ["d1"] * 4 + ["d2"] * 2


def test_a_batch_that_fails_midway_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_predictions(predictions(4), sql(), tmp_path)
    before = stored(tmp_path / "out" / "p.db")
    with sqlite3.connect(tmp_path / "out" / "p.db") as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON predictions WHEN new.id = 12 "
            "BEGIN SELECT RAISE(ABORT, 'no more'); END"
        )
    connection.close()
    monkeypatch.setattr("tasks.scoring.sql_tables._ROWS_AT_ONCE", 1)
    with pytest.raises(InfrastructureError, match="no more"):
        write_predictions(predictions(4, start=10), sql(), tmp_path)
    assert stored(tmp_path / "out" / "p.db") == before


def test_hostile_columns_and_values_are_stored_as_they_are(tmp_path: Path) -> None:
    frame = predictions(2)
    frame['x"; DROP TABLE predictions; --'] = ["'; DROP TABLE predictions; --", None]
    frame["größe in m³"] = [1.5, np.nan]
    frame["Größe in m³"] = [np.inf, 2.0]
    frame["perhaps"] = pd.Series([True, None], dtype=object)
    frame["moment"] = pd.Series([pd.Timestamp("2020-01-01", tz="UTC"), None])
    write_predictions(frame, sql(), tmp_path)
    write_predictions(frame, sql(), tmp_path)
    rows = stored(tmp_path / "out" / "p.db")
    assert rows[0][5:9] == ("'; DROP TABLE predictions; --", 1.5, float("inf"), "True")
    assert rows[1][5:] == (None, None, 2.0, None, None)


def test_columns_that_a_database_confuses_are_told_apart() -> None:
    names = column_names(["A", "a", "x" * 100, "x" * 100, "ü" * 40, "", "a\x00"])
    assert len({n.lower() for n in names}) == 7
    assert all(0 < len(n.encode()) <= 63 for n in names)


def test_a_table_of_another_shape_is_refused(tmp_path: Path) -> None:
    write_predictions(predictions().drop(columns="probability_yes"), sql(), tmp_path)
    with pytest.raises(ConfigError, match="no column for 'probability_yes'"):
        write_predictions(predictions(), sql(), tmp_path)


def test_no_rows_make_an_empty_table(tmp_path: Path) -> None:
    write_predictions(predictions().iloc[:0], sql(), tmp_path)
    assert stored(tmp_path / "out" / "p.db") == []


def test_many_rows_are_written_in_order(tmp_path: Path) -> None:
    write_predictions(predictions(12_000), sql(), tmp_path)
    assert [row[0] for row in stored(tmp_path / "out" / "p.db")] == list(range(12_000))


def write_once(folder: str) -> None:
    write_predictions(predictions(2000), sql("p.db"), Path(folder))


def test_writers_of_one_batch_at_once_leave_it_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_once, args=(str(tmp_path),)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(stored(tmp_path / "p.db")) == 2000


@pytest.mark.parametrize("url", ["nonsense", "nodialect://me:s3cret@host/db", "sqlite+x://y"])
def test_what_is_no_address_is_said_without_its_secret(tmp_path: Path, url: str) -> None:
    sink = SqlSink.model_construct(kind="sql", url=SecretStr(url), table="t")
    with pytest.raises(ConfigError) as caught:
        write_predictions(predictions(), sink, tmp_path)
    assert "s3cret" not in str(caught.value)


def test_a_database_that_does_not_answer_is_transient_and_keeps_the_secret(
    tmp_path: Path,
) -> None:
    pytest.importorskip("psycopg")
    url = SecretStr("postgresql+psycopg://me:s3cret@127.0.0.1:1/db?connect_timeout=2")
    with pytest.raises(TransientError) as caught:
        write_predictions(predictions(), SqlSink(kind="sql", url=url, table="t"), tmp_path)
    assert "s3cret" not in str(caught.value)
    assert "//127.0.0.1:1/db" in str(caught.value)


def test_options_that_the_driver_refuses_are_a_mistake_in_the_file(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    url = SecretStr("postgresql+psycopg://me@127.0.0.1:1/db?colour=s3cret")
    with pytest.raises(ConfigError) as caught:
        write_predictions(predictions(), SqlSink(kind="sql", url=url, table="t"), tmp_path)
    assert "s3cret" not in str(caught.value)
