"""The ledger's tables: times are naive and mean UTC; what a batch's rows share stands once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tasks.base.runtime.libraries import sa

VERSION = 3  # raise it with a step in `tasks.ledger.storage.migrations`

METADATA = sa.MetaData()
_Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_Counted = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

schema_version = sa.Table(
    "keepfit_ledger_schema", METADATA, sa.Column("version", sa.Integer, primary_key=True)
)

batches = sa.Table(
    "keepfit_batches",
    METADATA,
    sa.Column("id", _Counted, primary_key=True),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("batch", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("classes", sa.Text, nullable=False),
    # Of rows predicted over HTTP: the forms of their cells, as JSON.
    sa.Column("forms", sa.Text),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("new", sa.BigInteger, nullable=False),
    sa.Column("written_at", sa.DateTime, nullable=False),
    sa.UniqueConstraint(
        "pipeline", "role", "batch", "version", "run_id", "classes", name="keepfit_one_batch"
    ),
)

predictions = sa.Table(
    "keepfit_predictions",
    METADATA,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, primary_key=True),
    sa.Column("key", _Key, primary_key=True),
    # The version of a shadow; empty for the champion, of which a row has one prediction.
    sa.Column("shadow", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("batch", _Counted, nullable=False),
    sa.Column("time", sa.DateTime),
    sa.Column("predicted", sa.Text),
    sa.Column("value", sa.Double),
    sa.Column("probabilities", sa.Text),
    # Of a row predicted over HTTP: what was sent, as JSON in the order of its batch's forms.
    sa.Column("cells", sa.Text),
    sa.Index("keepfit_predictions_time", "pipeline", "role", "time"),
)

labels = sa.Table(
    "keepfit_labels",
    METADATA,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("key", _Key, primary_key=True),
    sa.Column("label", sa.Text),
    sa.Column("value", sa.Double),
    sa.Column("written_at", sa.DateTime, nullable=False),
)

decisions = sa.Table(
    "keepfit_decisions",
    METADATA,
    sa.Column("number", _Counted, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime, nullable=False),
    sa.Column("correlation", sa.Text, nullable=False, index=True),
    sa.Column("version", sa.Text),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index("keepfit_decisions_newest", "pipeline", "at"),
)

claims = sa.Table(
    "keepfit_claims",
    METADATA,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("key", _Key, primary_key=True),
    sa.Column("correlation", sa.Text, nullable=False),
    sa.Column("claimed_at", sa.DateTime, nullable=False),
)

run_requests = sa.Table(
    "keepfit_run_requests",
    METADATA,
    sa.Column("pipeline", sa.Text, primary_key=True),
    sa.Column("key", _Key, primary_key=True),
    sa.Column("flow", sa.Text, nullable=False),
    sa.Column("correlation", sa.Text, nullable=False),
    sa.Column("asked_at", sa.DateTime, nullable=False),
    sa.Column("due_at", sa.DateTime, nullable=False),
    sa.Column("flow_run", sa.Text, nullable=False),
    sa.Column("closed_at", sa.DateTime),
    sa.Column("outcome", sa.Text),
)


def stored_time(moment: datetime) -> datetime:
    """Return `moment` as the tables hold it; one without a zone is taken as UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.replace(tzinfo=None)


def aware_time(moment: datetime | None) -> datetime | None:
    """Return a time of the tables with its zone, UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def now() -> datetime:
    """Return the present as the tables hold it."""
    return stored_time(datetime.now(UTC))


def insert_absent(connection: sa.Connection, table: sa.Table) -> Any:
    """Return an INSERT that leaves rows alone whose key is there already."""
    if connection.dialect.name == "postgresql":
        return sa.dialects.postgresql.insert(table).on_conflict_do_nothing()
    return sa.dialects.sqlite.insert(table).on_conflict_do_nothing()
