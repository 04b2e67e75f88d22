"""Modules of Prefect, which needs 0.8 s to import, and its HTTP client, imported at first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expectations.engine.lazy_imports import Deferred

if TYPE_CHECKING:
    import httpx
    from prefect import exceptions as prefect_errors
    from prefect import settings as prefect_settings
    from prefect import states as run_states
    from prefect.client import orchestration as prefect_client
    from prefect.client.schemas import filters, objects
    from prefect.deployments import runner as deployment_runner
    from prefect.events import actions as event_actions
    from prefect.events.schemas import automations as automation_schemas
else:
    automation_schemas = Deferred("prefect.events.schemas.automations")
    deployment_runner = Deferred("prefect.deployments.runner")
    event_actions = Deferred("prefect.events.actions")
    prefect_client = Deferred("prefect.client.orchestration")
    prefect_errors = Deferred("prefect.exceptions")
    prefect_settings = Deferred("prefect.settings")
    httpx = Deferred("httpx")
    objects = Deferred("prefect.client.schemas.objects")
    filters = Deferred("prefect.client.schemas.filters")
    run_states = Deferred("prefect.states")

__all__ = [
    "automation_schemas", "deployment_runner", "event_actions", "filters", "httpx", "objects",
    "prefect_client", "prefect_errors", "prefect_settings", "run_states",
]  # fmt: skip
