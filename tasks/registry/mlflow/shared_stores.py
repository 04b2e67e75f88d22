"""One store per process and place; what only reads a local one imports no MLflow and no pandas."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.base.pipeline_file import Pipeline
from tasks.base.text.redaction import without_credentials
from tasks.base.training_records import ModelVersion
from tasks.ledger.ledger import shared_address
from tasks.registry.mlflow import sqlite_database
from tasks.registry.mlflow.catalog import ALIAS
from tasks.registry.mlflow.sqlite_reader import StoredChampions as StoredChampions
from tasks.registry.mlflow.sqlite_reader import reader_of
from tasks.registry.signing.version_check import check_stored
from tasks.registry.signing.version_signature import trusted

if TYPE_CHECKING:
    from tasks.registry.mlflow.store import Store


def store_of(pipeline: Pipeline) -> Store:
    """Return the store of the state folder, or of ``MLFLOW_TRACKING_URI`` where it is set."""
    # Its alias moves under a lock in the pipeline's ledger, where that is a PostgreSQL database.
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    return _store(pipeline.state, uri, shared_address(pipeline))


def shown_address(state: Path) -> str:
    """Return the address of the store of `state` without credentials."""
    return without_credentials(sqlite_database.tracking_address(state))


def read_directly(state: Path) -> bool:
    """Return whether the store of `state` is read without MLflow."""
    return reader_of(sqlite_database.tracking_address(state), state) is not None


def champion_if_any(pipeline: Pipeline) -> ModelVersion | None:
    """Return the champion; None where there is none, or no registry yet, which is not created."""
    found = pointed(pipeline)
    return None if found is None else trusted(found)


def pointed(pipeline: Pipeline) -> ModelVersion | None:
    """Return the champion, as it is stored."""
    uri = sqlite_database.tracking_address(pipeline.state)
    path = sqlite_database.sqlite_path(uri)
    if path is not None and not path.exists():
        return None
    name = pipeline.config.name
    if (reader := reader_of(uri, pipeline.state)) is not None:
        with contextlib.suppress(sqlite3.Error):
            return reader.champion(name, ALIAS)
    return store_of(pipeline).pointed(name)


def versions_of(pipeline: Pipeline) -> tuple[ModelVersion, ...]:
    """Return the registered versions, newest first, as they are stored."""
    uri = sqlite_database.tracking_address(pipeline.state)
    if (reader := reader_of(uri, pipeline.state)) is not None:
        with contextlib.suppress(sqlite3.Error):
            return reader.versions(pipeline.config.name)
    return store_of(pipeline).versions(pipeline.config.name)


def require_intact(pipeline: Pipeline, version: ModelVersion) -> None:
    """Compare a version's tags and files on this host with its signature, or refuse it."""
    uri = sqlite_database.tracking_address(pipeline.state)
    source = None
    if (reader := reader_of(uri, pipeline.state)) is not None:
        with contextlib.suppress(sqlite3.Error):
            source = reader.source(version)
    if source is None:
        store_of(pipeline).require_intact(version)
    else:
        check_stored(version, source, sqlite_database.artifacts_folder(pipeline.state, uri))


def stored_champions(state: Path) -> StoredChampions | None:
    """Return the champions of a local store by name; None where MLflow has to read them."""
    uri = sqlite_database.tracking_address(state)
    if (reader := reader_of(uri, state)) is not None:
        with contextlib.suppress(sqlite3.Error):
            return reader.champions(ALIAS)
    return None


def intact_champion(
    pipeline: Pipeline, stored: StoredChampions | None = None
) -> ModelVersion | None:
    """Return the champion, if any, compared with its signature; `stored` are many, read at once."""
    if stored is None:
        found, source = pointed(pipeline), ""
    else:
        found, source = stored.get(pipeline.config.name, (None, ""))
    champion = None if found is None else trusted(found)
    if champion is not None and source:
        uri = sqlite_database.tracking_address(pipeline.state)
        check_stored(champion, source, sqlite_database.artifacts_folder(pipeline.state, uri))
    elif champion is not None:
        require_intact(pipeline, champion)
    return champion


@lru_cache(maxsize=8)
def _store(state: Path, uri: str, ledger: str) -> Store:  # noqa: ARG001 - part of the key
    from tasks.registry.mlflow.store import Store  # defers numpy

    return Store.open(state, ledger)
