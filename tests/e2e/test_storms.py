"""A storm of alarms on a running stack, and the clocks that change under its schedules."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest

from deploy.api import speaking_to
from deploy.automations import ALARM, resource_of
from deploy.deployments import DEPLOYED, deployment_of
from deploy.upcoming import next_runs
from tasks.base.loop import Cause, new_correlation
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.ledger.ledger import ledger_of
from tests.e2e.churn import add_rows, alarm_of, ask, folder, plan, stack, trained_for
from tests.e2e.faults import say
from tests.e2e.stacks import Stack, until
from tests.tables import FAST, write_churn, write_pipeline

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


NEW_YORK = ZoneInfo("America/New_York")
SPRING = datetime(2027, 3, 13, 5, tzinfo=UTC)  # the clocks go forward on the 14th
AUTUMN = datetime(2027, 11, 6, 4, tzinfo=UTC)  # and back on the 7th
SHOWN_AGAIN = datetime(2027, 11, 7, 6, tzinfo=UTC)


@pytest.mark.parametrize("start", [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_a_change_of_the_clocks_neither_skips_nor_doubles_a_run(
    stack: Stack, tmp_path: Path, start: datetime
) -> None:
    crons = {"training": "30 2 * * *", "scoring": "30 1 * * *", "monitoring": "0 * * * *"}
    keys = ", ".join(f'{flow}: "{cron}"' for flow, cron in crons.items())
    name = f"clock-{start:%b}".lower()
    file = write_pipeline(
        tmp_path, write_churn(tmp_path / "c.csv", 20),
        f"{FAST}schedules: {{{keys}, timezone: America/New_York}}\n",
    )  # fmt: skip
    file.write_text(file.read_text().replace("name: churn", f"name: {name}"))
    plan, end = load_pipeline(file), start + timedelta(days=3)

    for row in DEPLOYED[:3]:
        done = on_the_server(stack, plan, row, start, end)
        told = as_told(plan, row.flow, start, end)

        assert told == done, "`up` and `status` tell what the server does"
        local = [moment.astimezone(NEW_YORK) for moment in done]
        if row.flow == "monitoring":
            hours = [start + timedelta(hours=n) for n in range(72)]
            # An hour that the clock shows twice counts once; the next run makes up for it.
            assert done == [hour for hour in hours if hour != SHOWN_AGAIN]
        else:
            days = [moment.date() for moment in local]
            assert len(days) == len(set(days)) == 3, local


def on_the_server(
    stack: Stack, plan: Pipeline, row: Any, start: datetime, end: datetime
) -> list[datetime]:
    """Let the real server schedule a deployment between two moments; return its runs' times."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    with speaking_to(stack.addresses.prefect_api):
        identity = UUID(str(deployment_of(plan, row).apply()))
    with stack.client() as client:
        asked = {"start_time": start.isoformat(), "end_time": end.isoformat(), "max_runs": 100,
                 "min_time": (end - start).total_seconds()}  # fmt: skip
        client.request("POST", f"/deployments/{identity}/schedule", json=asked)
        wanted = DeploymentFilter(id=DeploymentFilterId(any_=[identity]))
        runs: list[Any] = []
        while page := client.read_flow_runs(deployment_filter=wanted, limit=200, offset=len(runs)):
            runs += page
        client.delete_deployment(identity)
    due = sorted(run.expected_start_time for run in runs)
    return [moment.astimezone(UTC) for moment in due if start <= moment < end]


def as_told(plan: Pipeline, flow: str, start: datetime, end: datetime) -> list[datetime]:
    """Return the moments that keepfit tells as next, one after the other."""
    found: list[datetime] = []
    moment = start - timedelta(seconds=1)
    while True:
        run = next(r for r in next_runs([plan], moment) if r.deployment.startswith(f"{flow}/"))
        assert run.at is not None
        moment = run.at.astimezone(UTC)
        if moment >= end:
            return found
        found.append(moment)


def test_ctrl_c_in_the_middle_of_a_storm_leaves_nothing(stack: Stack) -> None:
    tree = stack.tree()

    assert stack.end(signal.SIGINT) == 0

    assert not any(p.is_running() and p.status() != "zombie" for p in tree)
