"""The ledger: what was predicted, what became of it, and what keepfit decided.

One SQL database for all pipelines of a state folder, SQLite in that folder or PostgreSQL. Every
write is one transaction, and written again it changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.base.loop import Decision, Window
from tasks.base.pipeline_file import Pipeline
from tasks.base.records import Schema
from tasks.base.runtime.libraries import pd
from tasks.ledger import coverage, decisions, idempotency_keys, outbox, retention, run_requests
from tasks.ledger.labels import write as write_labels
from tasks.ledger.outbox import Unsent
from tasks.ledger.predictions import in_batch, predicted_before, read, write
from tasks.ledger.records import (
    AnsweredCells,
    Coverage,
    LabelsWritten,
    Pruned,
    Role,
    Written,
)
from tasks.ledger.run_requests import RunRequest
from tasks.ledger.single_flight import flight
from tasks.ledger.storage import answered_cells
from tasks.ledger.storage.database import Database, address_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasks.ledger.predictions import Part


def ledger_of(pipeline: Pipeline, *, patience: float = 60.0) -> Ledger:
    """Return the ledger of `pipeline`: `ledger.url`, else ``ledger.db`` in its state folder.

    Its tables are made or migrated if need be, by one process while others wait.

    Parameters
    ----------
    patience
        Seconds for which a locked database is awaited.

    Raises
    ------
    ConfigError
        When `ledger.url` is no address, or one of another kind of database.
    TransientError
        When the database does not answer or stays locked.
    InfrastructureError
        When it refuses, or a newer keepfit wrote it.
    """
    url = pipeline.config.ledger.url
    stated = None if url is None else url.get_secret_value()
    database = Database(address_of(stated, pipeline.state, pipeline.base), patience)
    database.prepare()
    return Ledger(database, pipeline.state, pipeline.secrets)


@dataclass(frozen=True)
class Ledger:
    """Predictions, labels, decisions and claims of the pipelines of a state folder.

    Its methods raise TransientError when the database does not answer or stays locked, and
    InfrastructureError when it refuses or the disk is full; nothing is then half written.

    Attributes
    ----------
    state
        Folder of the locks that this host's processes share.
    secrets
        Values that never get into a decision.
    """

    database: Database
    state: Path
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def record(self, decision: Decision) -> bool:
        """Append a decision, without secrets; return False when its id is there already."""
        return decisions.record(self.database, decision, self.secrets)

    def decisions(
        self,
        pipeline: str | None = None,
        *,
        kinds: Collection[str] = (),
        correlation: str | None = None,
        version: str | None = None,
        since: datetime | None = None,
        most: int | None = None,
    ) -> tuple[Decision, ...]:
        """Return decisions, newest first.

        Parameters
        ----------
        pipeline, kinds, correlation, version
            Only those; None or nothing for all.
        since
            Only those made then or later.
        most
            At most so many.
        """
        return decisions.read(
            self.database,
            pipeline,
            kinds=kinds,
            correlation=correlation,
            version=version,
            since=since,
            most=most,
        )

    def write_predictions(
        self,
        pipeline: str,
        predictions: pd.DataFrame | Iterable[Part],
        schema: Schema,
        *,
        version: str,
        run_id: str,
        batch: str,
        role: Role = "champion",
        rows: pd.DataFrame | None = None,
        to_send: bool = False,
        answered: AnsweredCells | None = None,
    ) -> Written:
        """Write a batch of predictions in one transaction.

        The first prediction of a row stays: it is the one that was served. Of a shadow, each
        version's first one stays.

        Parameters
        ----------
        predictions
            As `tasks.scoring.predictions.score_frame` returns them; or part by part, each with its
            `rows`.
        batch
            Digest of the data that was scored.
        rows
            What was scored, row by row, with ids, time and features under their own names. It is
            needed where there are no id columns: a row is then known by what it holds.
        to_send
            Whether the sink gets what is new of it, see `unsent`.
        answered
            What rows answered over HTTP hold, which no source has.

        Raises
        ------
        DataError
            When a column is missing that rows are known by.
        """
        return write(
            self.database,
            pipeline,
            predictions,
            schema,
            version=version,
            run_id=run_id,
            batch=batch,
            role=role,
            rows=rows,
            to_send=to_send,
            answered=answered,
        )

    def answered(
        self, pipeline: str, window: Window | None, arrived: datetime | None = None
    ) -> tuple[AnsweredCells, ...]:
        """Return what the rows of a window hold that were answered over HTTP, in order of time.

        Parameters
        ----------
        window
            None: rows without a time.
        arrived
            Only rows that were written then or later.
        """
        return answered_cells.read(self.database, pipeline, window, arrived)

    def answered_at(self, pipeline: str) -> datetime | None:
        """Return when rows answered over HTTP were last written, in UTC; None where none were."""
        return answered_cells.last_written(self.database, pipeline)

    def answered_times(
        self, pipeline: str, window: Window | None, until: datetime | None = None
    ) -> Sequence[datetime]:
        """Return the times of rows answered over HTTP, naive and in UTC.

        Parameters
        ----------
        window
            None: only the newest row that lies before `until`.
        """
        return answered_cells.times(self.database, pipeline, window, until)

    def unsent(self, pipeline: str) -> tuple[Unsent, ...]:
        """Return the batches written to be sent of which `sent` was not told yet."""
        return outbox.unsent(self.database, pipeline)

    def sent(self, pipeline: str, batch: str) -> None:
        """Take down that the sink has a batch."""
        outbox.unmark(self.database, pipeline, batch)

    def in_batch(
        self,
        pipeline: str,
        parts: Iterable[pd.DataFrame],
        schema: Schema,
        batch: str,
        version: str,
    ) -> Iterator[NDArray[np.bool_]]:
        """Yield which rows `version` predicted first in `batch`, a mask of shape (n_rows,) a part.

        Parameters
        ----------
        parts
            What was scored, with ids, time and features under their own names.
        batch
            Digest of the data that was scored.
        """
        return in_batch(self.database, pipeline, parts, schema, batch, version)

    def predicted_before(
        self, pipeline: str, rows: pd.DataFrame, schema: Schema, since: datetime | None
    ) -> NDArray[np.bool_]:
        """Return which rows have a served prediction, as a mask of shape (n_rows,).

        Parameters
        ----------
        rows
            Rows to score, with ids, time and features under their own names.
        since
            The least time among them; None where they have none.
        """
        return predicted_before(self.database, pipeline, rows, schema, since)

    def write_labels(self, pipeline: str, labels: pd.DataFrame, schema: Schema) -> LabelsWritten:
        """Write labels of rows that were predicted, in one transaction; a later one replaces.

        Parameters
        ----------
        labels
            Id columns and target; without id columns features, time column and target. A null,
            blank text and, for regression, what is not finite is no label.

        Raises
        ------
        DataError
            When a column is missing.
        """
        return write_labels(self.database, pipeline, labels, schema)

    def window_rows(
        self,
        pipeline: str,
        window: Window | None,
        schema: Schema,
        *,
        role: Role = "champion",
        version: str | None = None,
    ) -> pd.DataFrame:
        """Return the predicted rows of a window beside their labels, in order of time.

        Returns
        -------
        rows
            ``key`` (text), ``time`` (``datetime64[us]`` in UTC), ``version``, ``run_id`` (MLflow's,
            as numbers are given again), ``prediction``, ``probability_<class>`` per class of the
            schema (NaN for one the model did not know) and ``label``. Predictions and labels are
            texts, for regression float64; a label that is not known is null.

        Parameters
        ----------
        window
            None for all rows, also those without a time.
        version
            Only predictions of that version.
        """
        return read(self.database, pipeline, window, schema, role=role, version=version)

    def coverage(
        self,
        pipeline: str,
        window: Window | None,
        *,
        role: Role = "champion",
        version: str | None = None,
    ) -> Coverage:
        """Return how many rows of a window were predicted, and of how many the label is known."""
        return coverage.coverage(self.database, pipeline, window, role=role, version=version)

    def ends(
        self, pipeline: str, role: Role = "champion", *, until: datetime | None = None
    ) -> tuple[datetime | None, datetime | None]:
        """Return the least and the greatest time among the rows that scorings predicted, in UTC.

        Rows whose time is not before `until` are left out, and those answered over HTTP: they come
        as they happen, and say nothing of how far the source was read.
        """
        return coverage.ends(self.database, pipeline, role, until)

    def claim(self, pipeline: str, key: str, correlation: str) -> bool:
        """Claim an idempotency key, once for ever unless it is released.

        Returns
        -------
        won
            Whether nobody had it: then, and only then, do what it stands for.
        """
        return idempotency_keys.claim(self.database, pipeline, key, correlation)

    def release(self, pipeline: str, key: str) -> None:
        """Let an idempotency key be claimed again."""
        idempotency_keys.release(self.database, pipeline, key)

    def holder(self, pipeline: str, key: str) -> str | None:
        """Return the correlation that claimed `key`; None where nobody did."""
        return idempotency_keys.holder(self.database, pipeline, key)

    def request_run(self, request: RunRequest) -> bool:
        """Record that a run is asked for; return False while its key has an open request."""
        return run_requests.add(self.database, request)

    def take_up(self, pipeline: str, correlation: str, flow: str, flow_run: str) -> None:
        """Record which Prefect run answers an open request."""
        run_requests.take_up(self.database, pipeline, correlation, flow, flow_run)

    def close_request(self, pipeline: str, key: str, outcome: str) -> bool:
        """Record what became of a requested run; return False where that was known before."""
        return run_requests.close(self.database, pipeline, key, outcome)

    def open_requests(self, pipeline: str) -> tuple[RunRequest, ...]:
        """Return the requested runs whose outcome is not recorded, the oldest first."""
        return run_requests.read_open(self.database, pipeline)

    def flight(self, pipeline: str) -> AbstractContextManager[None]:
        """Hold the pipeline while a block trains it; its holder's end frees it, however it ends.

        Raises
        ------
        Busy
            On entering, at once, when another living process holds it.
        """
        return flight(self.database, self.state, pipeline)

    def prune(self, now: datetime, keep: timedelta) -> Pruned:
        """Remove predictions with their labels, and decisions, that are older than `keep`.

        A prediction is as old as the newest scored row of its pipeline is later than it, and no
        older than its writing: rows of years ago that were scored today stay, and the newest ones
        stay however long nothing comes, since scoring goes on from them. Served rows without a
        time all stay: by their ids alone scoring knows that they are not new; what they held goes.
        Trainings, promotions and rollbacks stay, and all that shares their correlation; so do
        claims.
        """
        return retention.prune(self.database, now, keep)

    def size_bytes(self) -> int:
        """Return the bytes that the ledger takes on disk."""
        return retention.size_bytes(self.database)
