"""Incremental scoring: the rows since the last scoring, and its records in the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.base.command_results import ScoringOutcome
from tasks.base.monitoring_records import Cause, Decision, decision_id, new_correlation
from tasks.base.pipeline_file import Pipeline
from tasks.base.servers.stack_file import prefect_run_page
from tasks.base.source_notes import note_text
from tasks.base.text.phrases import plural
from tasks.base.training_records import ModelVersion, Snapshot
from tasks.base.utc_times import as_utc, latest_believed
from tasks.data.row_hashes import among, row_hashes
from tasks.data.snapshots import open_table
from tasks.registry.open_pipeline import OpenPipeline

if TYPE_CHECKING:
    from tasks.ledger.ledger import Ledger

DATA_DIGEST_TAG = "keepfit.data_digest"


def scored_since(pipeline: OpenPipeline, champion: ModelVersion) -> datetime | None:
    """Return from when on rows are read for a scheduled scoring; None reads all."""
    # One monitoring window before the newest scored row, so that rows that came late are scored
    # too; the ledger records which were. Before the first scoring: from the end of the champion's
    # training, whose rows are not scored, then or later (see `learned_rows`). Times in the future
    # are not believed. Rows of a batch that the sink may lack are read again, however old.
    if pipeline.config.time_column is None:
        return None
    name = pipeline.config.name
    now = datetime.now(UTC)
    # A row dated in the future must not hide what comes before its time.
    oldest, newest = pipeline.ledger.ends(name, until=latest_believed(now))
    if oldest is None or newest is None:
        return champion.trained_until
    pending = [batch.oldest for batch in pipeline.ledger.unsent(name) if batch.oldest is not None]
    return min([max(oldest, min(newest, now) - pipeline.config.monitoring.window), *pending])


def learned_rows(
    pipeline: Pipeline, snapshot: Snapshot, champion: ModelVersion
) -> NDArray[np.bool_]:
    """Return which rows the champion's training saw, bool of shape (n_rows,)."""
    # Reading from the end of its training on gives its last rows again, and rows of that moment
    # that have come since. Rows are known by their ids, else by their features and time.
    nothing = np.zeros(snapshot.rows, dtype=bool)
    until, roles = champion.trained_until, champion.roles
    digest = champion.tags.get(DATA_DIGEST_TAG, "")
    seen = sorted((pipeline.work / "data").glob(f"{digest}*.arrow")) if digest else []
    if until is None or snapshot.start is None or as_utc(snapshot.start) > until or not seen:
        return nothing
    table, learned = open_table(snapshot.path), open_table(str(seen[0]))
    wanted = [c for c in (*(roles.id_columns or roles.features), roles.time_column) if c]
    if not set(wanted) <= {*table.column_names} & {*learned.column_names}:
        return nothing
    return among(row_hashes(table, wanted), row_hashes(learned, wanted))


def record_batch(
    pipeline: OpenPipeline, outcome: ScoringOutcome, cause: Cause, prefect_run: str
) -> None:
    """Record the batch of a scoring; the same batch of the same version is recorded once."""
    # Until then the batch counts as one that the sink may lack: where the process is killed before,
    # the next scoring sends it again and records it, with the rows that the killed one had written.
    name = pipeline.config.name
    new = outcome.ledger_new
    if not new and outcome.batch in {pending.batch for pending in pipeline.ledger.unsent(name)}:
        new = outcome.written or 0
    aside = tuple(map(note_text, outcome.aside))
    if outcome.scope == "new":
        scored = f"{plural(new, 'new row')} scored by v{outcome.version}"
    else:
        scored = f"{plural(outcome.rows, 'row')} scored by v{outcome.version}, {new:,} of them new"
    sentence = f"{'. '.join((scored, *aside))}."
    page = prefect_run_page(pipeline.state, prefect_run)
    pipeline.ledger.record(
        Decision(
            id=decision_id(name, "scored", outcome.batch, outcome.version, *aside),
            pipeline=name,
            kind="scored",
            at=datetime.now(UTC),
            correlation=cause.correlation,
            sentence=sentence,
            version=outcome.version,
            data_digest=outcome.batch,
            prefect_run=prefect_run,
            mlflow_run=outcome.run_id,
            evidence={
                "rows": outcome.rows,
                "new": new,
                "known": outcome.ledger_known,
                "output": outcome.output,
                "unseen": dict(outcome.unseen),
                "aside": [note.file for note in outcome.aside],
                "quarantined": outcome.quarantined.rows if outcome.quarantined else 0,
                "start": outcome.start.isoformat() if outcome.start else None,
                "end": outcome.end.isoformat() if outcome.end else None,
            },
            links={"prefect": page} if page else {},
        )
    )
    pipeline.ledger.sent(name, outcome.batch)


def record_recovered(
    ledger: Ledger, name: str, batch: str, version: ModelVersion, output: str, rows: int
) -> None:
    """Record a batch whose scoring was killed before it could, unless it is recorded already."""
    known = {decision.data_digest for decision in ledger.decisions(name, kinds=("scored",))}
    if batch not in known:
        ledger.record(
            Decision(
                id=decision_id(name, "scored", batch, version.version),
                pipeline=name,
                kind="scored",
                at=datetime.now(UTC),
                correlation=new_correlation(),
                sentence=f"{plural(rows, 'row')} scored by v{version.version}, {rows:,} of them "
                "new. The run that scored them ended before it could record it.",
                version=version.version,
                data_digest=batch,
                mlflow_run=version.run_id,
                evidence={"rows": rows, "new": rows, "known": 0, "output": output},
            )
        )
    ledger.sent(name, batch)
