"""Metrics of a prediction server, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from tasks.serving.current_champion import CurrentChampion
from tasks.serving.delivery import spool_folder
from tasks.serving.spool import backlog_bytes

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "keepfit_requests", "Requests for predictions.", ["pipeline", "status"],
            registry=self._registry,
        )  # fmt: skip
        self.rows = Counter(
            "keepfit_rows", "Rows of requests, predicted or refused.", ["pipeline", "outcome"],
            registry=self._registry,
        )  # fmt: skip
        self.broken = Counter(
            "keepfit_contract_rows", "Rows that broke a rule of the contract.",
            ["pipeline", "column", "rule", "severity"], registry=self._registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "keepfit_request_seconds", "Seconds from a request to its response.", ["pipeline"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._champion = Gauge(
            "keepfit_champion", "1 for the version that predicts.", ["pipeline", "version"],
            registry=self._registry,
        )  # fmt: skip
        self._spool = Gauge(
            "keepfit_spool_bytes", "Predictions that the ledger does not have yet.",
            ["pipeline"], registry=self._registry,
        )  # fmt: skip
        self._failures = Gauge(
            "keepfit_champion_failures",
            "How often the registry could not be reached or the champion not loaded.",
            ["pipeline"], registry=self._registry,
        )  # fmt: skip

    def text(self, champions: Iterable[CurrentChampion]) -> bytes:
        """Return all counters, with the present state of `champions`."""
        self._champion.clear()
        for one in champions:
            if one.model is not None:
                self._champion.labels(one.name, one.model.version.version).set(1)
            self._spool.labels(one.name).set(backlog_bytes(spool_folder(one.pipeline)))
            self._failures.labels(one.name).set(one.failures)
        return generate_latest(self._registry)
