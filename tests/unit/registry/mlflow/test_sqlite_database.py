from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy

from tasks.base.errors import InfrastructureError
from tasks.base.runtime.files import private_folder
from tasks.registry.mlflow.sqlite_database import make_once, settle, sqlite_address, wait_less


def table(address: str) -> None:
    engine = sqlalchemy.create_engine(address)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE t (a)"))
    engine.dispose()


def test_of_many_one_makes_the_database(tmp_path: Path) -> None:
    path, made = tmp_path / "deep" / "x.db", []

    def create(address: str) -> None:
        made.append(address)
        table(address)

    threads = [threading.Thread(target=make_once, args=(path, create)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert path.stat().st_mode & 0o077 == 0


def test_a_failed_making_leaves_no_database(tmp_path: Path) -> None:
    def fail(address: str) -> None:
        raise RuntimeError(address)

    with pytest.raises(RuntimeError):
        make_once(tmp_path / "x.db", fail)
    assert not (tmp_path / "x.db").exists()
    make_once(tmp_path / "x.db", table)
    assert (tmp_path / "x.db").exists()


def test_only_the_named_database_waits_less_and_only_until_undone(tmp_path: Path) -> None:
    def mode(name: str) -> int:
        engine = sqlalchemy.create_engine(sqlite_address(tmp_path / name))
        with engine.connect() as connection:
            found = connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar_one()
        engine.dispose()
        return int(found)

    usual = mode("b.db")
    undo = wait_less(tmp_path / "a.db", "OFF")
    try:
        assert mode("a.db") == 0
        assert mode("b.db") == usual
    finally:
        undo()
    assert mode("a.db") == usual


def test_settling_writes_the_log_back(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    make_once(path, table)
    keeper = sqlite3.connect(path)
    keeper.execute("INSERT INTO t VALUES ('settled')")
    keeper.commit()
    settle(path)
    assert b"settled" in path.read_bytes()
    keeper.close()


def test_every_folder_made_is_the_owners_only(tmp_path: Path) -> None:
    private_folder(tmp_path / "a" / "b")
    assert [(tmp_path / p).stat().st_mode & 0o077 for p in ("a", "a/b")] == [0, 0]


def test_a_file_that_is_no_database_is_found_out_before_mlflow_tries_for_an_hour(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database" * 500)

    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        make_once(tmp_path / "x.db", table)


def test_a_folder_mounted_for_reading_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_once(tmp_path / "x.db", table)
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)

    with pytest.raises(InfrastructureError, match="read-only"):
        make_once(tmp_path / "x.db", table)
