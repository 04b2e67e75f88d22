"""Check that the servers that a pipeline names respond, before any work is done.

A server that goes away in the middle of work is waited for. One that was never there is most
often a wrong address, and a person at a terminal learns of it at once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from tasks.base.errors import TransientError
from tasks.base.pipeline_file import Pipeline

_SECONDS = 5.0
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432}


def first_contact(pipeline: Pipeline) -> None:
    """Connect once to MLflow's store, the ledger's database and the SQL source, else raise."""
    # Nothing is sent. What stands behind a proxy, on a socket's path or on several hosts is left to
    # the first real use. A connection has to be accepted within five seconds.
    for what, url, remedy in _named(pipeline):
        place = _place(url)
        if place is not None:
            _reach(what, place, remedy)


def _named(pipeline: Pipeline) -> Iterator[tuple[str, str, str]]:
    config = pipeline.config
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    yield (
        "MLflow server", tracking,
        "Start it, or unset MLFLOW_TRACKING_URI to use the store in the state folder.",
    )  # fmt: skip
    if config.ledger.url is not None:
        yield (
            "database of the ledger", config.ledger.url.get_secret_value(),
            "Start it, or correct `ledger.url` in the pipeline file.",
        )  # fmt: skip
    if config.source.kind == "sql":
        yield (
            "database of the source", config.source.url.get_secret_value(),
            "Start it, or correct `source.url` in the pipeline file.",
        )  # fmt: skip


def _place(url: str) -> tuple[str, int] | None:
    """Return the host and port to connect to; None where that is not known from the address.

    >>> _place("postgresql+psycopg://me:secret@db/keepfit")
    ('db', 5432)
    >>> _place("sqlite:////srv/ledger.db") is None
    True
    """
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.partition("+")[0]
        port = parts.port or _PORTS.get(scheme)
    except ValueError:
        return None
    host = parts.hostname or ""
    if scheme not in _PORTS or port is None or not host or "," in parts.netloc:
        return None
    behind_a_proxy = parts.scheme in getproxies() and not proxy_bypass(host)
    return None if behind_a_proxy else (host, port)


def _reach(what: str, place: tuple[str, int], remedy: str) -> None:
    try:
        socket.create_connection(place, timeout=_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise TransientError(
            f"No {what} answers at {place[0]}:{place[1]} ({reason}).", remedy
        ) from None
