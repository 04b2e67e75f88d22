"""A storm of alarms on a running stack."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from deploy.automations import ALARM, resource_of
from tasks.base.loop import Cause, new_correlation
from tasks.base.pipeline_file import Pipeline
from tasks.ledger.ledger import ledger_of
from tests.e2e.churn import add_rows, alarm_of, ask, folder, plan, stack, trained_for
from tests.e2e.faults import say
from tests.e2e.stacks import Stack, until

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1200)]
__all__ = ["folder", "plan", "stack"]


def test_a_storm_of_alarms_with_a_restart_in_it_trains_once(stack: Stack, plan: Pipeline) -> None:
    add_rows(plan.path.parent, 40, 13)
    cause = alarm_of(plan, "storm")
    events = [event_of(cause.model_copy(update={"correlation": new_correlation()}))
              for _ in range(700)]  # fmt: skip
    # Three in ten are sent twice: the same event, with its id.
    storm = [*events[:350], *events[:300], *events[350:]]
    with stack.client() as client:
        for first in range(0, len(storm), 10):
            if first == 500:
                stack.part("deploy.servers prefect").kill()
            send(client, storm[first : first + 10])
    for _ in range(4):
        ask(stack, cause)

    runs = settled(stack)
    say("runs", len(runs))
    say("events", len(storm))
    assert len(trained_for(plan, cause.key)) == 1
    states = [str(run.state.name) for run in runs]
    assert states.count("Completed") == 1, states
    assert set(states) == {"Completed", "Skipped"}, states
    skips = ledger_of(plan).decisions("churn", kinds=("skipped",))
    assert {"duplicate"} <= {str(d.evidence["withheld"]) for d in skips}


def event_of(cause: Cause) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": ALARM,
        "resource": {
            "prefect.resource.id": resource_of("churn"),
            "prefect.resource.name": "churn",
            "keepfit.retrain": "true",
            "keepfit.correlation": cause.correlation,
        },
        "payload": {"cause": cause.model_dump(mode="json"), "sentence": "", "reasons": []},
    }


def send(client: Any, events: list[dict[str, Any]]) -> None:
    """Send events until the server has taken them."""

    def taken() -> bool:
        try:
            client.request("POST", "/events", json=events)
        except httpx.HTTPError:
            return False
        return True

    until(taken, 240)


def settled(stack: Stack) -> list[Any]:
    """Return the runs since the storm, once all have ended and none has come for 75 s."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    count, since = -1, time.monotonic()

    def quiet() -> list[Any]:
        nonlocal count, since
        with stack.client() as client:
            deployment = client.read_deployment_by_name("training/churn").id
            wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
            found = client.read_flow_runs(deployment_filter=wanted, limit=200)
        runs = [r for r in found if not r.auto_scheduled and "storm" in str(r.parameters)]
        if len(runs) != count:
            count, since = len(runs), time.monotonic()
        over = all(run.state is not None and run.state.is_final() for run in runs)
        return runs if over and time.monotonic() - since > 75 else []

    return list(until(quiet, 900, every=5))


def test_ctrl_c_in_the_middle_of_a_storm_leaves_nothing(stack: Stack) -> None:
    tree = stack.tree()

    assert stack.end(signal.SIGINT) == 0

    assert not any(p.is_running() and p.status() != "zombie" for p in tree)
