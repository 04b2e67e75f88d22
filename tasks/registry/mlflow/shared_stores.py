"""One store a process and place, so that its doors share the connection.

What only reads a local store imports neither MLflow nor pandas.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.base.pipeline_file import Pipeline
from tasks.base.records import ModelVersion
from tasks.registry.mlflow import sqlite_database, store_errors
from tasks.registry.mlflow.catalog import ALIAS
from tasks.registry.mlflow.sqlite_reader import reader_of

if TYPE_CHECKING:
    from tasks.registry.mlflow.store import Store


def store_of(state: Path) -> Store:
    """Return the store of `state`, or of ``MLFLOW_TRACKING_URI`` where it is set."""
    return _store(state, os.environ.get("MLFLOW_TRACKING_URI", ""))


def shown_address(state: Path) -> str:
    """Return the address of the store of `state` without credentials."""
    return store_errors.without_credentials(sqlite_database.tracking_address(state))


def read_directly(state: Path) -> bool:
    """Return whether the store of `state` is read without MLflow."""
    return reader_of(sqlite_database.tracking_address(state), state) is not None


def champion_if_any(pipeline: Pipeline) -> ModelVersion | None:
    """Return the champion; None where there is none, or no registry yet, which is not created."""
    uri = sqlite_database.tracking_address(pipeline.state)
    path = sqlite_database.sqlite_path(uri)
    if path is not None and not path.exists():
        return None
    name = pipeline.config.name
    if (reader := reader_of(uri, pipeline.state)) is not None:
        with contextlib.suppress(sqlite3.Error):
            return reader.champion(name, ALIAS)
    return store_of(pipeline.state).champion(name)


def versions_of(pipeline: Pipeline) -> tuple[ModelVersion, ...]:
    """Return the registered versions, newest first."""
    uri = sqlite_database.tracking_address(pipeline.state)
    if (reader := reader_of(uri, pipeline.state)) is not None:
        with contextlib.suppress(sqlite3.Error):
            return reader.versions(pipeline.config.name)
    return store_of(pipeline.state).versions(pipeline.config.name)


@lru_cache(maxsize=8)
def _store(state: Path, uri: str) -> Store:  # noqa: ARG001 - the address is part of the key
    from tasks.registry.mlflow.store import Store

    return Store.open(state)
