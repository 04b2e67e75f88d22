"""Monitoring: window → contract → drift and performance → policy → alarm."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, runtime

from flows.accounting import answerable, run_name
from tasks.alert import tell_decided
from tasks.base.known import pipeline_in_use
from tasks.base.loop import Cause
from tasks.base.outcomes import MonitoringOutcome
from tasks.monitor import (
    choose_window,
    conclude_monitoring,
    draw_drift,
    judge_window,
    load_monitored,
    measure_drift,
    raise_alarm,
)
from tasks.score import find_champion
from tasks.validate import check_features


@flow(name="monitoring", flow_run_name=run_name)
def monitoring(
    pipeline: str, window: str | None = None, cause: Cause | None = None
) -> MonitoringOutcome:
    """Look at one window of a pipeline's incoming rows and decide what follows.

    Parameters
    ----------
    pipeline
        Path of the pipeline file.
    window
        ``A..B``: dates or times, closed at its start and open at its end; the latest complete
        window when absent.
    cause
        Why; by the calendar when absent.
    """
    plan = pipeline_in_use(Path(pipeline))
    with answerable(plan, "monitoring", cause) as why:
        champion = find_champion(plan)
        look = choose_window(plan, champion, window, why)
        snapshot = load_monitored(plan, look)
        contract = check_features(plan, snapshot, champion)
        drift = measure_drift(plan, look, snapshot)
        drawing = draw_drift.submit(plan, look, snapshot, drift)
        findings = judge_window(plan, look, snapshot, drift)
        findings = findings.model_copy(update={"evidently": drawing.result()})
        outcome = conclude_monitoring(plan, look, snapshot, contract, findings, runtime.flow_run.id)
        if outcome.alarm:
            outcome = outcome.model_copy(update={"event": raise_alarm(plan, outcome)})
        tell_decided(plan, outcome.correlation)
    return outcome
