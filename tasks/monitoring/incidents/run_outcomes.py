"""Outcomes of the runs that keepfit requested, compared with the ledger.

Prefect's automations report failed runs too, but a server that was restarted meanwhile may miss
one. So all are compared here: each run that Prefect knows as failed, and each request whose
outcome is overdue, is recorded unless it is already.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from tasks.base.monitoring_records import Cause, Decision, decision_id
from tasks.base.pipeline_file import Pipeline
from tasks.base.training_records import Record
from tasks.ledger.run_requests import RunRequest
from tasks.monitoring.alerts.notification import tell
from tasks.monitoring.incidents.run_failures import has_done_its_work, note_cancelled, note_failure
from tasks.registry.open_pipeline import OpenPipeline

BACK = timedelta(days=2)  # greatest age of a failed run that is still reported

_LEAST = timedelta(minutes=15)
_BUDGETS = 5
_USUAL = 3
_ENDS = ("failed", "reaped", "cancelled", "stopped")
_ANSWERS = ("trained", "skipped", "failed", "reaped", "cancelled", "stopped")
OVERDUE = "Overdue"


class EndedRun(Record):
    """A run of a pipeline that did not complete, as the orchestrator knows it."""

    id: str
    flow: str
    # `late` is a scheduled run that did not start in time.
    kind: Literal["failed", "crashed", "cancelled", "late"]
    state: str  # state, message: name and message of its state
    message: str = ""
    correlation: str = ""
    began: bool = True  # whether it had started


def request_training(pipeline: OpenPipeline, cause: Cause, now: datetime) -> datetime:
    """Record that an alarm requests a training; return when its outcome is due."""
    due = now + answer_time(pipeline)
    pipeline.ledger.request_run(
        RunRequest(
            pipeline=pipeline.config.name,
            key=cause.key or cause.correlation,
            flow="training",
            correlation=cause.correlation,
            asked_at=now,
            due_at=due,
        )
    )
    return due


def answer_time(pipeline: OpenPipeline) -> timedelta:
    """Return within what time a requested training should have ended."""
    # Five budgets or three times what the last one took, and a quarter of an hour at least.
    last = pipeline.ledger.decisions(pipeline.config.name, kinds=("trained",), most=1)
    stated = last[0].evidence.get("seconds") if last else None
    usual = float(stated) if isinstance(stated, int | float) else 0.0
    return max(
        _LEAST, _BUDGETS * pipeline.config.training.budget, timedelta(seconds=_USUAL * usual)
    )


def report_outcomes(pipeline: OpenPipeline, ended: Iterable[EndedRun], now: datetime) -> int:
    """Record and report outcomes that were not recorded yet; return how many."""
    found = compare(pipeline, ended, now)
    for decision in found:
        tell(pipeline, decision)
    return len(found)


def compare(
    pipeline: OpenPipeline, ended: Iterable[EndedRun], now: datetime
) -> tuple[Decision, ...]:
    """Record outcomes of `ended` runs and open requests that are not recorded yet; return them."""
    name = pipeline.config.name
    known = {
        decision.prefect_run
        for decision in pipeline.ledger.decisions(name, kinds=_ENDS, since=now - 2 * BACK)
        if decision.prefect_run
    }
    found = [
        _recorded(pipeline, run)
        for run in ended
        if run.id not in known
        and not (run.kind == "cancelled" and has_done_its_work(pipeline, run.id))
    ]
    return (*found, *_answered(pipeline, now))


def _recorded(pipeline: Pipeline, run: EndedRun) -> Decision:
    if run.kind == "cancelled":
        return note_cancelled(pipeline, run.id, run.flow, run.correlation)
    return note_failure(pipeline, run.id, run.flow, run.state, run.message, run.correlation)


def _answered(pipeline: OpenPipeline, now: datetime) -> Iterable[Decision]:
    """Close the requests that have an outcome, and yield the decisions about overdue ones."""
    name = pipeline.config.name
    requests = pipeline.ledger.open_requests(name)
    if not requests:
        return
    since = min(request.asked_at for request in requests)
    later = pipeline.ledger.decisions(name, kinds=_ANSWERS, since=since)
    for request in requests:
        answer = next((d for d in later if _belongs(d, request) and _is_final(d, request)), None)
        if answer is not None:
            pipeline.ledger.close_request(name, request.key, answer.kind)
        elif now >= request.due_at:
            missed = _overdue(request, now)
            pipeline.ledger.record(missed)
            yield missed
            # Last: what is closed is not looked at again.
            pipeline.ledger.close_request(name, request.key, OVERDUE)


def _belongs(decision: Decision, request: RunRequest) -> bool:
    key = decision.part("cause").get("key")
    of_run = bool(request.flow_run) and decision.prefect_run == request.flow_run
    return decision.correlation == request.correlation or key == request.key or of_run


def _is_final(decision: Decision, request: RunRequest) -> bool:
    if decision.kind in ("trained", "skipped"):
        return request.flow == "training"
    # A run that was requested again is still open.
    return decision.evidence.get("flow") == request.flow and not decision.evidence.get("again")


def _overdue(request: RunRequest, now: datetime) -> Decision:
    waited = int((now - request.asked_at).total_seconds() // 60)
    begun = "has not ended" if request.flow_run else "has not started"
    text = f"the {request.flow} that was requested {waited} min ago {begun}"
    return Decision(
        id=decision_id(
            request.pipeline, "failed", OVERDUE, request.key, request.asked_at.isoformat()
        ),
        pipeline=request.pipeline,
        kind="failed",
        at=now.astimezone(UTC),
        correlation=request.correlation,
        sentence=f"Overdue: {text}.",
        prefect_run=request.flow_run,
        evidence={
            "flow": request.flow,
            "state": OVERDUE,
            "message": f"{text[0].upper()}{text[1:]}.",
            "due": request.due_at.isoformat(),
        },
    )
