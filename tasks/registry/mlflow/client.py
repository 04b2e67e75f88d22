"""The client shared by the parts of a store; everything is addressed by id."""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tasks.registry.mlflow import limits
from tasks.registry.mlflow.sqlite_reader import SqliteReader, reader_of

_T = TypeVar("_T")


class Connected(ABC):
    """A connection that opens itself at its first use."""

    uri: str
    artifacts: Path | None
    state: Path
    ledger: str

    @abstractmethod
    def _client(self) -> Any:
        """Return MLflow's client, connected."""

    @property
    @abstractmethod
    def _entities(self) -> Any:
        """Return the module `mlflow.entities`."""

    @abstractmethod
    def _download(self, address: str, folder: Path) -> None:
        """Fetch one stored file into `folder`."""

    def _read(self, read: Callable[[SqliteReader], _T], ask: Callable[[Any], _T]) -> _T:
        """Return what `read` finds in a local database at rest; else MLflow's response."""
        reader = reader_of(self.uri, self.state)
        if reader is not None:
            with contextlib.suppress(sqlite3.Error):
                return read(reader)
        return ask(self._client())

    def _write(self, run_id: str, metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
        """Write in as few transactions as MLflow's limits per call allow."""
        client = self._client()
        while metrics or params or tags:
            client.log_batch(run_id, metrics=metrics[:800], params=params[:100], tags=tags[:100])
            metrics, params, tags = metrics[800:], params[100:], tags[100:]

    def _points(
        self,
        points: list[tuple[str, int, float]],
        moment: int,
        model_id: str | None = None,
        dataset: tuple[str, str] | None = None,
    ) -> list[Any]:
        """Return MLflow's metrics of (name, step, value) at `moment`, ms since 1970."""
        on, digest = dataset or (None, None)
        stored = limits.stored_names(dict.fromkeys(name for name, _, _ in points))
        metric = self._entities.Metric
        return [
            metric(
                stored[name],
                value,
                moment,
                step,
                model_id=model_id,
                dataset_name=on,
                dataset_digest=digest,
            )
            for name, step, value in points
        ]

    def _scratch(self) -> str | None:
        """Return a folder on the artifacts' own file system, where files can be linked."""
        return None if self.artifacts is None else str(self.artifacts.parent)


def quoted(value: str) -> str:
    """Return `value` as a text of MLflow's search language.

    >>> print(quoted("flights"), quoted("it's"))
    'flights' "it's"
    """
    if "'" not in value:
        return f"'{value}'"
    if '"' not in value:
        return f'"{value}"'
    raise ValueError(f"a text to search for cannot hold both kinds of quotes; got {value!r}")
