from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import tarfile
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from click.testing import CliRunner

from deploy import commands
from deploy.retention.backups import MANIFEST, backup, restore
from tasks.base.errors import ConfigError, InfrastructureError, UsageError
from tasks.base.servers.stack_file import LOCK
from tasks.base.training_records import SetAside
from tasks.data.files import object_stores
from tasks.scoring.quarantine_listing import Kept, all_kept
from tests.tables import write_pipeline


def make_state(folder: Path) -> Path:
    state = folder / "state"
    work = state / "pipelines" / "flights"
    for name in ("mlflow/artifacts/flights/m-1/model.skops", "ledger.lock", "prefect/server.log"):
        write(state / name)
    for name in ("reports/a.html", "trainings/a.json", "contract.yaml", "fits/x/model.skops"):
        write(work / name)
    address = (state / "mlflow" / "artifacts").as_uri()
    with closing(database(state / "mlflow" / "mlflow.db")) as db, db:
        db.execute("CREATE TABLE runs (run_uuid TEXT, artifact_uri TEXT)")
        db.execute("INSERT INTO runs VALUES ('a', ?)", (f"{address}/flights/a",))
        db.execute("INSERT INTO runs VALUES ('b', 's3://bucket/b')")
    with closing(database(state / "ledger.db")) as db, db:
        db.execute("CREATE TABLE pairs (a INTEGER, b INTEGER)")
    return state


def database(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=30)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"content of {path.name}")


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def test_a_state_folder_that_was_moved_is_mended_by_backup_and_restore(tmp_path: Path) -> None:
    moved = make_state(tmp_path / "here").rename(tmp_path / "there")

    backup(moved, tmp_path / "moved.tar.gz")
    restore(tmp_path / "moved.tar.gz", moved, force=True)

    found = rows(moved / "mlflow" / "mlflow.db", "SELECT artifact_uri FROM runs")
    assert found == [(f"{(moved / 'mlflow/artifacts').as_uri()}/flights/a",), ("s3://bucket/b",)]


def test_a_backup_may_be_an_object_in_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store" / "safe").mkdir(parents=True)
    store = pafs.SubTreeFileSystem(str(tmp_path / "store"), pafs.LocalFileSystem())
    monkeypatch.setattr(object_stores, "_amazon", lambda: store)
    made = backup(make_state(tmp_path), "s3://safe/b.tar.gz")
    assert restore("s3://safe/b.tar.gz", tmp_path / "other").files == made.files
    with pytest.raises(ConfigError, match="there already"):
        backup(tmp_path / "state", "s3://safe/b.tar.gz")


