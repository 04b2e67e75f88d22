"""Alerts: each decision sent at most once, its delivery recorded."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime

from tasks.base.monitoring_records import Decision, decision_id
from tasks.base.pipeline_file import Pipeline
from tasks.base.text.redaction import redact
from tasks.ledger.ledger import ledger_of
from tasks.monitoring.alerts.apprise_channel import Delivery, send
from tasks.monitoring.alerts.messages import Message, message_of
from tasks.monitoring.alerts.redaction import secrets_of

_LOGGER = logging.getLogger(__name__)
_WINDOWS_BACK = 30
_PATIENCE = 20.0  # seconds for a locked ledger; then the alert is sent without it


def tell(pipeline: Pipeline, decision: Decision, *, timeout: float = 10.0) -> Delivery | None:
    """Send `decision` at most once, even if other processes try to; never raises."""
    # The delivery is recorded as `alerted` or `unheard`. None where the file names no channel, or
    # such decisions are not reported. Nothing sent and nothing failed: it was reported before.
    urls = [url for s in pipeline.config.alerts if (url := s.get_secret_value().strip())]
    if not urls:
        return None
    secrets = tuple(secrets_of(pipeline))
    message = message_of(
        decision, _related(pipeline, decision), file=str(pipeline.path), secrets=secrets
    )
    if message is None:
        return None
    if not _claimed(pipeline, decision):
        return Delivery(sent=0, failed=0, reasons=("it was reported before",))
    found = send(urls, message, timeout=timeout)
    delivery = found.model_copy(
        update={"reasons": tuple(redact(reason, secrets) for reason in found.reasons)}
    )
    if delivery.failed:
        _LOGGER.warning("%s: %s", pipeline.config.name, "; ".join(delivery.reasons))
    _record(pipeline, decision, message, delivery)
    return delivery


def _related(pipeline: Pipeline, decision: Decision) -> tuple[Decision, ...]:
    name = pipeline.config.name
    try:
        ledger = ledger_of(pipeline, patience=_PATIENCE)
        kin = ledger.decisions(name, correlation=decision.correlation, most=50)
        if decision.kind != "alarmed":
            return kin
        return (*kin, *ledger.decisions(name, kinds=("monitored",), most=_WINDOWS_BACK))
    except Exception as error:  # noqa: BLE001 - a message with less in it is better than none
        _LOGGER.warning("%s: the ledger does not answer (%s)", name, type(error).__name__)
        return ()


def _claimed(pipeline: Pipeline, decision: Decision) -> bool:
    """Return whether this call sends the alert; a file decides where the ledger is unreachable."""
    key = _claim_key(decision)
    try:
        if not ledger_of(pipeline, patience=_PATIENCE).claim(
            pipeline.config.name, key, decision.correlation
        ):
            return False
        # A file that is there was written while the ledger was gone.
        return not (pipeline.work / "alerts" / key).exists()
    except Exception as error:  # noqa: BLE001 - an unreachable ledger must still be reported
        _LOGGER.warning(
            "%s: the ledger does not answer (%s)", pipeline.config.name, type(error).__name__
        )
        return _claimed_by_file(pipeline, key)


def _claim_key(decision: Decision) -> str:
    """Return the key claimed before `decision` is sent: a dead run is reported once."""
    if decision.kind == "reaped" and decision.prefect_run:
        failed = decision_id(decision.pipeline, "failed", decision.prefect_run)
        return decision_id("alerted", failed)
    return decision_id("alerted", decision.id)


def _claimed_by_file(pipeline: Pipeline, key: str) -> bool:
    folder = pipeline.work / "alerts"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(folder / key, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def _record(pipeline: Pipeline, decision: Decision, message: Message, delivery: Delivery) -> None:
    channels = delivery.sent + delivery.failed
    record = Decision(
        id=decision_id("alerted", decision.id),
        pipeline=pipeline.config.name,
        kind="alerted" if delivery.sent else "unheard",
        at=datetime.now(UTC),
        correlation=decision.correlation,
        sentence=f"{delivery.sent} of {channels} channels took: {message.title}",
        version=decision.version,
        window=decision.window,
        prefect_run=decision.prefect_run,
        evidence={
            "of": decision.id,
            "kind": decision.kind,
            "channels": channels,
            "failed": delivery.failed,
            "reason": "; ".join(delivery.reasons),
        },
    )
    try:
        ledger_of(pipeline, patience=_PATIENCE).record(record)
    except Exception as error:  # noqa: BLE001 - the message is out; a lost record never fails a flow
        _LOGGER.warning(
            "%s: an alert could not be recorded (%s)", record.pipeline, type(error).__name__
        )
