"""Rows of databases: SQLite always, PostgreSQL where Debian's is installed."""

from __future__ import annotations

import gc
import sqlite3
import threading
import uuid
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.dialects import mssql, oracle, postgresql, sqlite

from tasks.base.errors import DataError, SourceError, TransientError
from tasks.base.settings.sources import SqlSource
from tasks.base.source_notes import UnreadColumn
from tasks.data.sources.source import column_names, newest_time, read_source
from tasks.data.sources.sql_connections import _engine, _explained, connected
from tasks.data.sources.sql_queries import _Query
from tests.postgres import Server, postgres_server

__all__ = ["postgres_server"]

T0 = datetime(2024, 1, 1)


def sqlite_file(folder: Path, mark: str = " ", rows: int = 48) -> Path:
    path = folder / "rows.db"
    with sqlite3.connect(path) as connection:
        connection.execute('create table "Mes données" (id integer, "at" text, "x:y" real, k text)')
        connection.executemany(
            'insert into "Mes données" values (?, ?, ?, ?)',
            [
                (i, (T0 + timedelta(hours=i)).isoformat(mark), i / 2, "ab"[i % 2])
                for i in range(rows)
            ],
        )
    connection.close()
    return path


def source(folder: Path, **keys: Any) -> SqlSource:
    return SqlSource(kind="sql", url=f"sqlite:///{folder / 'rows.db'}", **keys)


def test_a_table_is_read_with_the_columns_asked_for_and_its_times_typed(tmp_path: Path) -> None:
    sqlite_file(tmp_path)
    read = read_source(
        source(tmp_path, table="Mes données"), tmp_path, columns=["x:y", "at"], time_column="at"
    )
    assert read.table.column_names == ["at", "x:y"]
    assert pa.types.is_timestamp(read.table["at"].type)
    assert read.table["x:y"][1].as_py() == 0.5
    assert read.latest == datetime(2024, 1, 2, 23, tzinfo=UTC)


@pytest.mark.parametrize("mark", [" ", "T"])
def test_a_window_is_closed_at_its_start_and_open_at_its_end(tmp_path: Path, mark: str) -> None:
    sqlite_file(tmp_path, mark)
    read = read_source(
        source(tmp_path, query='select * from "Mes données";'),
        tmp_path,
        time_column="at",
        start=T0 + timedelta(hours=5),
        end=T0 + timedelta(hours=9),
    )
    assert read.table["id"].to_pylist() == [5, 6, 7, 8]


@pytest.mark.parametrize(
    "end", ["", " -- as :then, see :there", " /* :x */", " and k <> ':no' and k <> 'a \\:b:c'"]
)
def test_a_colon_in_a_text_or_a_comment_binds_nothing(tmp_path: Path, end: str) -> None:
    sqlite_file(tmp_path)
    picked = """id, '{"a":true, "b": :c}' as j, "x:y", at"""
    text = f'select {picked} from "Mes données" where id < 9{end}'
    read = read_source(
        source(tmp_path, query=text), tmp_path, time_column="at", start=T0 + timedelta(hours=5)
    )
    assert read.table["id"].to_pylist() == [5, 6, 7, 8]
    assert set(read.table["j"].to_pylist()) == {'{"a":true, "b": :c}'}
    assert "x:y" in read.table.column_names


def test_a_query_that_binds_its_window_gets_it(tmp_path: Path) -> None:
    sqlite_file(tmp_path)
    bound = source(
        tmp_path, query='select id, at from "Mes données" where at >= :start and at < :end'
    )
    part = read_source(
        bound,
        tmp_path,
        time_column="at",
        start=T0 + timedelta(hours=1),
        end=T0 + timedelta(hours=3),
    )
    assert part.table["id"].to_pylist() == [1, 2]
    assert read_source(bound, tmp_path, time_column="at").table.num_rows == 48


def test_the_newest_time_comes_from_the_database(tmp_path: Path) -> None:
    sqlite_file(tmp_path)
    found = newest_time(source(tmp_path, table="Mes données"), tmp_path, "at")
    assert found == datetime(2024, 1, 2, 23, tzinfo=UTC)


def test_text_that_does_not_sort_by_time_is_not_asked_for_its_newest(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "rows.db") as connection:
        connection.execute("create table t (at text, x integer)")
        connection.executemany("insert into t values (?, 1)", [("31/01/2024",), ("01/02/2024",)])
    connection.close()
    assert newest_time(source(tmp_path, table="t"), tmp_path, "at") is None
    read = read_source(
        source(tmp_path, table="t"), tmp_path, time_column="at", start=datetime(2024, 2, 1)
    )
    assert read.latest == datetime(2024, 2, 1, tzinfo=UTC)
    assert read.table.num_rows == 1


