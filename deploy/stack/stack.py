"""The local stack: one process supervises Prefect, MLflow, the runner and keepfit's page."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from deploy.child_processes import adopt_orphans
from deploy.prefect.next_runs import next_runs, table_of_runs
from deploy.retention.housekeeping import Housekeeping
from deploy.stack.environments import (
    Databases,
    common,
    databases,
    of_housekeeping,
    of_mlflow,
    of_prefect,
    of_runner,
)
from deploy.stack.ports import Held, hold
from deploy.stack.supervised_part import Part
from deploy.stack.supervisor import Supervisor
from deploy.web.session_access import Access
from flows.terminal import output
from tasks.base.errors import UsageError
from tasks.base.pipeline_file import Pipeline, load_pipelines, require_trusted_state
from tasks.base.runtime.environment import keep_private, turn_telemetry_off
from tasks.base.runtime.locks import holder, lock_file, take
from tasks.base.servers.stack_file import (
    BEARER_VARIABLE,
    FILE,
    LOCK,
    RunningStack,
    note_stopped,
    prediction_token,
    program_credentials,
    renew_program_credentials,
    running_stack,
    write_stack,
)
from tasks.base.text.commands import command
from tasks.contracts.shared_checker import SOCKET

_PREFECT_PORT = 4200
_MLFLOW_PORT = 5000
_PAGE_PORT = 4280
_SERVE_PORT = 4290
_SERVERS = "deploy.stack.server_processes"
_LEAST_FREE_BYTES = 200_000_000


def up(
    files: Sequence[Path],
    *,
    prefect_port: int | None = None,
    mlflow_port: int | None = None,
    page_port: int | None = None,
    serve: bool = False,
    serve_port: int | None = None,
    prefect_database: str | None = None,
    mlflow_database: str | None = None,
    link: bool = False,
    out: Callable[[str], None] = print,
) -> int:
    """Run the stack of some pipelines until SIGINT, SIGTERM or SIGHUP; return 0 after a signal.

    `files`: pipeline files or their folders; none: the default file; `serve`: whether predictions
    are served too; a port of None: the usual one, or a free one where that is taken;
    `prefect_database`, `mlflow_database`: addresses of PostgreSQL databases; None: what
    ``KEEPFIT_PREFECT_DATABASE`` and ``KEEPFIT_MLFLOW_DATABASE`` set, else SQLite in the state
    folder; `link`: whether to show the link that lets a browser in: not in what others may read;
    `out`: receives addresses and next runs, progress goes to stderr. Raises UsageError when another
    stack runs on the state folder, the pipelines do not share one, or a port that was requested is
    taken; InfrastructureError when a part can't be started, with the end of its log.
    """
    turn_telemetry_off()
    keep_private()
    pipelines = load_pipelines(files)
    state = _shared_state(pipelines)
    stores = databases(prefect_database, mlflow_database)
    with _alone(state), contextlib.ExitStack() as closing:
        require_trusted_state(state, pipelines[0].path)  # anew: it may have been made meanwhile
        holds = []
        for port, wanted, part, option in (
            (_PREFECT_PORT, prefect_port, "Prefect", "--prefect-port"),
            (_MLFLOW_PORT, mlflow_port, "MLflow", "--mlflow-port"),
            (_PAGE_PORT, page_port, "keepfit's page", "--page-port"),
            *([(_SERVE_PORT, serve_port, "predictions", "--serve-port")] if serve else ()),
        ):
            held = hold(port, wanted, part, option)
            closing.callback(held.listener.close)
            if held.instead_of is not None:
                _say(f"Port {held.instead_of} is taken: {part} gets {held.port}")
            holds.append(held)
        secrets = (*stores.secrets, *(s for p in pipelines for s in p.secrets))
        supervisor = Supervisor(_parts(state, pipelines, holds, stores), _say, secrets)
        return _supervised(supervisor, state, pipelines, holds, stores, link=link, out=out)


def _supervised(
    supervisor: Supervisor,
    state: Path,
    pipelines: Sequence[Pipeline],
    holds: Sequence[Held],
    stores: Databases,
    *,
    link: bool,
    out: Callable[[str], None],
) -> int:
    prefect, mlflow, page, *predictions = (held.url for held in holds)
    adopt_orphans()
    with _until_signal(supervisor):
        try:
            began = time.monotonic()
            _say("starting Prefect, MLflow, keepfit's page, the runner and the checker")
            supervisor.start()
            if not supervisor.stopping.is_set():
                stack = RunningStack(
                    pid=os.getpid(),
                    prefect_api=f"{prefect}/api",
                    prefect=prefect,
                    mlflow=mlflow,
                    page=page,
                    predictions="".join(predictions),
                    started=datetime.now(UTC),
                    pipelines=tuple(str(p.path.resolve()) for p in pipelines),
                )
                write_stack(state, stack)
                _say(f"all is up after {time.monotonic() - began:.1f} s")
                _introduce(stack, pipelines, Access(state) if link else None, out)
                _watch(supervisor, state, pipelines, stores)
        finally:
            _say("stopping")
            if supervisor.stopping.is_set():
                note_stopped(state, datetime.now(UTC))
            (state / FILE).unlink(missing_ok=True)
            supervisor.stop()
            (state / SOCKET).unlink(missing_ok=True)
            _say("stopped; schedules go on at the next start")
    return 0


def _watch(
    supervisor: Supervisor, state: Path, pipelines: Sequence[Pipeline], stores: Databases
) -> None:
    files = [str(p.path.resolve()) for p in pipelines]
    housekeeping = Housekeeping(state, files, of_housekeeping(state, stores.mlflow), _say)
    while not supervisor.stopping.wait(0.5):
        supervisor.helpers = housekeeping.look()
        supervisor.look()
    housekeeping.stop()


def _shared_state(pipelines: Sequence[Pipeline]) -> Path:
    states = {p.state: p for p in pipelines}
    if len(states) > 1:
        each = "\n".join(f"  {p.config.name}: {p.state}" for p in pipelines)
        raise UsageError(
            "The pipelines of one `keepfit up` share one state folder; these have several:\n"
            f"{each}",
            "Start one `keepfit up` for each: several run side by side. Or train and run all of "
            "them in one folder: export KEEPFIT_STATE=… before `keepfit run`; what was trained "
            "elsewhere stays there.",
        )
    return next(iter(states))


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Hold the lock of the stack on `state`; no child inherits it."""
    with lock_file(state / LOCK) as descriptor:
        if not take(descriptor):
            raise _taken(state, descriptor)
        (state / FILE).unlink(missing_ok=True)
        yield