def test_what_was_backed_up_comes_back_and_names_its_new_place(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    made = backup(state, tmp_path / "b.tar.gz")
    other = tmp_path / "elsewhere" / "state"

    restored = restore(tmp_path / "b.tar.gz", other)

    assert restored.files == made.files
    assert restored.kept == ""
    assert (other / "mlflow/artifacts/flights/m-1/model.skops").read_text() == (
        "content of model.skops"
    )
    assert (other / "pipelines/flights/contract.yaml").exists()
    assert not (other / "pipelines/flights/fits").exists()
    assert rows(other / "mlflow/mlflow.db", "SELECT artifact_uri FROM runs ORDER BY 1") == [
        ((other / "mlflow/artifacts").as_uri() + "/flights/a",),
        ("s3://bucket/b",),
    ]
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    assert other.stat().st_mode & 0o777 == 0o700


def test_rows_that_wait_come_back_and_are_found_in_their_new_place(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    work = state / "pipelines" / "flights"
    file = work / "quarantine" / "ab.parquet"
    for path in (file, work / "serving" / "spool" / "1-1.spool"):
        write(path)
    aside = SetAside(
        rows=1,
        of=9,
        whole=False,
        file=str(file),
        digest="d",
        contract_digest="c",
    )
    kept = Kept(aside=aside, contract_digest="c", at=datetime(2026, 1, 1, tzinfo=UTC))
    file.with_suffix(".json").write_text(kept.model_dump_json())
    backup(state, tmp_path / "b.tar.gz")
    other = tmp_path / "elsewhere" / "state"
    restore(tmp_path / "b.tar.gz", other)

    (found,) = all_kept(other / "pipelines" / "flights" / "quarantine")

    assert Path(found.aside.file).is_file()
    assert (other / "pipelines/flights/serving/spool/1-1.spool").is_file()


def test_a_backup_made_while_rows_are_written_is_consistent(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    stop = threading.Event()
    failed: list[BaseException] = []

    def keep_writing() -> None:
        try:
            with closing(database(state / "ledger.db")) as db:
                number = 0
                while not stop.is_set():
                    number += 1
                    with db:
                        db.execute("INSERT INTO pairs VALUES (?, 0)", (number,))
                        db.execute("UPDATE pairs SET b = a WHERE a = ?", (number,))
        except sqlite3.Error as error:
            failed.append(error)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for number in range(5):
            backup(state, tmp_path / f"{number}.tar.gz")
    finally:
        stop.set()
        writer.join()

    assert failed == []
    for number in range(5):
        restore(tmp_path / f"{number}.tar.gz", tmp_path / "again", force=True)
        assert rows(tmp_path / "again/ledger.db", "PRAGMA integrity_check") == [("ok",)]
        assert rows(tmp_path / "again/ledger.db", "SELECT * FROM pairs WHERE a <> b") == []


def test_a_state_that_is_there_is_replaced_only_by_force_and_kept_each_time(
    tmp_path: Path,
) -> None:
    state = make_state(tmp_path)
    backup(state, tmp_path / "b.tar.gz")
    write(state / "pipelines/flights/reports/later.html")

    with pytest.raises(UsageError) as refused:
        restore(tmp_path / "b.tar.gz", state)
    assert "--force" in refused.value.remedy
    assert (state / "pipelines/flights/reports/later.html").exists()

    first = restore(tmp_path / "b.tar.gz", state, force=True)
    second = restore(tmp_path / "b.tar.gz", state, force=True)

    assert not (state / "pipelines/flights/reports/later.html").exists()
    assert (Path(first.kept) / "pipelines/flights/reports/later.html").exists()
    assert Path(second.kept) != Path(first.kept)
    assert (Path(second.kept) / "ledger.db").exists()


def test_a_folder_with_nothing_but_locks_and_logs_needs_no_force(tmp_path: Path) -> None:
    backup(make_state(tmp_path), tmp_path / "b.tar.gz")
    new = tmp_path / "new"
    write(new / "stack.lock")
    write(new / "logs" / "mlflow.log")

    restore(tmp_path / "b.tar.gz", new)

    assert (new / "ledger.db").exists()


@pytest.mark.parametrize("order", [("b.tar.gz", "mine"), ("mine", "b.tar.gz")])
def test_the_commands_take_a_pipeline_beside_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[str, str]
) -> None:
    state = make_state(tmp_path)
    write_pipeline(tmp_path / "mine", tmp_path / "c.csv", f"state: {state}\n")
    monkeypatch.chdir(tmp_path)

    made = CliRunner().invoke(commands.backup, [*order, "--json"])
    refused = CliRunner().invoke(commands.restore, [*order, "--json"])
    replaced = CliRunner().invoke(commands.restore, [*order, "--force", "--json"])

    assert (made.exit_code, refused.exit_code, replaced.exit_code) == (0, 2, 0)
    assert "--force" in json.loads(refused.output)["error"]["remedy"]
    assert json.loads(replaced.output)["kept"] == str(tmp_path / "state.before-restore")


def test_a_pipeline_without_an_archive_is_answered_with_what_is_missing(tmp_path: Path) -> None:
    write_pipeline(tmp_path, tmp_path / "c.csv")

    found = CliRunner().invoke(commands.backup, [str(tmp_path), "--json"])

    assert found.exit_code == 2
    assert "backup.tar.gz" in json.loads(found.output)["error"]["remedy"]


def test_nothing_is_restored_under_a_running_stack(tmp_path: Path) -> None:
    import fcntl

    state = make_state(tmp_path)
    backup(state, tmp_path / "b.tar.gz")
    write(state / "pipelines/flights/reports/later.html")

    with (state / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="A stack runs"):
            restore(tmp_path / "b.tar.gz", state, force=True)

    assert (state / "pipelines/flights/reports/later.html").exists()


def entries(source: Path) -> dict[str, bytes]:
    with tarfile.open(source) as archive:
        found = {}
        for entry in archive:
            reader = archive.extractfile(entry)
            assert reader is not None
            found[entry.name] = reader.read()
        return found


def pack(target: Path, files: dict[str, bytes], *, link: str = "", time: int = 0) -> Path:
    with tarfile.open(target, "w:gz") as archive:
        if link:
            entry = tarfile.TarInfo("mlflow/artifacts/link")
            entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), time
            archive.addfile(entry, io.BytesIO(content))
    return target


@pytest.mark.parametrize(
    "damage",
    ["changed", "missing", "added", "outside", "link", "cut", "none", "stack.key",
     "pipelines/flights/accepted.yaml", "pipelines/flights/fits/a/model.skops"],
)  # fmt: skip
def test_a_backup_that_is_not_as_it_was_written_changes_nothing(
    tmp_path: Path, damage: str
) -> None:
    state = make_state(tmp_path)
    whole = tmp_path / "b.tar.gz"
    backup(state, whole)
    files = entries(whole)
    bad = tmp_path / "bad.tar.gz"
    link = ""
    if damage == "changed":
        files["pipelines/flights/contract.yaml"] = b"other"
    elif damage == "missing":
        del files["ledger.db"]
    elif damage == "added":
        files["pipelines/flights/reports/more.html"] = b"more"
    elif damage == "outside":
        files["../escaped.html"] = b"more"
    elif damage == "link":
        link = "/etc/passwd"
    elif damage == "none":
        del files[MANIFEST]
    elif "." in damage:
        # What whoever writes backups would like to bring along.
        files[damage] = b"theirs"
        stated = json.loads(files[MANIFEST])
        stated["files"][damage] = hashlib.sha256(b"theirs").hexdigest()
        files[MANIFEST] = json.dumps(stated).encode()
    pack(bad, files, link=link)
    if damage == "cut":
        bad.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    before = sorted(p.name for p in state.rglob("*"))

    with pytest.raises(UsageError, match="no whole backup"):
        restore(bad, state, force=True)

    assert sorted(p.name for p in state.rglob("*") if p.name != LOCK) == before
    assert not (tmp_path / "escaped.html").exists()
    assert not list(tmp_path.glob(".state.restore-*"))


def test_a_backup_of_damaged_bytes_or_an_impossible_time_is_named(tmp_path: Path) -> None:
    files = {"ledger.db": b"".join(b"%d," % n**2 for n in range(40_000))}
    late = pack(tmp_path / "late.tar.gz", files, time=10**30)
    damaged = pack(tmp_path / "damaged.tar.gz", files)
    content = bytearray(damaged.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = b"\xff" * 40
    damaged.write_bytes(content)

    for bad in (late, damaged):
        with pytest.raises(UsageError, match="no whole backup"):
            restore(bad, tmp_path / "state")


def test_a_backup_never_overwrites_one(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    target = tmp_path / "b.tar.gz"
    target.write_text("mine")

    with pytest.raises(UsageError, match="there already"):
        backup(state, target)
    with pytest.raises(UsageError, match="state folder itself"):
        backup(state, state / "b.tar.gz")
    with pytest.raises(UsageError, match="no state folder"):
        backup(tmp_path / "absent", tmp_path / "c.tar.gz")

    assert target.read_text() == "mine"


def test_a_database_that_cannot_be_read_is_named_not_the_backup(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    (state / "ledger.db").write_bytes(b"no database" * 100)

    with pytest.raises(InfrastructureError, match=f"{state}: a database of it"):
        backup(state, tmp_path / "b.tar")

    assert not list(tmp_path.glob("*b.tar*"))
