"""Noticing: a run that failed → decision → alert."""

from __future__ import annotations

from flows.run_lifecycle import pipeline_of_run
from tasks.alert import note_failure, tell_people
from tasks.monitoring.alerts.apprise_channel import Delivery
from tasks.orchestration.declarations import flow as declared


@declared("noticing", run_name="noticing {flow} of {pipeline}")
def noticing(
    pipeline: str, flow_run: str, flow: str, state: str, message: str = ""
) -> Delivery | None:
    """Record that a flow run failed and send one alert."""
    plan = pipeline_of_run(pipeline, edited=True)
    return tell_people(plan, note_failure(plan, flow_run, flow, state, message))
