"""Stores that a process reaches: only a mark that another wrote there proves them the same."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from tasks.base.errors import KeepfitError
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.files import write_whole
from tasks.base.text.redaction import redact, without_credentials
from tasks.base.training_records import Record
from tasks.data.sources.source import column_names
from tasks.ledger.ledger import ledger_of
from tasks.ledger.storage.database import address_of
from tasks.registry.mlflow.shared_stores import shown_address, store_of

_LONGEST = 300


class Reached(Record):
    """One store as a process sees it."""

    store: Literal["state", "MLflow", "ledger", "source"]
    address: str  # where it is, without credentials
    same: bool  # whether the mark was found there, or the same columns
    fault: str = ""  # why it could not be read; empty where it was


class Reach(Record):
    """Stores that one process reaches, and its host."""

    host: str
    stores: tuple[Reached, ...]


@contextmanager
def marked(pipeline: Pipeline, mark: str) -> Iterator[None]:
    """Leave a mark in the state folder, in MLflow and in the ledger while a block runs."""
    name, file = pipeline.config.name, _mark_file(pipeline, mark)
    ledger = ledger_of(pipeline)
    try:
        write_whole(file, mark)
        ledger.claim(name, _key(mark), mark)
        store_of(pipeline).mark_experiment(name, mark)
        yield
    finally:
        file.unlink(missing_ok=True)
        with suppress(KeepfitError):
            ledger.release(name, _key(mark))


def reach(pipeline: Pipeline, mark: str, columns: str) -> Reach:
    """Look for `mark` in every store of a pipeline, and compare its source's columns by digest."""
    name = pipeline.config.name
    looks: dict[Literal["state", "MLflow", "ledger", "source"], Callable[[], bool]] = {
        "state": lambda: _mark_file(pipeline, mark).is_file(),
        "MLflow": lambda: store_of(pipeline).mark_of(name) == mark,
        "ledger": lambda: ledger_of(pipeline, patience=10.0).holder(name, _key(mark)) == mark,
        "source": lambda: (found := columns_digest(pipeline)) == (columns or found),
    }
    found = []
    for store, look in looks.items():
        same, fault = False, ""
        try:
            same = look()
        except (KeepfitError, OSError) as error:
            fault = redact(str(error).partition("\n")[0], pipeline.secrets)[:_LONGEST]
        found.append(
            Reached(store=store, address=_address(pipeline, store), same=same, fault=fault)
        )
    return Reach(host=socket.gethostname(), stores=tuple(found))


def columns_digest(pipeline: Pipeline) -> str:
    """Return a digest of the names of the source's columns."""
    names = column_names(pipeline.config.source, pipeline.base)
    return hashlib.sha256("\x1f".join(names).encode()).hexdigest()[:16]


def _address(pipeline: Pipeline, store: str) -> str:
    if store == "state":
        return str(pipeline.state)
    if store == "MLflow":
        return shown_address(pipeline.state)
    source = pipeline.config.source
    if store == "source":
        if source.kind == "sql":
            return without_credentials(source.url.get_secret_value())
        return redact(str(getattr(source, "path", "") or source.kind), pipeline.secrets)
    url = pipeline.config.ledger.url
    stated = None if url is None else url.get_secret_value()
    return without_credentials(str(address_of(stated, pipeline.state, pipeline.base)))


def _mark_file(pipeline: Pipeline, mark: str) -> Path:
    return pipeline.work / f"mark-{mark}"


def _key(mark: str) -> str:
    return f"mark:{mark}"
