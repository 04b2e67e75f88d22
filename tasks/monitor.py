"""Tasks: a window is looked at and judged, and its consequences are decided."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.base.command_results import MonitoringOutcome
from tasks.base.errors import ContractError
from tasks.base.monitoring_records import Cause, DriftResult
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.progress import Step, report
from tasks.base.text.commands import command
from tasks.base.text.phrases import plural
from tasks.base.training_records import ContractResult, ModelVersion, Snapshot
from tasks.dashboard.window_page import window_html
from tasks.monitoring.incidents.contract_stops import record_stop
from tasks.monitoring.monitored_window import Look, Watch
from tasks.monitoring.shadow.challenger_trial import try_challenger
from tasks.monitoring.windows.conclusion import Findings, conclude_look, conclude_pass, stopped_look
from tasks.monitoring.windows.label_evidence import judge, with_gain
from tasks.monitoring.windows.monitoring_run import (
    choose_looks,
    draw_page,
    drift_of,
)
from tasks.orchestration.artifacts import emit, leave
from tasks.orchestration.declarations import BRIEF, PATIENT, task
from tasks.policy.gain_rule import weigh
from tasks.policy.gain_sentences import gain_sentence
from tasks.registry.open_pipeline import OpenPipeline
from tasks.serving.answered_rows import monitored_rows


@task(name="choose windows", retried=BRIEF)
def choose_windows(
    pipeline: OpenPipeline,
    champion: ModelVersion,
    cause: Cause,
    asked: str | None = None,
    every: str | None = None,
) -> Watch:
    """Return the requested windows, or all that have come since the last pass."""
    now = datetime.now(UTC)
    watch = choose_looks(pipeline, champion, cause, now, asked=asked, every=every)
    if len(watch.looks) > 1:
        report(Step("windows", f"{len(watch.looks)} to look at, {watch.waiting} wait"))
    return watch


@task(name="load monitored rows", retried=BRIEF)
def load_monitored(pipeline: OpenPipeline, look: Look) -> Snapshot:
    """Read the window's rows into a snapshot; there may be none."""
    report(Step("window", str(look.window or "all rows to score")))
    for note in look.notes:
        report(Step("window", note))
    snapshot = monitored_rows(pipeline, look.champion.roles, look.window)
    report(Step("load", plural(snapshot.rows, "row")))
    return snapshot


@task(name="measure drift", retried=PATIENT)
def measure_drift(pipeline: OpenPipeline, look: Look, snapshot: Snapshot) -> DriftResult:
    """Compare the window with the champion's training rows, column by column."""
    drift = drift_of(pipeline, look, snapshot)
    report(Step("drift", drift.sentence))
    if drift.harm_sentence:
        report(Step("harm", drift.harm_sentence))
    return drift


@task(name="draw drift")
def draw_drift(pipeline: Pipeline, look: Look, snapshot: Snapshot, drift: DriftResult) -> str:
    """Write Evidently's page, for people who want to look."""
    return draw_page(pipeline, look, snapshot, drift)


@task(name="judge window", retried=PATIENT)
def judge_window(
    pipeline: OpenPipeline, look: Look, snapshot: Snapshot, drift: DriftResult
) -> Findings:
    """Judge performance where labels have arrived, and the champion's probation."""
    findings = judge(pipeline, look, snapshot, drift, datetime.now(UTC))
    for performance in findings.performance:
        report(Step("labels", performance.sentence))
    if findings.moved:
        report(Step("probation", findings.moved))
    return findings


@task(name="measure gain", retried=PATIENT)
def measure_gain(pipeline: OpenPipeline, look: Look, findings: Findings) -> Findings:
    """Measure what retraining would bring on newly labelled rows, at the end of a pass."""
    now = datetime.now(UTC)
    findings = with_gain(pipeline, look, findings, now)
    if findings.gain is not None:
        answer = weigh(pipeline.config.policy, findings.gain)
        report(Step("gain", gain_sentence(findings.gain, answer)))
    return findings


@task(name="conclude window", retried=PATIENT)
def conclude_window(
    pipeline: OpenPipeline,
    look: Look,
    snapshot: Snapshot,
    contract: ContractResult,
    findings: Findings,
    prefect_run: str | None,
) -> MonitoringOutcome:
    """Record the findings on a window, on a page, in MLflow and in the ledger."""
    now = datetime.now(UTC)
    return conclude_look(
        pipeline, look, snapshot, contract, findings, prefect_run, now, window_html
    )


@task(name="note stopped window", retried=PATIENT)
def note_stopped_window(
    pipeline: OpenPipeline, look: Look, error: ContractError, prefect_run: str
) -> MonitoringOutcome:
    """Record that the rows of a window broke their contract."""
    now = datetime.now(UTC)
    record_stop(pipeline, "monitoring", look.cause, error, prefect_run, now, look.window)
    return stopped_look(pipeline, look, error.head)


@task(name="judge shadow", retried=PATIENT)
def judge_shadow(pipeline: OpenPipeline, watch: Watch) -> str:
    """Judge a version that predicts beside the champion; return the decision, if any."""
    look = watch.looks[-1]
    decision = try_challenger(pipeline, look.champion, look.cause.correlation, datetime.now(UTC))
    if decision is None:
        return ""
    report(Step("shadow", decision.sentence))
    return decision.sentence if decision.kind == "promoted" else ""


@task(name="conclude monitoring", retried=PATIENT)
def conclude_monitoring(
    pipeline: OpenPipeline, watch: Watch, seen: tuple[MonitoringOutcome, ...]
) -> MonitoringOutcome:
    """Apply the policy; record an alarm where windows call for action and were not reported."""
    outcome = conclude_pass(pipeline, watch, seen, datetime.now(UTC))
    leave(
        "markdown",
        key=f"monitoring-{pipeline.key}",
        markdown=f"**{outcome.window or 'all rows'}**: {outcome.sentence}\n\n"
        f"{outcome.decision.sentence}",
        description=f"The last monitored window of {pipeline.config.name}",
    )
    leave(
        "table",
        key=f"drift-{pipeline.key}",
        table=[
            {**c.model_dump(mode="json"), "notes": "; ".join(c.notes)}
            for c in (outcome.drift.columns if outcome.drift else ())
        ],
        description=f"Columns of {pipeline.config.name} against the training rows",
    )
    report(Step("policy", outcome.decision.sentence))
    return outcome


@task(name="raise alarm")
def raise_alarm(pipeline: Pipeline, outcome: MonitoringOutcome) -> MonitoringOutcome:
    """Emit the event on which the automation starts a training; return the outcome with its id.

    Without Prefect nothing would start: the id is empty, and the training is the next command.
    """
    cause = outcome.cause
    if cause is None:
        return outcome
    event = emit(
        "keepfit.alarm",
        resource={
            "prefect.resource.id": f"keepfit.pipeline.{pipeline.config.name}",
            "prefect.resource.name": pipeline.config.name,
            "keepfit.retrain": str(outcome.decision.retrain).lower(),
            "keepfit.correlation": outcome.correlation,
        },
        payload={
            "cause": cause.model_dump(mode="json"),
            "sentence": outcome.sentence,
            "reasons": list(cause.reasons),
        },
    )
    report(Step("alarm", " ".join(cause.reasons)))
    answered = {"next_command": command("status", file=pipeline.path)} if event else {}
    return outcome.model_copy(update={"event": event, **answered})
