"""A flow run that failed or was cancelled, recorded from inside the run and from outside."""

from __future__ import annotations

import builtins
import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.base import errors
from tasks.base.monitoring_records import Cause, Decision, decision_id, new_correlation
from tasks.base.pipeline_file import Pipeline
from tasks.base.servers.stack_file import prefect_run_page
from tasks.base.text.redaction import redact
from tasks.ledger.ledger import ledger_of
from tasks.monitoring.alerts.redaction import secrets_of

_LOGGER = logging.getLogger(__name__)
_LOOK_BACK = 200
_CAUSES = ("stopped", "reaped", "cancelled")
# A monitoring run records each window, but has no record for its end.
_ENDS = ("trained", "scored")
_BY = {"you": "you (Ctrl-C)", "keepfit up": "the end of `keepfit up`", "Prefect": "a person"}
_EXCEPTION = re.compile(r"encountered an exception:?\s+(\w+)(?::\s*|$)")


def note_failure(
    pipeline: Pipeline,
    flow_run: str,
    flow: str,
    state: str,
    message: str = "",
    correlation: str = "",
) -> Decision:
    """Record that a flow run failed, once; return the decision to report."""
    # The failure, or what the run recorded as its cause: one event is reported once.
    name = pipeline.config.name
    try:
        ledger = ledger_of(pipeline, patience=20.0)
        recent = ledger.decisions(name, most=_LOOK_BACK)
        own = [d for d in recent if flow_run and d.prefect_run == flow_run]
        causes = [d for d in own if d.kind in _CAUSES] or _same_stop(recent, flow, message)
        correlation = correlation or (own[0].correlation if own else new_correlation())
        failure = _failure(pipeline, flow_run, flow, state, message, correlation)
        ledger.record(failure)
    except Exception as error:  # noqa: BLE001 - a gone ledger may be why the run failed
        _LOGGER.warning("%s: the ledger does not answer (%s)", name, type(error).__name__)
        return _failure(pipeline, flow_run, flow, state, message, correlation or new_correlation())
    return causes[0] if causes else failure


def note_error(
    pipeline: Pipeline, flow_run: str, flow: str, cause: Cause, error: Exception
) -> Decision:
    """Record from inside a run that `error` ended it; return the decision to report."""
    message = f"Flow run encountered an exception: {type(error).__name__}: {error}"
    return note_failure(pipeline, flow_run, flow, "Failed", message, cause.correlation)


def has_done_its_work(pipeline: Pipeline, flow_run: str) -> bool:
    """Return whether a run recorded what came of it: stopped after that, it was not cancelled."""
    if not flow_run:
        return False
    ledger = ledger_of(pipeline, patience=20.0)
    done = ledger.decisions(pipeline.config.name, kinds=_ENDS, most=_LOOK_BACK)
    return any(decision.prefect_run == flow_run for decision in done)


def note_cancelled(
    pipeline: Pipeline,
    flow_run: str,
    flow: str,
    correlation: str = "",
    *,
    by: str = "Prefect",
    again: bool = False,
) -> Decision:
    """Record that a run was stopped on purpose, once, and whether it runs `again` by itself."""
    # `by`: `you` with Ctrl-C, `keepfit up` when it ended, or a person by `Prefect`.
    name = pipeline.config.name
    then = " It runs again when the stack does." if again else ""
    cancelled = Decision(
        id=decision_id(name, "cancelled", flow_run or new_correlation()),
        pipeline=name,
        kind="cancelled",
        at=datetime.now(UTC),
        correlation=correlation or new_correlation(),
        sentence=f"{flow.capitalize()} was stopped by {_BY.get(by, by)}.{then}",
        prefect_run=flow_run,
        evidence={"flow": flow, "by": by, "again": again},
    )
    ledger_of(pipeline, patience=20.0).record(cancelled)
    return cancelled


def _same_stop(recent: Sequence[Decision], flow: str, message: str) -> list[Decision]:
    """Return the stop that the run met again: rows that stay broken are reported once."""
    found = _EXCEPTION.search(message)
    if found is None or found[1] != errors.ContractError.__name__:
        return []
    return [d for d in recent if d.kind == "stopped" and d.evidence.get("flow") == flow][:1]


def _failure(
    pipeline: Pipeline, flow_run: str, flow: str, state: str, message: str, correlation: str
) -> Decision:
    name = pipeline.config.name
    page = prefect_run_page(pipeline.state, flow_run)
    text = redact(public(message), secrets_of(pipeline))
    raised = _EXCEPTION.search(message)
    return Decision(
        id=decision_id(name, "failed", flow_run),
        pipeline=name,
        kind="failed",
        at=datetime.now(UTC),
        correlation=correlation,
        sentence=f"{flow} ended as {state}" + (f": {text}" if text else "."),
        prefect_run=flow_run,
        evidence={
            "flow": flow,
            "state": state,
            "message": text,
            "error": raised[1] if raised else "",
        },
        links={"prefect": page} if page else {},
    )


def public(message: str) -> str:
    """Return the first line of a state's message, without what may hold values of rows.

    Only keepfit's own errors and those of the operating system are shown in full.

    >>> public("Flow run encountered an exception: ValueError: could not convert 'Alice'")
    'ValueError; the run keeps the whole text'
    >>> public("Flow run encountered an exception: TransientError: the store is locked")
    'TransientError: the store is locked'
    """
    lines = message.strip().splitlines()
    found = _EXCEPTION.search(lines[0]) if lines else None
    if found is None:
        return lines[0][:300] if lines else ""
    kind = found[1]
    own = getattr(errors, kind, None) or getattr(builtins, kind, None)
    if isinstance(own, type) and issubclass(own, errors.KeepfitError | OSError):
        return f"{kind}: {lines[0][found.end() :][:300]}"
    return f"{kind}; the run keeps the whole text"
