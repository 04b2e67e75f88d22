"""Monitoring: windows → contract → drift and performance → policy → alarm."""

from __future__ import annotations

from collections.abc import Sequence

from flows.run_lifecycle import answerable, named, pipeline_of_run
from tasks.alert import tell_decided
from tasks.base.command_results import MonitoringOutcome
from tasks.base.errors import ContractError
from tasks.base.monitoring_records import Cause
from tasks.monitor import (
    choose_windows,
    conclude_monitoring,
    conclude_window,
    draw_drift,
    judge_shadow,
    judge_window,
    load_monitored,
    measure_drift,
    measure_gain,
    note_stopped_window,
    raise_alarm,
)
from tasks.monitoring.monitored_window import Look
from tasks.monitoring.windows.conclusion import stop_of
from tasks.orchestration.current_run import run_id
from tasks.orchestration.declarations import flow
from tasks.registry.open_pipeline import OpenPipeline
from tasks.score import find_champion
from tasks.validate import admit_window


@flow("monitoring", run_name=named)
def monitoring(
    pipeline: str, window: str | None = None, cause: Cause | None = None, every: str | None = None
) -> MonitoringOutcome:
    """Look at the windows of a pipeline that have come since, and decide once what follows.

    `pipeline`: path of the pipeline file; `window`: ``A..B``: dates or times, closed at its start
    and open at its end; when absent, every complete window since the last pass, as far as
    `monitoring.catch_up` goes; `cause`: why; by the calendar when absent; `every`: length of the
    windows into which `window` is cut, such as ``7d``.
    """
    plan = pipeline_of_run(pipeline)
    with answerable(plan, "monitoring", cause) as why:
        watch = choose_windows(plan, find_champion(plan), why, window, every)
        seen: list[MonitoringOutcome] = []
        stops: list[ContractError] = []
        for look in watch.looks:
            seen.append(_look_at(plan, look, seen, stops))
        if seen[-1].moved and find_champion(plan).version != seen[-1].version:
            # What retraining would bring is measured of the version that came back.
            seen.append(_look_at(plan, watch.looks[-1], seen, stops))
        moved = judge_shadow(plan, watch)
        outcome = conclude_monitoring(plan, watch, tuple(seen))
        moved = next((one.moved for one in reversed(seen) if one.moved), moved)
        outcome = outcome.model_copy(update={"moved": moved})
        if outcome.cause is not None:
            outcome = raise_alarm(plan, outcome)
        tell_decided(plan, outcome.correlation)
        if outcome.stopped:
            raise stop_of(stops[-1], outcome)
    return outcome


def _look_at(
    plan: OpenPipeline, look: Look, seen: Sequence[MonitoringOutcome], stops: list[ContractError]
) -> MonitoringOutcome:
    """Return the findings of one window; where its rows break their contract, the next goes on."""
    run = run_id()
    if any(earlier.moved for earlier in seen):
        # The probation moved the alias back.
        look = look.model_copy(update={"champion": find_champion(plan)})
    try:
        snapshot = load_monitored(plan, look)
        admitted = admit_window(plan, snapshot, look.champion)
        snapshot, contract = admitted.snapshot, admitted.contract
    except ContractError as error:
        error.noted = True
        stops.append(error)
        return note_stopped_window(plan, look, error, run)
    drift = measure_drift(plan, look, snapshot)
    drawing = draw_drift.submit(plan, look, snapshot, drift)
    findings = judge_window(plan, look, snapshot, drift)
    findings = findings.model_copy(update={"evidently": drawing.result()})
    if look.last:
        findings = measure_gain(plan, look, findings)
    return conclude_window(plan, look, snapshot, contract, findings, run)
