"""The local registry as it is read directly, beside what MLflow answers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tasks.registry.mlflow.catalog import ALIAS, recorded
from tasks.registry.mlflow.sqlite_database import sqlite_address
from tasks.registry.mlflow.sqlite_reader import PROMOTIONS, SqliteReader, reader_of
from tasks.registry.mlflow.store import Store

NAME = "it's"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store with versions 1, 2 and 4 of two models; the first one's champion is 2."""
    store = Store.open(tmp_path_factory.mktemp("state"))
    client = store._client()
    for name in (NAME, "other"):
        client.create_registered_model(name)
        for number in range(1, 5):
            client.create_model_version(
                name,
                source=f"file:///models/{name}/{number}",
                run_id="0" * 32 if number > 1 else None,
                tags={"a": f"{number}", "a:2": "é", "empty": ""},
                description="läuft\n" * (number - 1),
            )
        client.delete_model_version(name, "3")
    client.set_registered_model_alias(NAME, ALIAS, "2")
    client.set_registered_model_alias(NAME, "before", "2")
    store.experiment("kept")
    client.delete_experiment(store.experiment("gone"))
    return store


@pytest.fixture
def reader(store: Store) -> SqliteReader:
    found = reader_of(store.uri, store.state)
    assert found is not None
    return found


@pytest.mark.parametrize("number", ["1", "2", "3", "4", "5", "none", "1x", "9" * 20])
def test_a_version_is_what_mlflow_says(store: Store, reader: SqliteReader, number: str) -> None:
    from mlflow.exceptions import MlflowException

    found = reader.version(NAME, number)
    try:
        answer = recorded(store._client().get_model_version(NAME, number))
    except MlflowException:
        assert found is None
        return
    assert found == answer.model_copy(update={"aliases": found.aliases})
    assert set(found.aliases) == set(answer.aliases)
    assert reader.source(found) == store._client().get_model_version_download_uri(NAME, number)


def test_the_champion_is_the_version_with_the_alias(store: Store, reader: SqliteReader) -> None:
    champion = reader.champion(NAME, ALIAS)

    assert champion == reader.version(NAME, "2")
    assert champion == store.pointed(NAME)
    assert reader.champion("other", ALIAS) is None
    assert reader.champion("absent", ALIAS) is None


def test_versions_come_newest_first_without_deleted_ones(
    store: Store, reader: SqliteReader
) -> None:
    assert [v.version for v in reader.versions(NAME)] == ["4", "2", "1"]
    searched = store._client().search_model_versions("name = 'other'")
    assert sorted(reader.versions("other"), key=lambda v: v.version) == sorted(
        (recorded(version) for version in searched), key=lambda v: v.version
    )


def test_only_active_experiments_are_found(store: Store, reader: SqliteReader) -> None:
    assert reader.experiment("kept") == store.experiment("kept")
    assert reader.experiment("gone") is None
    assert reader.experiment("absent") is None


def test_what_is_not_at_rest_or_no_local_database_is_left_to_mlflow(
    store: Store, tmp_path: Path
) -> None:
    assert reader_of("http://127.0.0.1:5000", store.state) is None
    assert reader_of(sqlite_address(tmp_path / "absent.db"), tmp_path) is None
    assert not (tmp_path / "absent.db").exists()
    journal = store.state / PROMOTIONS / "churn.journal"
    journal.parent.mkdir(exist_ok=True)
    journal.touch()
    assert reader_of(store.uri, store.state) is None
    journal.unlink()
    assert reader_of(store.uri, store.state) is not None


def test_a_database_of_another_shape_is_left_to_mlflow(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "m.db")) as connection:
        connection.execute("CREATE TABLE registered_model_aliases (name TEXT, version INTEGER)")
    reader = reader_of(sqlite_address(tmp_path / "m.db"), tmp_path)

    assert reader is not None
    with pytest.raises(sqlite3.Error):
        reader.champion(NAME, ALIAS)