def _taken(state: Path, descriptor: int) -> UsageError:
    stack = running_stack(state)
    if stack is None:
        pid = holder(descriptor) or "another"
        return UsageError(
            f"A stack is starting on {state} (process {pid}).",
            f"Wait for it, or stop it: kill {pid}",
        )
    return UsageError(
        f"A stack runs on {state} already (process {stack.pid}): Prefect at {stack.prefect}, "
        f"MLflow at {stack.mlflow}, keepfit at {stack.page}.",
        f"Use that one, or stop it: kill {stack.pid}",
    )


def _parts(
    state: Path, pipelines: Sequence[Pipeline], holds: Sequence[Held], stores: Databases
) -> list[Part]:
    prefect, mlflow, page, *predictions = holds
    retention = max(p.config.retention for p in pipelines)
    files = tuple(str(p.path.resolve()) for p in pipelines)
    environ = of_prefect(state, prefect.url, stores.prefect, retention)
    renew_program_credentials(state)
    credentials = program_credentials(state)

    def server(kind: str) -> Callable[[int], tuple[str, ...]]:
        return lambda descriptor: (kind, str(descriptor), str(state))

    answering = {**of_housekeeping(state, stores.mlflow), BEARER_VARIABLE: prediction_token(state)}
    return [
        Part(
            "Prefect", "prefect", _SERVERS, server("prefect"), environ, state, prefect,
            "/api/health", essential=True,
        ),
        Part(
            "MLflow", "mlflow", _SERVERS, server("mlflow"),
            of_mlflow(state, mlflow.url, stores.mlflow), state, mlflow,
        ),
        Part(
            "keepfit's page", "page", _SERVERS, server("page"), common(state), state, page,
        ),
        Part(
            "the runner", "runner", "deploy.runner.runner",
            lambda descriptor: (str(descriptor), str(state), *files),
            of_runner(state, f"{prefect.url}/api", credentials, stores.mlflow, files), state,
            # Time to cancel its flow runs; the next start requests them again.
            patience=25.0, essential=True,
        ),
        Part(
            "the checker", "checker", "deploy.stack.checker",
            lambda descriptor: (str(descriptor), str(state)), common(state), state,
            patience=0.0,
        ),
        *(
            Part(
                "predictions", "predictions", "deploy.serving.server",
                lambda descriptor: (str(descriptor), *files), answering, state, held,
                # Requests under way are completed, and predictions delivered to the ledger.
                patience=20.0,
            )
            for held in predictions
        ),
    ]  # fmt: skip


@contextlib.contextmanager
def _until_signal(supervisor: Supervisor) -> Iterator[None]:
    """Let signals that end a program stop the supervisor instead."""
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {number: signal.getsignal(number) for number in wanted}
    for number in wanted:
        signal.signal(number, lambda *_: supervisor.stopping.set())
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _introduce(
    stack: RunningStack,
    pipelines: Sequence[Pipeline],
    access: Access | None,
    out: Callable[[str], None],
) -> None:
    out(f"Prefect  {stack.prefect}")
    out(f"MLflow   {stack.mlflow}")
    out(f"keepfit  {stack.page}")
    if stack.predictions:
        out(f"predict  {stack.predictions}")
    out("")
    out(
        "A browser is let in, once, by the address that this prints:"
        if access is None
        else "Open this first: it lets one browser in, once and within an hour."
    )
    link_command = command("link", file=pipelines[0].path)
    out(f"  {link_command if access is None else access.new_link(stack.page)}")
    out("")
    out(table_of_runs(next_runs(pipelines)))
    out("")
    out("Ctrl-C stops everything.")


def _say(text: str) -> None:
    """Print an event, with the time, for the person who watches."""
    with contextlib.suppress(OSError, ValueError):
        output.write(f"{datetime.now():%H:%M:%S} {text}")
