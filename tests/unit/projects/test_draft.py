"""`keepfit init`: what it writes, and who may read it."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tasks.base.errors import ConfigError, UsageError
from tasks.base.pipeline_file import load_pipeline
from tasks.base.settings.yaml_document import parse_yaml
from tasks.projects.database_source import _placed, database_source
from tasks.projects.draft import Request, draft_project
from tests.tables import write_churn


@pytest.fixture
def loose_umask() -> object:
    before = os.umask(0o022)
    yield
    os.umask(before)


def draft(folder: Path, **options: object) -> object:
    data = options.pop("data", None) or write_churn(folder / "churn.csv")
    return draft_project(
        Request(folder=folder / "mine", data=data, target="Churned?", **options)  # type: ignore[arg-type]
    )


@pytest.mark.usefixtures("loose_umask")
def test_only_the_owner_may_read_the_state_folder(tmp_path: Path) -> None:
    draft(tmp_path)
    assert (tmp_path / "mine" / ".keepfit").stat().st_mode & 0o777 == 0o700


def test_an_id_of_several_rows_is_said_by_init_already(tmp_path: Path) -> None:
    data = tmp_path / "visits.csv"
    rows = [f"c{i % 20},2026-01-{i + 1:02d},{i % 7}.5,{i % 2}" for i in range(28)]
    data.write_text("\n".join(["customer,day,fee,y", *rows]), encoding="utf-8")

    def said(**more: object) -> list[str]:
        drafted = draft_project(
            Request(tmp_path / f"p{len(more)}", data, "y", id_columns=("customer",), **more)  # type: ignore[arg-type]
        )
        return [text for text in drafted.assumptions if text.startswith("id_columns")]

    (plain,), (timed,) = said(), said(time_column="day")
    assert "8 rows" in plain
    assert "'day'" in timed


def orders(folder: Path) -> None:
    """Write a SQLite database with one table of forty rows."""
    with closing(sqlite3.connect(folder / "sales.db")) as database:
        database.execute("create table orders (id integer, x real, late text)")
        rows = [(7 * i % 41, i % 5 + 0.5, "yes" if i % 3 else "no") for i in range(40)]
        database.executemany("insert into orders values (?, ?, ?)", rows)
        database.commit()


@pytest.mark.parametrize("rows", [{"table": "orders"}, {"query": "select * from orders"}])
def test_a_database_is_drafted_with_its_path_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: dict[str, str]
) -> None:
    orders(tmp_path)
    monkeypatch.chdir(tmp_path)
    drafted = draft_project(
        Request(folder=Path("mine"), url="sqlite:///sales.db", target="late", **rows)
    )
    assert (drafted.rows, drafted.task) == (40, "binary")
    config = load_pipeline(Path("mine"), {}).config
    assert config.source.kind == "sql"
    assert config.source.url.get_secret_value() == "sqlite:///../sales.db"


def test_the_path_of_a_duckdb_file_starts_at_the_folder_too() -> None:
    assert _placed("duckdb:///sales.duckdb", Path("mine")) == "duckdb:///../sales.duckdb"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"url": "sqlite:///sales.db", "target": "late"}, "orders"),
        ({"url": "sqlite:///sales.db", "table": "orders"}, "id, x, late"),
        ({"url": "postgresql://me:s3cret@db:x/y", "table": "t", "target": "y"}, "port"),
        ({"data": Path("a.csv"), "table": "t", "target": "y"}, "--table"),
    ],
)
def test_what_a_database_lacks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: dict[str, str], said: str
) -> None:
    orders(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as refused:
        draft_project(Request(folder=Path("mine"), **request_))
    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert not Path("mine/keepfit.yaml").exists()


@pytest.mark.parametrize(
    ("url", "written", "variable", "secret"),
    [
        ("postgresql://me:s%40cret@db/x", "postgresql://me:${MINE_PASSWORD}@db/x",
         "MINE_PASSWORD", "s%40cret"),
        ("postgresql://me@db/x", "postgresql://me@db/x", "", ""),
        ("postgresql://me:${PW}@db/x", "postgresql://me:${PW}@db/x", "", ""),
        ("postgresql://me@db/x?sslpassword=s3", "${MINE_URL}", "MINE_URL",
         "postgresql://me@db/x?sslpassword=s3"),
        ("postgresql://me@${PW}/x?sslpassword=s3", "${MINE_URL}", "MINE_URL",
         "postgresql://me@other/x?sslpassword=s3"),
        ("postgresql://me@d/x?password=${PW}", "postgresql://me@d/x?password=${PW}", "", ""),
    ],
)  # fmt: skip
def test_a_password_becomes_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, written: str, variable: str,
    secret: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("PW", "other")
    found = database_source(url, tmp_path, "mine", table="t", query=None)
    assert (found.written, found.variable) == (written, variable)
    assert not variable or found.environ[variable] == secret
    assert secret == "" or secret not in repr(found)


@pytest.mark.parametrize("named", ["days/*.csv", "days"])
def test_a_pattern_or_folder_of_files_is_drafted_as_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    (tmp_path / "days").mkdir()
    write_churn(tmp_path / "days" / "1.csv")
    monkeypatch.chdir(tmp_path)
    draft_project(Request(folder=Path("mine"), data=Path(named), target="Churned?"))
    source = load_pipeline(Path("mine"), {}).config.source
    assert (source.kind, source.path) == ("csv", f"../{named}")


def test_editors_are_told_the_schema_that_lies_beside_the_file(tmp_path: Path) -> None:
    draft = draft_project(
        Request(folder=tmp_path / "mine", data=write_churn(tmp_path / "c.csv"), target="Churned?")
    )

    first = Path(draft.file).read_text(encoding="utf-8").splitlines()[0]
    described = Path(draft.file).parent / first.rpartition("$schema=")[2]
    values = parse_yaml(Path(draft.file).read_text(encoding="utf-8"), Path(draft.file)).values
    assert set(values) <= set(json.loads(described.read_text(encoding="utf-8"))["properties"])


def test_a_misspelt_target_names_no_line_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    request = Request(tmp_path / "mine", write_churn(tmp_path / "churn.csv"), "churned?")

    with pytest.raises(ConfigError) as error:
        draft_project(request)

    assert error.value.message.startswith("`target` names the column 'churned?'")
    assert "Did you mean 'Churned?'" in error.value.remedy


def test_labels_that_come_late_are_stated_as_a_delay(tmp_path: Path) -> None:
    data = tmp_path / "loans.csv"
    days = np.datetime64("2026-01-01") + np.arange(400)
    rows = [f"{day},{i % 7}.5,{i % 2 if i < 340 else ''}" for i, day in enumerate(days)]
    data.write_text("\n".join(["day,fee,y", *rows]), encoding="utf-8")
    drafted = draft_project(Request(tmp_path / "p", data, "y", time_column="day"))
    delay = load_pipeline(tmp_path / "p").config.monitoring.label_delay
    assert delay == timedelta(days=60)
    assert any("'y' becomes known 60 days after a row's time" in s for s in drafted.assumptions)
