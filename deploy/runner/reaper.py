"""Runs whose process has ended: found, ended, reported, and requested once more.

A server learns nothing from a process that is killed: its run would stay RUNNING for ever. Each
flow run therefore names its process in the state folder when it begins, and those are checked
here. Runs that a stopped stack missed are not all made up for: the latest of each deployment is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil

from deploy.prefect.api import connected
from flows.prefect_runs import (
    GONE,
    WATCHED,
    all_runs,
    correlation_of,
    end_run,
    pipeline_tag,
    unsuccessful_runs,
)
from tasks.base.monitoring_records import Decision, decision_id, new_correlation
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.process_identity import has_ended
from tasks.base.runtime.running_flows import marked, marked_at, runner_of, unmark
from tasks.base.servers.stack_file import stopped_at
from tasks.base.utc_times import as_utc
from tasks.ledger.ledger import each_ledger
from tasks.monitoring.alerts.notification import tell
from tasks.monitoring.incidents.run_failures import has_done_its_work, note_cancelled
from tasks.monitoring.incidents.run_outcomes import BACK, report_outcomes
from tasks.orchestration.libraries import filters, objects, run_states
from tasks.registry.open_pipeline import open_pipeline
from tasks.training.interrupted_promotion import record_interrupted

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

_LOGGER = logging.getLogger(__name__)
AGAIN = "again:"
_UNMARKED_SECONDS = 60.0
_STOPPED_SECONDS = 50.0
_CRASHED_WITHIN = timedelta(hours=1)


class Reaper:
    """Looks after the runs of some pipelines on the Prefect API in use.

    They name their process in the `state` folder; no process of an earlier `runner` than this one
    lives; `say` receives a line for each training that has started.
    """

    def __init__(
        self,
        state: Path,
        pipelines: Sequence[Pipeline],
        runner: int,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._state = state
        self.follow(pipelines)
        self._runner = runner
        self._since = datetime.now(UTC)
        self._stopped: dict[int, float] = {}
        self._unmarked: dict[UUID, float] = {}
        self._told: set[UUID] = set()
        self._reported: set[str] = set()
        self._say = say
        self._begun: set[UUID] = set()

    def follow(self, pipelines: Sequence[Pipeline]) -> None:
        """Look after the runs of these pipelines from now on."""
        self._pipelines = {pipeline_tag(p.config.name): p for p in pipelines}

    def reap(self) -> tuple[str, ...]:
        """End and report what has died since the last time; return the ids of those runs."""
        self._end_stopped()
        with connected() as client:
            open_states = (
                objects.StateType.RUNNING,
                objects.StateType.PENDING,
                objects.StateType.CANCELLING,
            )
            for run in _runs(client, open_states):
                if not self._ours(run):
                    continue
                self._say_begun(client, run)
                if self._has_died(run):
                    self._end(client, run)
            self._end_processes_of_crashed(client)
            since = self._since - _CRASHED_WITHIN
            crashed = [
                run
                for run in _runs(client, (objects.StateType.CRASHED,), ended_after=since)
                if run.id not in self._told and self._ours(run)
            ]
            return tuple(str(run.id) for run in crashed if self._tell(client, run))

    def _say_begun(self, client: SyncPrefectClient, run: FlowRun) -> None:
        """Print once that a training has started: it has nothing to show for minutes."""
        if run.id in self._begun or run.state is None or not run.state.is_running():
            return
        self._begun.add(run.id)
        if client.read_flow(run.flow_id).name != "training":
            return
        for tag in run.tags:
            if (pipeline := self._pipelines.get(tag)) is not None:
                cause = run.parameters.get("cause")
                by_alarm = isinstance(cause, dict) and cause.get("kind") == "alarm"
                why = "for an alarm" if by_alarm else "by schedule or by hand"
                self._say(f"{pipeline.config.name}: training started ({why})")

    def report(self) -> int:
        """Record and report outcomes that were not recorded yet; return how many."""
        now, number = datetime.now(UTC), 0
        pipelines = {pipeline.config.name: pipeline for pipeline in self._pipelines.values()}
        with connected() as client:
            found = unsuccessful_runs(client, pipelines, now - BACK, now, self._since)
        for ledger, of in each_ledger(pipelines.values()):
            requested = {request.pipeline for request in ledger.open_requests()}
            for pipeline in of:
                name = pipeline.config.name
                ended = found.get(name, ())
                new = tuple(run for run in ended if f"{run.id} {run.kind}" not in self._reported)
                if new or name in requested:
                    number += report_outcomes(open_pipeline(pipeline, patience=20.0), new, now)
                    self._reported |= {f"{run.id} {run.kind}" for run in new}
        return number

    def cancel_open(self) -> int:
        """Cancel what the runner runs, since the stack ends; return how many runs that were."""
        # Their processes stand still meanwhile, so that none reports a failure of its own.
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self._runner).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    process.suspend()
        with connected() as client:
            going = [
                run
                for run in _runs(client, (objects.StateType.RUNNING, objects.StateType.PENDING))
                if run.deployment_id is not None and not self._pipelines.keys().isdisjoint(run.tags)
            ]
            for run in going:
                self._cancel(client, run)
        return len(going)

    def skip_missed(self) -> int:
        """Cancel scheduled runs that are late, but for the latest of each deployment."""
        # Returns how many were cancelled.
        with connected() as client:
            late: dict[UUID, list[FlowRun]] = {}
            for run in _runs(client, (objects.StateType.SCHEDULED,), due_before=datetime.now(UTC)):
                if run.auto_scheduled and run.deployment_id is not None and self._ours(run):
                    late.setdefault(run.deployment_id, []).append(run)
            missed = [run for runs in late.values() for run in sorted(runs, key=_due)[:-1]]
            for run in missed:
                message = "Missed while the stack did not run; only the latest is made up for."
                client.set_flow_run_state(run.id, run_states.Cancelled(message=message), force=True)
        return len(missed)

    def _ours(self, run: FlowRun) -> bool:
        """Return whether `run` is of these pipelines, or named its process in this state folder."""
        # On a server that several stacks share, the other runs are the others' to judge.
        named = not self._pipelines.keys().isdisjoint(run.tags)
        return named or runner_of(self._state, str(run.id)) is not None

    def _has_died(self, run: FlowRun) -> bool:
        process = runner_of(self._state, str(run.id))
        if process is not None and not has_ended(process):
            return False
        began = run.state.timestamp if run.state is not None else run.created
        if began is None:
            return False
        if process is not None and (
            run.state is None
            or run.state.is_cancelling()
            or marked_at(self._state, str(run.id)) >= began
        ):
            return True
        # No process has named itself since this state began: one is being started, or was.
        if run.deployment_id is not None:
            return bool(began < self._since)
        seen = self._unmarked.setdefault(run.id, time.monotonic())
        return time.monotonic() - seen > _UNMARKED_SECONDS

    def _end_stopped(self) -> None:
        """Kill what the runner started and what has been stopped (SIGSTOP) for a minute."""
        now = time.monotonic()
        stopped: dict[int, float] = {}
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self._runner).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if process.status() == psutil.STATUS_STOPPED:
                        stopped[process.pid] = self._stopped.get(process.pid, now)
                        if now - stopped[process.pid] >= _STOPPED_SECONDS:
                            process.kill()
        self._stopped = stopped

    def _end(self, client: SyncPrefectClient, run: FlowRun) -> None:
        stopped = stopped_at(self._state)
        began = run.state.timestamp if run.state is not None else None
        if stopped and began and began <= stopped and run.deployment_id is not None:
            self._cancel(client, run)
        else:
            end_run(client, run, run_states.Crashed(message=GONE))

    def _cancel(self, client: SyncPrefectClient, run: FlowRun) -> None:
        """Cancel a run that ends with the stack, and request it again for the next start."""
        flow = client.read_flow(run.flow_id).name
        if any(
            has_done_its_work(pipeline, str(run.id))
            for tag in run.tags
            if (pipeline := self._pipelines.get(tag)) is not None
        ):
            message = "keepfit up was stopped when the run had done its work."
            end_run(client, run, run_states.Cancelled(message=message))
            return
        message = "keepfit up was stopped; the run is requested again at its next start."
        end_run(client, run, run_states.Cancelled(message=message))
        again = self._ask_again(client, run, flow)
        for tag in run.tags:
            if (pipeline := self._pipelines.get(tag)) is not None and flow in WATCHED:
                correlation = correlation_of(run.parameters)
                note_cancelled(
                    pipeline, str(run.id), flow, correlation, by="keepfit up", again=again
                )

    def _end_processes_of_crashed(self, client: SyncPrefectClient) -> None:
        """End processes whose run counts as over, and forget those that have ended."""
        ids = marked(self._state)
        known = {str(run.id): run for run in _runs_named(client, ids)}
        for one in ids:
            run, process = known.get(one), runner_of(self._state, one)
            over = run is None or (run.state is not None and run.state.is_final())
            if not over or process is None:
                continue
            if has_ended(process):
                unmark(self._state, one)
            elif run is not None and run.state is not None and run.state.is_crashed():
                _end_below(self._runner, int(process.split("-")[2]))

    def _tell(self, client: SyncPrefectClient, run: FlowRun) -> bool:
        """Request a crashed run again, once in all; record and report it."""
        flow = client.read_flow(run.flow_id).name
        repeated = (run.idempotency_key or "").startswith(AGAIN)
        again = not repeated and self._ask_again(client, run, flow)
        for tag in run.tags:
            if (pipeline := self._pipelines.get(tag)) is not None:
                reaped = _reaped(pipeline, run, flow, again)
                opened = open_pipeline(pipeline)
                record_interrupted(opened)
                if opened.ledger.record(reaped) and flow in WATCHED:
                    tell(pipeline, reaped)
                # What the run had decided and died before it reported; nothing is reported twice.
                made = opened.ledger.decisions(pipeline.config.name, since=_since(run))
                own = [d for d in reversed(made) if d.prefect_run == str(run.id)]
                for decision in (d for d in own if d.kind not in ("reaped", "failed")):
                    tell(pipeline, decision)
        self._told.add(run.id)
        return True

    def _ask_again(self, client: SyncPrefectClient, run: FlowRun, flow: str) -> bool:
        if flow not in WATCHED or run.deployment_id is None:
            return False
        client.create_flow_run_from_deployment(
            run.deployment_id,
            parameters=run.parameters,
            idempotency_key=f"{AGAIN}{run.id}",
            tags=run.tags,
        )
        return True


def _reaped(pipeline: Pipeline, run: FlowRun, flow: str, again: bool) -> Decision:
    since = _since(run)
    then = "It was requested again." if again else "It was not requested again."
    return Decision(
        id=decision_id(pipeline.config.name, "reaped", str(run.id)),
        pipeline=pipeline.config.name,
        kind="reaped",
        at=datetime.now(UTC),
        correlation=correlation_of(run.parameters) or new_correlation(),
        sentence=f"The process of a {flow} run ended unexpectedly. {then}",
        prefect_run=str(run.id),
        evidence={"flow": flow, "since": since.isoformat() if since else None, "again": again},
    )


def _runs(
    client: SyncPrefectClient,
    states: Sequence[Any],
    *,
    ended_after: datetime | None = None,
    due_before: datetime | None = None,
) -> list[FlowRun]:
    wanted = filters.FlowRunFilter(
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=list(states))),
        end_time=filters.FlowRunFilterEndTime(after_=ended_after) if ended_after else None,
        next_scheduled_start_time=(
            filters.FlowRunFilterNextScheduledStartTime(before_=due_before) if due_before else None
        ),
    )
    return all_runs(client, wanted)


def _runs_named(client: SyncPrefectClient, ids: Iterable[str]) -> list[FlowRun]:
    wanted = [UUID(one) for one in ids]
    if not wanted:
        return []
    return all_runs(client, filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=wanted)))


def _since(run: FlowRun) -> datetime | None:
    moment = run.start_time or run.created
    return None if moment is None else as_utc(moment)


def _due(run: FlowRun) -> datetime:
    return (
        run.next_scheduled_start_time or run.expected_start_time or datetime.min.replace(tzinfo=UTC)
    )


def _end_below(runner: int, pid: int) -> None:
    """Kill the process `pid` with all below it, if `runner` started it."""
    try:
        process = psutil.Process(pid)
        if runner not in {parent.pid for parent in process.parents()} or pid == os.getpid():
            return
        for one in (*process.children(recursive=True), process):
            one.kill()
    except psutil.Error as error:
        _LOGGER.debug("process %s: %s", pid, error)
