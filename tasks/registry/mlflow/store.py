"""The MLflow store: the only module that imports mlflow, and only when a store is first used.

Everything goes by id through one client; there is no active run and no global address, so
threads and several stores of one process do not meet.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations.engine.lazy_imports import uncollected
from tasks.base.errors import KeepfitError, TransientError
from tasks.base.runtime.environment import turn_telemetry_off
from tasks.base.runtime.locks import locked
from tasks.base.runtime.process_identity import has_ended
from tasks.base.text.redaction import without_credentials
from tasks.registry.mlflow import sqlite_database, store_errors
from tasks.registry.mlflow.deletion import Collecting
from tasks.registry.mlflow.runs import Runs
from tasks.registry.mlflow.sqlite_reader import reader_of
from tasks.registry.mlflow.versions import Versions

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_ENVIRONMENT = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # Standard output holds only keepfit's results.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Once the store is open, a server that is away for half a minute goes unnoticed.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}


class Store(Runs, Versions, Collecting):
    """One MLflow tracking store and its registry.

    `uri`: address of an MLflow server or of a database; `artifacts`: None where the server decides;
    `state`: folder for the journal of promotions and for downloaded models; `ledger`: address of
    the PostgreSQL database whose lock guards the champions; empty where the ledger is a file of
    this host: then the store's own database has it, if it is PostgreSQL.
    """

    def __init__(self, uri: str, artifacts: Path | None, state: Path, ledger: str = "") -> None:
        self.uri = uri
        self.ledger = ledger
        self.artifacts = artifacts
        self.state = state
        self._experiments = {}
        self._lock = threading.RLock()
        self._opened: MlflowClient | None = None

    @classmethod
    def open(cls, state: Path, ledger: str = "") -> Store:
        """Return the store that ``MLFLOW_TRACKING_URI`` names, else the one in `state`."""
        # Nothing heavy is imported and nothing connected before the first use; `warm_up` does both.
        folder = sqlite_database.private_folder(state)
        uri = sqlite_database.tracking_address(folder)
        return cls(uri, sqlite_database.artifacts_folder(folder, uri), folder, ledger)

    @property
    def address(self) -> str:
        """The address without credentials."""
        return without_credentials(self.uri)

    @store_errors.guarded
    def prepare(self) -> None:
        """Make or migrate the database, and look at nothing in it."""
        self._connect()

    @store_errors.guarded
    def warm_up(self) -> None:
        """Import MLflow, connect, and finish what an interrupted promotion left."""
        self._client()

    @store_errors.guarded
    def close_leftovers(self) -> tuple[str, ...]:
        """Mark runs and versions that ended processes left; return the marked ones."""
        return (*self.close_dead_runs(), *self.mark_unfinished())

    def reap(self) -> None:
        """Close what ended processes left in a local database; nothing is connected for nothing."""
        reader = reader_of(self.uri, self.state)
        with contextlib.suppress(sqlite3.Error):
            if reader is not None and any(map(has_ended, reader.runners())):
                self.close_leftovers()

    def _client(self) -> MlflowClient:
        with self._lock:
            if self._opened is None:
                with uncollected():
                    self._opened = self._connect()
                self.recover()
                self.reap()
                if sqlite_database.sqlite_path(self.uri) is None:
                    # A server is contacted once a process; its refusal is no reason to fail.
                    with contextlib.suppress(KeepfitError):
                        self.close_dead_runs()
            return self._opened

    @property
    def _entities(self) -> Any:
        self._client()
        from mlflow import entities  # defers mlflow

        return entities

    def _download(self, address: str, folder: Path) -> None:
        from mlflow.artifacts import download_artifacts  # defers mlflow

        download_artifacts(
            artifact_uri=address, dst_path=str(folder), tracking_uri=self.uri, registry_uri=self.uri
        )

    def _delete_artifacts(self, address: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import (
            get_artifact_repository,
        )  # defers mlflow

        repository = get_artifact_repository(address, tracking_uri=self.uri)
        repository.delete_artifacts()  # type: ignore[no-untyped-call]

    def _remove_run(self, run_id: str) -> None:
        store: Any = self._client()._tracking_client.store
        if hasattr(store, "_hard_delete_run"):
            sqlite_database.remove_inputs(store.engine, run_id)
            store._hard_delete_run(run_id)
        else:
            self._client().delete_run(run_id)

    def _remove_model(self, model_id: str) -> None:
        store: Any = self._client()._tracking_client.store
        if hasattr(store, "_hard_delete_logged_model"):
            store._hard_delete_logged_model(model_id)
        else:
            self._client().delete_logged_model(model_id)

    def _connect(self) -> MlflowClient:
        turn_telemetry_off()
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        # Of a kernel without widgets, when the progress bars are imported that nobody is shown.
        warnings.filterwarnings("ignore", "IProgress not found")
        from mlflow.tracking import MlflowClient  # defers mlflow

        if os.environ["MLFLOW_LOGGING_LEVEL"] == "WARNING":
            # It may have been imported before, with its own idea.
            logging.getLogger("mlflow").setLevel(logging.WARNING)
        # It logs a traceback before it raises; keepfit reports the error once.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        if self.artifacts is None:
            self._probe()
        else:
            sqlite_database.private_folder(self.artifacts)
            self._prepare_database(self.artifacts)
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _probe(self) -> None:
        from mlflow.exceptions import MlflowException  # defers mlflow
        from mlflow.utils.credentials import get_default_host_creds  # defers mlflow
        from mlflow.utils.rest_utils import http_request  # defers mlflow

        try:
            http_request(  # type: ignore[no-untyped-call]
                get_default_host_creds(self.uri),  # type: ignore[no-untyped-call]
                "/health",
                "GET",
                max_retries=0,
                timeout=5,
                raise_on_status=False,
            )
        except (MlflowException, OSError):
            raise TransientError(
                f"No MLflow server answers at {self.address}.",
                "Start it, or unset MLFLOW_TRACKING_URI to use the store in the state folder.",
            ) from None

    def _prepare_database(self, artifacts: Path) -> None:
        path = sqlite_database.sqlite_path(self.uri)
        if path is not None:
            sqlite_database.make_once(path, lambda address: _create(address, artifacts))
            # MLflow commits dozens of times in a training and would wait for the disk each time.
            sqlite_database.wait_less(path, "NORMAL")
            return
        sqlite_database.reachable(self.uri)
        with locked(self.state / "database.lock", seconds=120):
            _create(self.uri, artifacts)


def _create(address: str, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # defers mlflow

    # Without it the default experiment would keep artifacts in the working folder.
    made = SqlAlchemyStore(address, (artifacts / "default").as_uri())  # type: ignore[no-untyped-call]
    made.engine.dispose()
