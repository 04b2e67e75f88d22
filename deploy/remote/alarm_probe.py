"""A probe of the automations: an alarm without training, sent to check that a run starts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from deploy.prefect.automations import ALARM, PROBE_LABEL, resource_of
from tasks.base.errors import InfrastructureError
from tasks.base.monitoring_records import Cause, new_correlation
from tasks.base.training_records import Record
from tasks.orchestration.libraries import filters, prefect_errors

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

_AGAIN_SECONDS = 10.0
_PAUSE_SECONDS = 0.2
_SOON = timedelta(minutes=5)


class Probe(Record):
    """Reaction of a pipeline's alarm automation."""

    pipeline: str
    seconds: float  # from the event to the training run that it made
    flow_run: str  # id of that run
    removed: bool  # whether the run was removed before it started; one that started ends by itself


def probe(client: SyncPrefectClient, name: str, deployment: UUID, seconds: float) -> Probe:
    """Emit a probe event for the pipeline `name`; wait `seconds` for a run of `deployment`."""
    # Raises InfrastructureError when no run is made in time, or its `cause` is not what was sent.
    cause = Cause(
        kind="probe",
        correlation=new_correlation(),
        reasons=("`keepfit deploy` checks that its automation reacts",),
        at=datetime.now(UTC),
    )
    began = time.monotonic()
    sent = 0
    for passed in _moments(began, seconds):
        if passed >= sent * _AGAIN_SECONDS:
            emit_alarm(client, name, cause, {PROBE_LABEL: cause.correlation})
            sent += 1
        found = run_caused_by(client, deployment, cause.correlation)
        if found is not None:
            took = time.monotonic() - began
            removed = _remove(client, found)
            _check_types(name, found.parameters.get("cause"), cause)
            return Probe(pipeline=name, seconds=took, flow_run=str(found.id), removed=removed)
    raise InfrastructureError(
        f"{name}: the automation “alarm → training” did not react to a probe within {seconds:g} s"
        f"{_refusal(client, cause.at)}.",
        "See that the automation is enabled on the server's page, that the server's services run "
        "(PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED; `prefect server services ls`), and that the "
        "clocks of both machines agree.",
    )


def emit_alarm(
    client: SyncPrefectClient, name: str, cause: Cause, labels: dict[str, str] | None = None
) -> None:
    """Send the event that calls for a training of the pipeline `name`."""
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": ALARM,
        "resource": {
            "prefect.resource.id": resource_of(name),
            "prefect.resource.name": name,
            "keepfit.retrain": "true",
            "keepfit.correlation": cause.correlation,
            **(labels or {}),
        },
        "payload": {
            "cause": cause.model_dump(mode="json"),
            "sentence": "; ".join(cause.reasons),
            "reasons": list(cause.reasons),
        },
    }
    client.request("POST", "/events", json=[event])


def run_caused_by(client: SyncPrefectClient, deployment: UUID, correlation: str) -> FlowRun | None:
    """Return the newest run of `deployment` whose cause carries `correlation`."""
    from prefect.client.schemas.sorting import FlowRunSort  # defers prefect

    # The calendar's runs of months ahead stand on the server too.
    soon = filters.FlowRunFilterExpectedStartTime(before_=datetime.now(UTC) + _SOON)
    runs = client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(expected_start_time=soon),
        deployment_filter=filters.DeploymentFilter(
            id=filters.DeploymentFilterId(any_=[deployment])
        ),
        sort=FlowRunSort.ID_DESC,
        limit=50,
    )
    return next((run for run in runs if correlation in str(run.parameters.get("cause"))), None)


def _moments(began: float, seconds: float) -> Iterator[float]:
    """Yield the seconds that have passed, every so often, until `seconds` have."""
    while (passed := time.monotonic() - began) < seconds:
        yield passed
        time.sleep(_PAUSE_SECONDS)


def _remove(client: SyncPrefectClient, run: FlowRun) -> bool:
    if run.state is None or not run.state.is_scheduled():
        return False
    try:
        client.delete_flow_run(run.id)
    except prefect_errors.ObjectNotFound:
        return False
    return True


def _check_types(name: str, arrived: Any, cause: Cause) -> None:
    try:
        same = Cause.model_validate(arrived) == cause
    except ValueError:
        same = False
    if not same:
        raise InfrastructureError(
            f"{name}: the alarm's cause reached the training as {type(arrived).__name__}, not as "
            "what was sent.",
            "Compare the server's version with the tested ones: `keepfit doctor`.",
        )


def _refusal(client: SyncPrefectClient, since: datetime) -> str:
    """Return why the server's last action failed, if one did."""
    wanted = {
        "event": {"name": ["prefect.automation.action.failed"]},
        "occurred": {"since": since.isoformat()},
    }
    answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1}).json()
    reasons = [str(event["payload"].get("reason", "")) for event in answer.get("events", [])]
    return f" ({reasons[0][:300]})" if reasons else ""
