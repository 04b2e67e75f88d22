from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.base.errors import ConfigError, InfrastructureError, TransientError
from tasks.base.pipeline_file import load_pipeline
from tasks.ledger.ledger import Ledger, ledger_of
from tasks.ledger.storage.database import Database, address_of
from tasks.ledger.storage.tables import VERSION
from tests.postgres import Server
from tests.unit.ledger.made import NAME, Forked, decision, opened, predictions, schema

# Made once


def test_the_file_is_its_owners_alone_and_has_a_write_ahead_log(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        opened(tmp_path / "a" / "b").record(decision())
    finally:
        os.umask(before)
    file = tmp_path / "a" / "b" / "ledger.db"
    assert {stat.S_IMODE(f.stat().st_mode) for f in file.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.with_name("ledger.db-wal").exists()


def test_a_pipeline_without_an_address_has_its_ledger_in_the_state_folder(tmp_path: Path) -> None:
    file = tmp_path / "keepfit.yaml"
    head = f"name: {NAME}\ntarget: y\nsource: {{kind: parquet, path: x.parquet}}\nstate: s\n"
    file.write_text(head)
    ledger_of(load_pipeline(file, {})).record(decision())
    assert (tmp_path / "s" / "ledger.db").is_file()
    file.write_text(f"{head}ledger: {{url: 'sqlite:///own.db'}}\n")
    assert ledger_of(load_pipeline(file, {})).decisions() == ()
    assert (tmp_path / "own.db").is_file()
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match=f"{tmp_path} .* 0777"):
        ledger_of(load_pipeline(file, {}))


def test_a_damaged_ledger_is_mended_by_a_backup_not_by_permissions(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database" * 1000)
    with pytest.raises(InfrastructureError, match="not a database") as caught:
        opened(tmp_path).decisions()
    assert "backup" in caught.value.remedy


@pytest.mark.postgres
def test_a_pipelines_address_and_secret_come_from_the_environment(
    postgres_url: str, postgres_server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "keepfit.yaml"
    file.write_text(
        f"name: {NAME}\ntarget: y\nsource: {{kind: parquet, path: x.parquet}}\n"
        "ledger: {url: '${LEDGER}'}\n"
    )
    plain = postgres_url.replace("postgresql+psycopg", "postgresql")
    ledger = ledger_of(load_pipeline(file, {"LEDGER": plain}))
    ledger.record(decision(sentence=f"at {plain}"))
    assert ledger.decisions()[0].sentence == "at ***"
    assert postgres_server.password not in f"{ledger!r}{ledger.place}"
    assert not (tmp_path / ".keepfit" / "ledger.db").exists()
    ledger.engine.dispose()


def test_eight_processes_that_start_at_once_make_one_ledger(
    url: str | None, tmp_path: Path
) -> None:
    state = tmp_path / "new"
    started = [
        Forked(lambda n=n: opened(state, url).record(decision(n)))  # type: ignore[misc]
        for n in range(8)
    ]
    assert [one.answer() for one in started] == ["True"] * 8
    ledger = opened(state, url)
    assert len(ledger.decisions()) == 8
    with ledger.reading() as connection:
        versions = connection.execute(sa.text("SELECT version FROM keepfit_ledger_schema"))
        assert versions.scalars().all() == [VERSION]
    ledger.engine.dispose()


@pytest.mark.parametrize("moment", ["before", "halfway", "before_commit"])
def test_a_process_killed_while_it_makes_the_tables_leaves_none(
    moment: str, url: str | None, tmp_path: Path
) -> None:
    assert Forked(lambda: opened(tmp_path, url), f"ledger.migration.{moment}").killed()
    ledger = opened(tmp_path, url)
    assert ledger.record(decision())
    ledger.engine.dispose()


def test_a_ledger_of_a_newer_keepfit_is_left_alone(ledger: Ledger) -> None:
    with ledger.writing("test") as connection:
        connection.execute(sa.text("INSERT INTO keepfit_ledger_schema VALUES (99)"))
    with pytest.raises(InfrastructureError, match=f"version 99; this keepfit supports {VERSION}"):
        ledger.prepare()


def test_a_ledger_whose_folder_was_removed_is_made_anew(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ledger.record(decision())
    ledger.engine.dispose()
    for file in tmp_path.iterdir():
        file.unlink()
    again = opened(tmp_path)
    assert again.decisions() == ()
    assert again.record(decision())


def test_a_forked_process_opens_its_own_connections(ledger: Ledger) -> None:
    ledger.record(decision(0))
    child = Forked(lambda: (ledger.record(decision(1)), len(ledger.decisions())))
    assert child.answer() == "(True, 2)"
    assert ledger.record(decision(2))
    assert len(ledger.decisions()) == 3


# Locked, full, damaged, away


@contextmanager
def locking(file: Path, seconds: float) -> Iterator[None]:
    """Hold the write lock of a SQLite file for so long, as another process would."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        held.set()
        done.wait(seconds)
        connection.execute("COMMIT")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("seconds", [1.5, pytest.param(25, marks=pytest.mark.slow)])
def test_a_lock_that_passes_goes_unnoticed(seconds: float, tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    with locking(tmp_path / "ledger.db", seconds):
        assert ledger.decisions() == ()  # readers are not locked out
        assert ledger.record(decision())
    assert len(ledger.decisions()) == 1


def test_a_lock_that_stays_is_transient_and_nothing_is_lost(tmp_path: Path) -> None:
    ledger = opened(tmp_path, patience=0.3)
    with locking(tmp_path / "ledger.db", 60):
        with pytest.raises(TransientError, match="locked"):
            write(ledger)
        with pytest.raises(TransientError):
            ledger.claim(NAME, "k", "c")
    assert write(ledger) == 4
    assert ledger.claim(NAME, "k", "c")


@pytest.mark.postgres
def test_a_lock_of_postgresql_that_stays_is_transient(postgres_url: str, tmp_path: Path) -> None:
    ledger = opened(tmp_path, postgres_url, patience=0.3)
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE keepfit_claims"))
        with pytest.raises(TransientError, match="lock timeout"):
            ledger.claim(NAME, "k", "c")
    engine.dispose()
    assert ledger.claim(NAME, "k", "c")
    ledger.engine.dispose()


def write(ledger: Ledger, n: int = 4) -> int:
    return ledger.write_predictions(
        NAME, predictions(n), schema(), version="1", run_id="r", batch="b"
    ).new


def test_a_full_disk_is_said_and_nothing_is_half_written(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    write(ledger)
    full = [True]

    def limit(connection: sqlite3.Connection, _: object) -> None:
        if full[0]:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={pages}")

    ledger.engine.dispose()
    sa.event.listen(ledger.engine, "connect", limit)
    with pytest.raises(InfrastructureError, match="is full") as caught:
        write(ledger, 5000)
    assert not isinstance(caught.value, TransientError)
    assert "Free space" in caught.value.remedy
    full[0] = False
    ledger.engine.dispose()
    assert ledger.coverage(NAME, None).rows == 4
    assert write(ledger, 5000) == 4996


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"something else" * 100)
    with pytest.raises(InfrastructureError, match="not a database"):
        opened(tmp_path)


@pytest.mark.postgres
def test_a_wrong_password_is_said_without_it(postgres_server: Server, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="authentication") as caught:
        opened(tmp_path, postgres_server.url(password="s3cret-pass"))
    assert not isinstance(caught.value, TransientError)
    assert "s3cret-pass" not in str(caught.value)


def test_a_server_that_does_not_answer_is_transient(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(TransientError) as caught:
        opened(tmp_path, "postgresql+psycopg://me:s3cret@127.0.0.1:1/db")
    assert "s3cret" not in str(caught.value)
    assert "//127.0.0.1:1/db" in str(caught.value)


@pytest.mark.postgres
def test_a_connection_that_was_cut_is_made_anew(postgres_url: str, tmp_path: Path) -> None:
    ledger = opened(tmp_path, postgres_url)
    ledger.record(decision(0))
    engine = sa.create_engine(postgres_url)
    with engine.connect() as connection:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
        connection.execute(sa.text(cut)).all()
    engine.dispose()
    assert ledger.record(decision(1))
    ledger.engine.dispose()


# Addresses


@pytest.mark.parametrize(
    "url",
    ["nonsense", "sqlite://", "sqlite:///:memory:", "mysql://me:s3cret@h/d", "x+y://me:s3cret@h"],
)
def test_what_cannot_hold_a_ledger_is_refused_without_its_secret(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`ledger\.url`") as caught:
        address_of(url, tmp_path, tmp_path)
    assert "s3cret" not in str(caught.value)


def test_a_folder_of_any_name_holds_a_ledger(tmp_path: Path) -> None:
    odd = tmp_path / "a ?b#c%20ü'"
    assert opened(odd).record(decision())
    assert (odd / "ledger.db").is_file()
    assert Database(address_of("sqlite:///x.db", odd, odd), odd).file == odd / "x.db"
