"""`keepfit doctor --loop`: drift is injected under a scratch pipeline, and each leg is timed.

Prefect's server with its events, automations and runs is the running stack's; ledger, models and
files are the scratch pipeline's own, in a folder that is removed afterwards.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from deploy.child_processes import end, launch
from deploy.doctor.checks import Found, failed, ok
from deploy.doctor.scratch_pipeline import write_drifted, write_project
from deploy.prefect.api import connected, speaking_to
from deploy.prefect.automations import ALARM, remove_automations, resource_of, standing_automations
from deploy.prefect.deployments import DEPLOYED
from deploy.remote.alarm_probe import run_caused_by
from deploy.stack.environments import of_runner
from tasks.base.errors import InfrastructureError
from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.environment import module_command
from tasks.base.runtime.files import private_folder
from tasks.base.servers.stack_file import RunningStack, running_stack
from tasks.base.training_records import Record
from tasks.base.utc_times import as_utc
from tasks.ledger.ledger import ledger_of
from tasks.orchestration.libraries import filters, prefect_errors

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

_Seen = TypeVar("_Seen")
_PATIENCE = 300.0
_PAUSE = 0.25
_DECIDED = ("trained", "promoted", "refused", "skipped")


class Leg(Record):
    """One part of the way, and how long it took."""

    name: str
    seconds: float
    what: str


class LoopResult(Record):
    """The way from drifted rows to the alert."""

    pipeline: str
    legs: tuple[Leg, ...]
    seconds: float
    failure: str = ""  # at which leg it ended and why; empty when it went all the way

    def verdict(self) -> Found:
        """Return it as the finding of a check."""
        if self.failure:
            return failed(
                f"{len(self.legs)} legs, then: {self.failure}",
                "See the run's log on Prefect's page, and the log of the stack's runner.",
            )
        return ok(f"alarm → event → training → decision → alert: {len(self.legs)} legs")


def run_loop(state: Path) -> LoopResult:
    """Send a scratch pipeline once around the loop of the stack that runs on `state`."""
    # Nothing of it remains: neither deployments, automations and runs on the server, nor files.
    stack = running_stack(state)
    if stack is None:
        raise InfrastructureError(f"No stack runs on {state}.", "Start it: keepfit up FILE")
    name = f"doctor-{secrets.token_hex(4)}"
    folder = state / "doctor" / name
    began = time.monotonic()
    legs: list[Leg] = []
    failure = ""
    try:
        with _scratch(stack, folder, name) as trip:
            legs.extend(trip.legs())
    except InfrastructureError as error:
        failure = error.message
    return LoopResult(
        pipeline=name, legs=tuple(legs), seconds=time.monotonic() - began, failure=failure
    )


class _Receiver(ThreadingHTTPServer):
    """An alert channel on loopback that remembers when it received a message."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[datetime] = []

    @property
    def channel(self) -> str:
        """The Apprise URL of this receiver."""
        return f"json://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if isinstance(self.server, _Receiver):
            self.server.told.append(datetime.now(UTC))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@dataclass(frozen=True)
