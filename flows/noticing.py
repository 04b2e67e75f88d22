"""Noticing: a run that failed → decision → people told."""

from __future__ import annotations

from prefect import flow as prefect_flow

from flows.run_lifecycle import pipeline_of_run
from tasks.alert import note_failure, tell_people
from tasks.monitoring.alerts.apprise_channel import Delivery


@prefect_flow(name="noticing", flow_run_name="noticing {flow} of {pipeline}")
def noticing(
    pipeline: str, flow_run: str, flow: str, state: str, message: str = ""
) -> Delivery | None:
    """Record that a flow run failed and tell people once.

    Parameters
    ----------
    pipeline
        Path of the pipeline file.
    flow_run, flow
        Id and flow name of the Prefect run.
    state, message
        Name and message of its state.
    """
    plan = pipeline_of_run(pipeline)
    decision = note_failure(plan, flow_run, flow, state, message)
    return tell_people(plan, decision)
