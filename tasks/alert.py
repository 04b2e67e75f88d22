"""Tasks: decisions and failed runs are reported as alerts."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.base.errors import ContractError
from tasks.base.monitoring_records import Cause, Decision
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.progress import Step, report
from tasks.base.training_records import SetAside
from tasks.monitoring.alerts.apprise_channel import Delivery
from tasks.monitoring.alerts.notification import tell
from tasks.monitoring.incidents import run_failures
from tasks.monitoring.incidents.contract_stops import record_set_aside, record_stop, to_tell
from tasks.orchestration.declarations import task
from tasks.registry.open_pipeline import OpenPipeline


@task(name="send alert")
def tell_people(pipeline: Pipeline, decision: Decision) -> Delivery | None:
    """Send a decision to the pipeline's alert channels, at most once; never fails."""
    delivery = tell(pipeline, decision)
    if delivery is not None and delivery.sent + delivery.failed:
        channels = delivery.sent + delivery.failed
        report(Step("alert", f"{decision.kind}: sent to {delivery.sent} of {channels} channels"))
    return delivery


@task(name="note failure")
def note_failure(
    pipeline: Pipeline, flow_run: str, flow: str, state: str, message: str
) -> Decision:
    """Record that a run failed; return the decision to report."""
    return run_failures.note_failure(pipeline, flow_run, flow, state, message)


@task(name="send alerts of a run")
def tell_decided(pipeline: OpenPipeline, correlation: str) -> None:
    """Report the decisions under one correlation, each once."""
    sent = 0
    for decision in to_tell(pipeline, correlation):
        delivery = tell(pipeline, decision)
        sent += bool(delivery and delivery.sent)
    if sent:
        report(Step("alert", f"{sent} sent"))


@task(name="note stop")
def note_stop(
    pipeline: OpenPipeline,
    flow: str,
    cause: Cause,
    error: ContractError,
    prefect_run: str,
) -> None:
    """Record that rows broke their contract, and send an alert."""
    now = datetime.now(UTC)
    tell(pipeline, record_stop(pipeline, flow, cause, error, prefect_run, now))


@task(name="note rows set aside")
def note_set_aside(
    pipeline: OpenPipeline, aside: SetAside, cause: Cause, prefect_run: str | None
) -> None:
    """Record that rows were set aside; send an alert unless the same rules were reported."""
    decision, is_new = record_set_aside(
        pipeline, aside, cause, prefect_run or "", datetime.now(UTC)
    )
    if is_new:
        tell(pipeline, decision)