class _Trip:
    """A scratch pipeline on its way around the loop."""

    client: SyncPrefectClient
    pipeline: Pipeline
    receiver: _Receiver
    began: datetime

    @property
    def name(self) -> str:
        return self.pipeline.config.name

    def legs(self) -> Iterator[Leg]:
        """Go around; yield each leg when it is done, in time, else raise InfrastructureError."""
        trained = self._run("training", {})
        yield Leg(name="training", seconds=trained, what="the first champion")
        window = write_drifted(self.pipeline.base, self.began, datetime.now(UTC))
        requested_at = datetime.now(UTC)
        self._run("monitoring", {"window": str(window)})
        alarm = self._decision(("alarmed",), since=requested_at)
        yield Leg(name="alarm", seconds=_between(requested_at, alarm.at), what=alarm.sentence)
        received = self._await("the alarm's event", lambda: self._event(alarm.correlation))
        yield Leg(name="event", seconds=_between(alarm.at, received), what="keepfit.alarm received")
        run = self._await("the training's start", lambda: self._started(alarm.correlation))
        started = as_utc(run.start_time or datetime.now(UTC))
        yield Leg(name="training run", seconds=_between(received, started), what=run.name)
        decided = self._decision(_DECIDED, since=started, correlation=alarm.correlation)
        yield Leg(name="decision", seconds=_between(started, decided.at), what=decided.sentence)
        heard = self._await("the alert", lambda: self._told(decided.at))
        yield Leg(name="alert", seconds=_between(decided.at, heard), what="one message received")

    def _run(self, flow: str, parameters: dict[str, str]) -> float:
        """Run a deployment to its end; return the seconds that it took."""
        began = time.monotonic()
        deployment = self._await(
            f"the deployment {flow}/{self.name}", lambda: self._deployment(flow)
        )
        run = self.client.create_flow_run_from_deployment(deployment, parameters=parameters)

        def ended() -> FlowRun | None:
            now = self.client.read_flow_run(run.id)
            return now if now.state is not None and now.state.is_final() else None

        done = self._await(f"the end of the {flow} run", ended)
        if done.state is None or not done.state.is_completed():
            message = "" if done.state is None else str(done.state.message)[:300]
            raise InfrastructureError(f"the {flow} run did not complete: {message}")
        return time.monotonic() - began

    def _deployment(self, flow: str) -> UUID | None:
        if not standing_automations(self.client, self.name):
            return None
        try:
            return self.client.read_deployment_by_name(f"{flow}/{self.name}").id
        except prefect_errors.ObjectNotFound:
            return None

    def _decision(
        self, kinds: tuple[str, ...], since: datetime, correlation: str | None = None
    ) -> Decision:
        def found() -> Decision | None:
            kept = ledger_of(self.pipeline).decisions(
                self.name, kinds=kinds, correlation=correlation, since=since
            )
            return kept[-1] if kept else None

        return self._await(f"a decision ({' or '.join(kinds)})", found)

    def _event(self, correlation: str) -> datetime | None:
        wanted = {"event": {"name": [ALARM]}, "resource": {"id": [resource_of(self.name)]}}
        answer = self.client.request("POST", "/events/filter", json={"filter": wanted}).json()
        for event in answer.get("events", []):
            if event["resource"].get("keepfit.correlation") == correlation:
                return datetime.fromisoformat(event["received"])
        return None

    def _started(self, correlation: str) -> FlowRun | None:
        deployment = self._deployment("training")
        run = run_caused_by(self.client, deployment, correlation) if deployment else None
        return run if run is not None and run.start_time is not None else None

    def _told(self, since: datetime) -> datetime | None:
        return next((moment for moment in self.receiver.told if moment >= since), None)

    def _await(self, what: str, look: Callable[[], _Seen | None]) -> _Seen:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            seen = look()
            if seen is not None:
                return seen
            time.sleep(_PAUSE)
        raise InfrastructureError(f"{what} did not come within {_PATIENCE:.0f} s")


def _between(first: datetime, second: datetime) -> float:
    return max(0.0, (second - first).total_seconds())


@contextmanager
def _scratch(stack: RunningStack, folder: Path, name: str) -> Iterator[_Trip]:
    """Make the scratch pipeline and everything around it; remove all of it at the end."""
    with ExitStack() as undo:
        private_folder(folder)
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        receiver = undo.enter_context(_Receiver())
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        undo.callback(receiver.shutdown)
        began = datetime.now(UTC)
        file = write_project(folder, name, began, receiver.channel)
        pipeline = load_pipeline(file, {})
        undo.enter_context(speaking_to(stack.prefect_api, stack.credentials))
        client = undo.enter_context(connected())
        undo.callback(_forget, client, name)
        undo.enter_context(_runner(stack, pipeline))
        yield _Trip(client, pipeline, receiver, began)


@contextmanager
def _runner(stack: RunningStack, pipeline: Pipeline) -> Iterator[None]:
    file = str(pipeline.path.resolve())
    environ = of_runner(pipeline.state, stack.prefect_api, stack.credentials, "", [file])
    command = module_command("deploy.doctor.loop_runner", file)
    process = launch(command, environ, pipeline.base / "runner.log", pipeline.base)
    try:
        yield
    finally:
        end(process, 0)


def _forget(client: SyncPrefectClient, name: str) -> None:
    remove_automations([name])
    for row in DEPLOYED:
        try:
            deployment = client.read_deployment_by_name(f"{row.flow}/{name}").id
        except prefect_errors.ObjectNotFound:
            continue
        wanted = filters.DeploymentFilter(id=filters.DeploymentFilterId(any_=[deployment]))
        while runs := client.read_flow_runs(deployment_filter=wanted):
            for run in runs:
                client.delete_flow_run(run.id)
        client.delete_deployment(deployment)
