"""Event → action on Prefect's server, which outlives keepfit: an alarm trains, failures alert."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from deploy.prefect.api import connected, deployment_named
from deploy.prefect.deployments import TAG
from deploy.prefect.flow_heartbeat import HEARTBEAT_SECONDS
from flows.prefect_runs import WATCHED, pipeline_tag
from tasks.base.pipeline_file import Pipeline
from tasks.orchestration.libraries import automation_schemas, event_actions, objects

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import Automation, AutomationCore

ALARM = "keepfit.alarm"
# A label that only probes have: they are counted apart, and use up no alarm's minute.
PROBE_LABEL = "keepfit.probe"
STORM = timedelta(seconds=60)
# Three heartbeats; with the server's own five seconds a dead run is known within 120 s.
SILENCE = timedelta(seconds=3 * HEARTBEAT_SECONDS)
_MESSAGE_LENGTH = 2_000


def resource_of(name: str) -> str:
    """Return the id of the resource that the events of the pipeline `name` are about.

    >>> resource_of("flights")
    'keepfit.pipeline.flights'
    """
    return f"keepfit.pipeline.{name}"


def automations_of(pipeline: Pipeline, training: UUID, noticing: UUID) -> list[AutomationCore]:
    """Return the automations of a pipeline, which run its deployments `training` and `noticing`."""
    name = pipeline.config.name
    return [_alarm(name, training), _failure(name, noticing), _silence(name)]


def apply_automations(pipelines: Sequence[Pipeline]) -> tuple[str, ...]:
    """Create, update or remove automations of `pipelines`; return the names of those changed."""
    # Those of other pipelines stay as they are. The pipelines' deployments must be there.
    with connected() as client:
        return tuple(change for p in pipelines for change in _apply(client, p))


def remove_automations(names: Iterable[str]) -> tuple[str, ...]:
    """Remove every automation of the pipelines `names`; return the names of what was removed."""
    removed = []
    with connected() as client:
        for name in names:
            for found in standing_automations(client, name):
                client.delete_automation(found.id)
                removed.append(found.name)
    return tuple(removed)


def _apply(client: SyncPrefectClient, pipeline: Pipeline) -> Iterable[str]:
    name = pipeline.config.name
    ids = [deployment_named(client, f"{flow}/{name}").id for flow in ("training", "noticing")]
    present: dict[str, list[Automation]] = {}
    for found in standing_automations(client, name):
        present.setdefault(found.name, []).append(found)
    for wanted in automations_of(pipeline, *ids):
        same_named = present.get(wanted.name, [])
        if not same_named:
            client.create_automation(wanted)
            yield wanted.name
            continue
        first = same_named.pop(0)
        keys = ("name", "description", "enabled", "trigger", "actions", "tags")
        if not all(_plain(getattr(first, key)) == _plain(getattr(wanted, key)) for key in keys):
            client.update_automation(first.id, wanted)
            yield wanted.name
    for leftover in (a for group in present.values() for a in group):
        client.delete_automation(leftover.id)
        yield leftover.name


def standing_automations(client: SyncPrefectClient, name: str) -> list[Automation]:
    """Return the automations of the pipeline `name` that the server holds."""
    from prefect.events.filters import AutomationFilter, AutomationFilterTags  # defers prefect

    wanted = AutomationFilter(tags=AutomationFilterTags(all_=[TAG, pipeline_tag(name)]))
    return client.read_automations(automations=wanted)


def _plain(value: Any) -> Any:
    """Return `value` as plain values that compare whatever the order of what has none."""
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump())
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _core(name: str, title: str, **parts: Any) -> automation_schemas.AutomationCore:
    return automation_schemas.AutomationCore(
        name=f"keepfit {name}: {title}", enabled=True, tags=[TAG, pipeline_tag(name)], **parts
    )


def _alarm(name: str, training: UUID) -> AutomationCore:
    return _core(
        name,
        "alarm → training",
        description=(
            f"When monitoring requests a retraining of {name}, its training starts, with the "
            "alarm as its cause; at most once a minute, however many alarms come."
        ),
        trigger=automation_schemas.EventTrigger(
            expect={ALARM},
            match={"prefect.resource.id": resource_of(name), "keepfit.retrain": "true"},
            for_each={"prefect.resource.id", PROBE_LABEL},
            posture=automation_schemas.Posture.Reactive,
            threshold=1,
            within=STORM,
        ),
        actions=[
            event_actions.RunDeployment(
                source="selected",
                deployment_id=training,
                parameters={"cause": _json("{{ event.payload.cause | tojson }}")},
            )
        ],
    )


def _failure(name: str, noticing: UUID) -> AutomationCore:
    message = f"(event.resource['prefect.state-message'] or '')[:{_MESSAGE_LENGTH}]"
    return _core(
        name,
        "failed run → notice",
        description=f"When a run of {name} fails or crashes, an alert is sent.",
        trigger=automation_schemas.EventTrigger(
            # States of these types have other names too, such as TimedOut.
            expect={"prefect.flow-run.*"},
            match={
                "prefect.resource.id": "prefect.flow-run.*",
                "prefect.state-type": ["FAILED", "CRASHED"],
            },
            match_related=[
                {"prefect.resource.id": f"prefect.tag.{pipeline_tag(name)}"},
                {"prefect.resource.role": "flow", "prefect.resource.name": list(WATCHED)},
            ],
            for_each={"prefect.resource.id"},
            posture=automation_schemas.Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            event_actions.RunDeployment(
                source="selected",
                deployment_id=noticing,
                parameters={
                    "flow_run": _text(
                        "{{ event.resource['prefect.resource.id'] | "
                        "replace('prefect.flow-run.', '') }}"
                    ),
                    "flow": _text("{{ flow.name }}"),
                    "state": _text("{{ event.resource['prefect.state-name'] }}"),
                    "message": _text("{{ " + message + " }}"),
                },
            )
        ],
    )


def _silence(name: str) -> AutomationCore:
    heartbeat = "prefect.flow-run.heartbeat"
    ends = (
        "Completed", "Skipped", "Failed", "TimedOut", "Cancelled", "Crashed", "Paused", "Suspended",
    )  # fmt: skip
    seconds = int(SILENCE.total_seconds())
    return _core(
        name,
        "silent run → crashed",
        description=(
            f"When a run of {name} gives no sign of life for {seconds} s, it counts as crashed; "
            "that is then reported like any failure."
        ),
        trigger=automation_schemas.EventTrigger(
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{state}" for state in ends)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.id": f"prefect.tag.{pipeline_tag(name)}"},
            for_each={"prefect.resource.id"},
            posture=automation_schemas.Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            event_actions.ChangeFlowRunState(
                state=objects.StateType.CRASHED,
                message=f"No sign of life for {seconds} s: its process has died or stands still.",
            )
        ],
    )


def _text(template: str) -> dict[str, Any]:
    return {"__prefect_kind": "jinja", "template": template}


def _json(template: str) -> dict[str, Any]:
    """Return a parameter that arrives with its types; a bare template arrives as a string."""
    return {"__prefect_kind": "json", "value": _text(template)}
