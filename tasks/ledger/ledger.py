"""The ledger: what was predicted, what became of it, and what keepfit decided.

One SQL database for all pipelines of a state folder, SQLite in that folder or PostgreSQL. Every
write is one transaction, and written again it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks.base.pipeline_file import Pipeline, require_trusted_state
from tasks.base.runtime.libraries import sa
from tasks.ledger import coverage as window_coverage
from tasks.ledger import decisions as recorded
from tasks.ledger import (
    idempotency_keys,
    labels,
    outbox,
    predictions,
    retention,
    run_requests,
    single_flight,
)
from tasks.ledger.storage import answered_cells, change_marks
from tasks.ledger.storage.database import Database, address_of


def ledger_of(pipeline: Pipeline, *, patience: float = 60.0) -> Ledger:
    """Return the ledger of `pipeline`: `ledger.url`, else ``ledger.db`` in its state folder."""
    # Its tables are made or migrated if need be, by one process while others wait; a locked
    # database is awaited for `patience` seconds. Raises ConfigError when `ledger.url` is no usable
    # address; TransientError when the database does not respond or stays locked;
    # InfrastructureError when it refuses, or a newer keepfit wrote it.
    return _opened(_address(pipeline), pipeline, patience)


def each_ledger(pipelines: Iterable[Pipeline]) -> list[tuple[Ledger, tuple[Pipeline, ...]]]:
    """Return every ledger of some pipelines once, with those that keep theirs in it."""
    found: dict[sa.URL, list[Pipeline]] = {}
    for pipeline in pipelines:
        found.setdefault(_address(pipeline), []).append(pipeline)
    return [(_opened(address, of[0]), tuple(of)) for address, of in found.items()]


def shared_address(pipeline: Pipeline) -> str:
    """Return the address of the ledger's PostgreSQL database; empty where it is a file."""
    if pipeline.config.ledger.url is None:
        return ""
    address = _address(pipeline)
    file = address.get_backend_name() == "sqlite"
    return "" if file else address.render_as_string(hide_password=False)


def _opened(address: sa.URL, pipeline: Pipeline, patience: float = 60.0) -> Ledger:
    ledger = Ledger(address, pipeline.state, patience, pipeline.secrets)
    if ledger.file is not None and ledger.file.parent != pipeline.state:
        require_trusted_state(ledger.file.parent, pipeline.path, "name another `ledger.url`")
    ledger.prepare()
    return ledger


def _address(pipeline: Pipeline) -> sa.URL:
    url = pipeline.config.ledger.url
    stated = None if url is None else url.get_secret_value()
    return address_of(stated, pipeline.state, pipeline.base)


class Ledger(Database):
    """Predictions, labels, decisions and claims of the pipelines of a state folder.

    Its methods raise TransientError when the database does not respond or stays locked, and
    InfrastructureError when it refuses or the disk is full; nothing is then half written.
    """

    write_predictions = predictions.write
    in_batch = predictions.in_batch
    predicted_before = predictions.predicted_before
    window_rows = predictions.read
    write_labels = labels.write
    coverage = window_coverage.coverage
    ends = window_coverage.ends
    answered = answered_cells.read
    answered_at = answered_cells.last_written
    answered_times = answered_cells.times
    unsent = outbox.unsent
    sent = outbox.unmark
    record = recorded.record
    decisions = recorded.read
    change_marks = change_marks.read
    claim = idempotency_keys.claim
    release = idempotency_keys.release
    holder = idempotency_keys.holder
    request_run = run_requests.add
    take_up = run_requests.take_up
    close_request = run_requests.close
    open_requests = run_requests.read_open
    flight = single_flight.flight
    prune = retention.prune
    size_bytes = retention.size_bytes
