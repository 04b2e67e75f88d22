"""Clocks that change under a schedule: what the server does, and what keepfit says of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from deploy.prefect.deployments import deployment_of
from deploy.prefect.next_runs import next_runs
from tasks.base.pipeline_file import Pipeline

NEW_YORK = ZoneInfo("America/New_York")
SPRING = datetime(2027, 3, 13, 5, tzinfo=UTC)  # the clocks go forward on the 14th
AUTUMN = datetime(2027, 11, 6, 4, tzinfo=UTC)  # and back on the 7th
SHOWN_AGAIN = datetime(2027, 11, 7, 6, tzinfo=UTC)


def on_the_server(
    client: Any, plan: Pipeline, row: Any, start: datetime, end: datetime
) -> list[datetime]:
    """Let the real server schedule a deployment between two moments; return its runs' times."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    identity = UUID(str(deployment_of(plan, row).apply()))
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
