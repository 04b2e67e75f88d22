"""Runs of a pipeline on the Prefect API in use, as values without Prefect's types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tasks.base.runtime.running_flows import left_on, unmark
from tasks.base.servers.stack_file import running_stack
from tasks.monitoring.incidents.run_outcomes import EndedRun
from tasks.orchestration.libraries import (
    filters,
    objects,
    prefect_client,
    prefect_settings,
    run_states,
)
from tasks.orchestration.prefect_api import answers, configured_api

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

WATCHED = ("training", "scoring", "monitoring")
GONE = "Its process has ended without a word."
_LATE = timedelta(minutes=15)
_MOST = 200
_ANSWER_SECONDS = 2.0


def pipeline_tag(name: str) -> str:
    """Return the tag that one pipeline's runs carry.

    >>> pipeline_tag("flights")
    'keepfit.pipeline:flights'
    """
    return f"keepfit.pipeline:{name}"


def correlation_of(parameters: dict[str, Any]) -> str:
    """Return the correlation of the cause among a run's parameters; empty without one."""
    cause = parameters.get("cause")
    found = cause.get("correlation") if isinstance(cause, dict) else None
    return str(found or "")


def end_left(state: Path) -> None:
    """Crash runs on the configured API that dead processes of this state folder left."""
    # A running stack does so itself. Prefect is imported only where there are some.
    api = configured_api() or ""
    left = left_on(state, api)
    if not left or running_stack(state) is not None or not answers(api, _ANSWER_SECONDS):
        return
    wanted = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[UUID(run) for run in left]))
    with (
        prefect_settings.temporary_settings({prefect_settings.PREFECT_API_URL: api}),
        prefect_client.get_client(sync_client=True) as client,
    ):
        for run in all_runs(client, wanted):
            now, marked = run.state, left[str(run.id)]
            # One that has been started anew since is not the dead process's.
            if now and not now.is_final() and not now.is_scheduled() and now.timestamp <= marked:
                end_run(client, run, run_states.Crashed(message=GONE))
    for one in left:
        unmark(state, one)


def end_run(client: SyncPrefectClient, run: FlowRun, state: Any) -> None:
    """Give a run whose process is gone a final state, and its tasks that count as open."""
    open_states = filters.TaskRunFilterState(
        type=filters.TaskRunFilterStateType(
            any_=[kind for kind in objects.StateType if kind not in objects.TERMINAL_STATES]
        )
    )
    tasks = client.read_task_runs(
        flow_run_filter=filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run.id])),
        task_run_filter=filters.TaskRunFilter(state=open_states),
        limit=_MOST,
    )
    for task in tasks:
        client.set_task_run_state(task.id, state, force=True)
    client.set_flow_run_state(run.id, state, force=True)


def unsuccessful_runs(
    client: SyncPrefectClient,
    names: Iterable[str],
    since: datetime,
    now: datetime,
    awake: datetime | None = None,
) -> dict[str, tuple[EndedRun, ...]]:
    """Return pipeline to its runs that failed since then or are late to start, if any."""
    # However many pipelines there are, the number of API requests is the same. Runs that were due
    # before `awake`, while nobody could start them, are not late at once.
    tags = {pipeline_tag(name): name for name in names}
    wanted = filters.FlowFilter(name=filters.FlowFilterName(any_=list(WATCHED)))
    flows = {flow.id: flow.name for flow in client.read_flows(flow_filter=wanted)}
    found = list(_ended(client, tags, flows, since))
    if awake is None or now - awake >= _LATE:
        found += _late(client, tags, flows, since, now)
    return {name: tuple(run for of, run in found if of == name) for name in {of for of, _ in found}}


def _ended(
    client: SyncPrefectClient, tags: Mapping[str, str], flows: dict[UUID, str], since: datetime
) -> Iterable[tuple[str, EndedRun]]:
    kind = objects.StateType
    kinds = {kind.FAILED: "failed", kind.CRASHED: "crashed", kind.CANCELLED: "cancelled"}
    ended = filters.FlowRunFilterEndTime(after_=since)
    for name, run in _runs(client, tags, list(kinds), end_time=ended):
        if run.state is None or run.flow_id not in flows:
            continue
        # What was cancelled before it began was one too many, or was missed. It has a start time.
        if run.state.type == objects.StateType.CANCELLED and not run.run_count:
            continue
        yield name, _ended_run(run, flows[run.flow_id], kinds[run.state.type], run.state.name or "")


def _late(
    client: SyncPrefectClient,
    tags: Mapping[str, str],
    flows: dict[UUID, str],
    since: datetime,
    now: datetime,
) -> Iterable[tuple[str, EndedRun]]:
    """Yield the longest awaited run of each flow of a pipeline of which none runs."""
    due = filters.FlowRunFilterExpectedStartTime(after_=since, before_=now - _LATE)
    late: dict[tuple[str, str], FlowRun] = {}
    for name, run in _runs(client, tags, [objects.StateType.SCHEDULED], expected_start_time=due):
        if run.flow_id in flows and run.expected_start_time is not None:
            first = late.setdefault((name, flows[run.flow_id]), run)
            if _expected(run) < _expected(first):
                late[name, flows[run.flow_id]] = run
    if not late:
        return
    going = _runs(client, tags, [objects.StateType.RUNNING, objects.StateType.PENDING])
    busy = {(name, flows.get(run.flow_id)) for name, run in going}
    for (name, flow), run in late.items():
        if (name, flow) not in busy:
            sentence = f"It was due at {_expected(run):%Y-%m-%d %H:%M} UTC and has not started."
            yield name, _ended_run(run, flow, "late", "Late", sentence)


def _runs(
    client: SyncPrefectClient, tags: Mapping[str, str], states: Sequence[Any], **further: Any
) -> list[tuple[str, FlowRun]]:
    """Return runs of the pipelines that `tags` name, each with its pipeline."""
    wanted = filters.FlowRunFilter(
        tags=filters.FlowRunFilterTags(any_=list(tags)),
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=list(states))),
        **further,
    )
    return [(tags[tag], run) for run in all_runs(client, wanted) for tag in run.tags if tag in tags]


def all_runs(client: SyncPrefectClient, wanted: Any) -> list[FlowRun]:
    """Return all runs that a filter admits, page after page."""
    found: list[FlowRun] = []
    while page := client.read_flow_runs(flow_run_filter=wanted, limit=_MOST, offset=len(found)):
        found += page
        if len(page) < _MOST:
            break
    return found


def _ended_run(run: FlowRun, flow: str, kind: Any, state: str, message: str = "") -> EndedRun:
    stated = run.state.message if run.state is not None else None
    return EndedRun(
        id=str(run.id), flow=flow, kind=kind, state=state, message=message or stated or "",
        correlation=correlation_of(run.parameters),
    )  # fmt: skip


def _expected(run: FlowRun) -> datetime:
    return run.expected_start_time or datetime.min.replace(tzinfo=UTC)
