"""Doors: a window is looked at, judged, and what follows from it is decided."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from tasks.base.loop import Cause, DriftResult
from tasks.base.outcomes import MonitoringOutcome
from tasks.base.pipeline_file import Pipeline
from tasks.base.progress import Step, report
from tasks.base.records import ContractResult, ModelVersion, Snapshot
from tasks.base.retries import BRIEF, PATIENT, retried
from tasks.monitoring.concluding import Findings
from tasks.monitoring.passes import Look


@task(name="choose window", cache_policy=NO_CACHE, **retried(BRIEF))
def choose_window(
    pipeline: Pipeline, champion: ModelVersion, asked: str | None, cause: Cause
) -> Look:
    """Return the window that was asked for, or the latest complete one."""
    from tasks.monitoring.passes import choose_look

    look = choose_look(pipeline, champion, asked, cause, datetime.now(UTC))
    report(Step("window", str(look.window or "all rows to score")))
    return look


@task(name="load monitored rows", cache_policy=NO_CACHE, **retried(BRIEF))
def load_monitored(pipeline: Pipeline, look: Look) -> Snapshot:
    """Read the window's rows into a snapshot."""
    from tasks.monitoring.passes import window_snapshot

    snapshot = window_snapshot(pipeline, look)
    report(Step("load", f"{snapshot.rows:,} rows"))
    return snapshot


@task(name="measure drift", cache_policy=NO_CACHE, **retried(PATIENT))
def measure_drift(pipeline: Pipeline, look: Look, snapshot: Snapshot) -> DriftResult:
    """Compare the window with the champion's training rows, column by column."""
    from tasks.monitoring.passes import drift_of

    drift = drift_of(pipeline, look, snapshot)
    report(Step("drift", drift.sentence))
    return drift


@task(name="draw drift", cache_policy=NO_CACHE)
def draw_drift(pipeline: Pipeline, look: Look, snapshot: Snapshot, drift: DriftResult) -> str:
    """Write Evidently's page, for people who want to look."""
    from tasks.monitoring.passes import draw_page

    return draw_page(pipeline, look, snapshot, drift)


@task(name="judge window", cache_policy=NO_CACHE, **retried(PATIENT))
def judge_window(
    pipeline: Pipeline, look: Look, snapshot: Snapshot, drift: DriftResult
) -> Findings:
    """Judge performance where labels have arrived, and the champion's probation."""
    from tasks.monitoring.judging import judge

    findings = judge(pipeline, look, snapshot, drift, datetime.now(UTC))
    for performance in findings.performance:
        report(Step("labels", performance.sentence))
    if findings.moved:
        report(Step("probation", findings.moved))
    return findings


@task(name="conclude monitoring", cache_policy=NO_CACHE, **retried(PATIENT))
def conclude_monitoring(
    pipeline: Pipeline,
    look: Look,
    snapshot: Snapshot,
    contract: ContractResult,
    findings: Findings,
    prefect_run: str | None,
) -> MonitoringOutcome:
    """Ask the policy; record what was found, on a page, in MLflow and in the ledger."""
    from tasks.monitoring.concluding import conclude_pass

    now = datetime.now(UTC)
    outcome = conclude_pass(pipeline, look, snapshot, contract, findings, prefect_run, now)
    create_markdown_artifact(
        key=f"monitoring-{pipeline.key}",
        markdown=f"**{look.window or 'all rows'}**: {outcome.sentence}\n\n"
        f"{outcome.decision.sentence}",
        description=f"The last monitored window of {pipeline.config.name}",
    )
    create_table_artifact(
        key=f"drift-{pipeline.key}",
        table=[
            {**c.model_dump(mode="json"), "notes": "; ".join(c.notes)}
            for c in findings.drift.columns
        ],
        description=f"Columns of {pipeline.config.name} against the training rows",
    )
    report(Step("policy", outcome.decision.sentence))
    return outcome


@task(name="raise alarm", cache_policy=NO_CACHE)
def raise_alarm(pipeline: Pipeline, outcome: MonitoringOutcome) -> str:
    """Emit the event that the automation answers with a training; return its id."""
    from tasks.monitoring.concluding import cause_of

    cause = cause_of(outcome, datetime.now(UTC))
    event = emit_event(
        event="keepfit.alarm",
        resource={
            "prefect.resource.id": f"keepfit.pipeline.{pipeline.config.name}",
            "prefect.resource.name": pipeline.config.name,
            "keepfit.retrain": str(outcome.decision.retrain).lower(),
            "keepfit.correlation": outcome.correlation,
        },
        payload={
            "cause": cause.model_dump(mode="json"),
            "sentence": outcome.sentence,
            "reasons": list(outcome.reasons),
        },
    )
    report(Step("alarm", outcome.sentence))
    return str(event.id) if event else ""