@pytest.mark.parametrize("dialect", [mssql, oracle, postgresql, sqlite])
def test_one_value_is_read_in_the_words_of_each_database(tmp_path: Path, dialect: Any) -> None:
    sqlite_file(tmp_path)
    found = source(tmp_path, query='select "at" from "Mes données" where "at" >= :start')
    with connected(found, tmp_path) as connection:
        statement = _Query(found, connection).first("at")
    text = str(statement.compile(dialect=dialect.dialect()))
    assert ("LIMIT" in text) == (dialect in (postgresql, sqlite))
    assert " AS q" not in text  # Oracle names no table so


def test_column_names_are_those_of_the_result(tmp_path: Path) -> None:
    sqlite_file(tmp_path)
    assert column_names(source(tmp_path, table="Mes données"), tmp_path) == ("id", "at", "x:y", "k")


def test_a_database_is_never_written_or_created(tmp_path: Path) -> None:
    path = sqlite_file(tmp_path)
    before = path.read_bytes()
    with pytest.raises(SourceError):
        read_source(source(tmp_path, query='delete from "Mes données" returning id'), tmp_path)
    assert path.read_bytes() == before
    with pytest.raises(SourceError, match="no such SQLite file"):
        read_source(SqlSource(kind="sql", url="sqlite:///none.db", table="t"), tmp_path)
    assert not (tmp_path / "none.db").exists()


def test_an_absent_file_of_duckdb_is_refused_before_its_driver_would_create_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(SourceError, match="no such DuckDB file"):
        _engine(sa.make_url("duckdb:///none.duckdb"), tmp_path)


def test_a_refusal_does_not_quote_the_statement_that_keepfit_made() -> None:
    url = sa.make_url("postgresql://db/sales")
    driver = Exception('relation "none" does not exist\nLINE 1: SELECT * FROM (SELECT * F\n  ^')
    error = _explained(sa.exc.ProgrammingError("", {}, driver), url)

    assert error.message == 'the database refused: relation "none" does not exist.'


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"query": "selec 1"}, "syntax"),
        ({"table": "nothing"}, "no such table"),
        ({"query": "select :other as a"}, ":other"),
        ({"query": 'select * from "Mes données" where id < 0'}, "no row"),
    ],
)
def test_a_wrong_query_is_an_error_with_its_reason(
    tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    sqlite_file(tmp_path)
    with pytest.raises((SourceError, DataError), match=said):
        read_source(source(tmp_path, **keys), tmp_path)


def test_a_locked_database_is_transient(tmp_path: Path) -> None:
    path = sqlite_file(tmp_path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin exclusive")
    url = f"sqlite:///{path}?timeout=0.05"
    try:
        with pytest.raises(TransientError, match="locked"):
            read_source(SqlSource(kind="sql", url=url, table="Mes données"), tmp_path)
    finally:
        holder.close()


def test_too_many_rows_are_refused(tmp_path: Path) -> None:
    sqlite_file(tmp_path)
    with pytest.raises(SourceError, match="max_rows"):
        read_source(source(tmp_path, table="Mes données", max_rows=10), tmp_path)


def test_mixed_and_odd_values_never_crash(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "rows.db") as connection:
        connection.execute("create table t (mixed, blob, huge, empty, number)")
        connection.executemany(
            "insert into t values (?, ?, ?, ?, ?)",
            [(1, b"\x00\xff\xfe", "99999999999999999999", None, 1), ("abc", b"", "1", None, 2.5)],
        )
    connection.close()
    read = read_source(source(tmp_path, table="t"), tmp_path)
    assert read.table["mixed"].to_pylist() == ["1", "abc"]
    assert read.table["huge"].to_pylist() == ["99999999999999999999", "1"]
    assert read.table["number"].to_pylist() == [1.0, 2.5]
    assert "blob" not in read.table.column_names
    assert read.findings == (UnreadColumn(column="blob", stored="bytes (BLOB)"),)


def test_a_password_is_in_no_error(tmp_path: Path) -> None:
    canary = "CANARY-" + uuid.uuid4().hex
    url = f"postgresql+psycopg://u:{canary}@127.0.0.1:1/d?connect_timeout=2"
    with pytest.raises(TransientError) as caught:
        read_source(SqlSource(kind="sql", url=url, table="t"), tmp_path)
    assert canary not in str(caught.value)
    assert caught.value.__cause__ is None
    for wrong in (f"://{canary}", f"nodriver://u:{canary}@h/d"):
        with pytest.raises(SourceError) as refused:
            read_source(
                SqlSource.model_construct(kind="sql", url=SecretStr(wrong), table="t"), tmp_path
            )
        assert canary not in str(refused.value)


@pytest.fixture
def orders(postgres_server: Server) -> SqlSource:
    engine = sa.create_engine(postgres_server.url())
    with engine.begin() as connection:
        connection.execute(sa.text("drop table if exists orders"))
        connection.execute(
            sa.text(
                "create table orders (id bigint, at timestamptz, day date, price numeric(10,2), "
                '"odd ""name" text, tags text[], flag boolean, ref uuid)'
            )
        )
        connection.execute(
            sa.text(
                "insert into orders select i, timestamptz '2024-01-01 00:00+02' + i * interval "
                "'1 hour', date '2024-01-01' + i, i + 0.25, 'n' || (i % 3), array['a'], i % 2 = 0, "
                "gen_random_uuid() from generate_series(0, 99) i"
            )
        )
    engine.dispose()
    return SqlSource(kind="sql", url=postgres_server.url(), table="public.orders")


@pytest.mark.postgres
def test_postgres_types_become_plain_ones(orders: SqlSource, tmp_path: Path) -> None:
    read = read_source(orders, tmp_path, time_column="at")
    assert read.table.num_rows == 100
    assert read.table["price"].to_pylist()[:2] == [0.25, 1.25]
    assert read.table["at"].type == pa.timestamp("us", "UTC")
    assert read.table["at"][0].as_py() == datetime(2023, 12, 31, 22, tzinfo=UTC)
    assert read.table["flag"].to_pylist()[:2] == [True, False]
    assert read.table['odd "name'].to_pylist()[:2] == ["n0", "n1"]
    assert "tags" not in read.table.column_names


@pytest.mark.postgres
def test_postgres_reads_a_window_by_instant_and_by_day(orders: SqlSource, tmp_path: Path) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    hours = read_source(
        orders, tmp_path, columns=["id", "at"], time_column="at", start=start,
        end=start + timedelta(hours=3),
    )  # fmt: skip
    assert hours.table["id"].to_pylist() == [2, 3, 4]
    days = read_source(
        orders, tmp_path, columns=["id", "day"], time_column="day", start=datetime(2024, 1, 3),
        end=datetime(2024, 1, 5),
    )  # fmt: skip
    assert days.table["id"].to_pylist() == [2, 3]
    assert newest_time(orders, tmp_path, "at") == datetime(2024, 1, 5, 1, tzinfo=UTC)
    bound = orders.model_copy(
        update={
            "table": None,
            "query": "select id, at::timestamptz as at from orders "
            "where at >= :start and at < :end",
        }
    )
    same = read_source(
        bound, tmp_path, time_column="at", start=start, end=start + timedelta(hours=3)
    )
    assert same.table["id"].to_pylist() == [2, 3, 4]


@pytest.mark.postgres
def test_columns_that_are_called_alike_are_refused(orders: SqlSource, tmp_path: Path) -> None:
    twice = orders.model_copy(update={"table": None, "query": "select 1 as a, 2 as a"})
    with pytest.raises(SourceError, match="called alike: a"):
        read_source(twice, tmp_path)


@pytest.mark.postgres
def test_postgres_is_only_read(orders: SqlSource, tmp_path: Path) -> None:
    attack = orders.model_copy(
        update={
            "table": None,
            "query": "with d as (delete from orders returning id) select * from d",
        }
    )
    with pytest.raises(SourceError):
        read_source(attack, tmp_path)
    assert read_source(orders, tmp_path).table.num_rows == 100


@pytest.mark.postgres
def test_a_wrong_password_is_no_fault_that_passes(postgres_server: Server, tmp_path: Path) -> None:
    wrong = SqlSource(kind="sql", url=postgres_server.url(password="wrong-canary"), table="t")
    with pytest.raises(SourceError, match="authentication") as caught:
        read_source(wrong, tmp_path)
    assert "wrong-canary" not in str(caught.value)


@pytest.mark.postgres
def test_a_connection_cut_while_reading_is_transient(
    postgres_server: Server, orders: SqlSource, tmp_path: Path
) -> None:
    slow = orders.model_copy(update={"table": None, "query": "select pg_sleep(20)::text as s"})
    engine = sa.create_engine(postgres_server.url(), isolation_level="AUTOCOMMIT")
    done = threading.Event()

    def cut() -> None:
        with engine.connect() as connection:
            while not done.is_set():
                connection.execute(
                    sa.text(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where query like 'FETCH%' and state = 'active'"
                    )
                )
                done.wait(0.1)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        with pytest.raises(TransientError):
            read_source(slow, tmp_path)
    finally:
        done.set()
        thread.join()
        engine.dispose()
        with warnings.catch_warnings():
            # psycopg can't close a cursor of a connection that is gone, and says so when collected.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
