"""The flow run that goes on in this process: Prefect's, or one of this process alone."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks.base.monitoring_records import own_run_id
from tasks.orchestration.libraries import run_states

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

AUTO_SCHEDULED = "auto-scheduled"


class Terminated(BaseException):
    """SIGTERM ended the run; what it holds is let go on the way out."""


@dataclass(frozen=True)
class _Run:
    id: str = field(default_factory=own_run_id)
    pool: ThreadPoolExecutor = field(default_factory=ThreadPoolExecutor)


_RUN: ContextVar[_Run | None] = ContextVar("keepfit_run", default=None)


def in_prefect() -> bool:
    """Return whether a flow run of Prefect goes on here; imports nothing."""
    return _flow_run() is not None


def run_id() -> str:
    """Return the id of the flow run, Prefect's where Prefect runs it; empty outside of one."""
    prefects = _flow_run()
    if prefects is not None:
        return str(prefects.id)
    run = _RUN.get()
    return run.id if run is not None else ""


def deployment_id() -> str:
    """Return the id of the deployment that started the flow run; empty where a person did."""
    run = _flow_run()
    return str(run.deployment_id or "") if run is not None else ""


def is_scheduled() -> bool:
    """Return whether the calendar of a deployment started the flow run."""
    run = _flow_run()
    return run is not None and AUTO_SCHEDULED in run.tags


def was_terminated() -> bool:
    """Return whether the exception being handled is that SIGTERM came: there is no time left."""
    names = {kind.__name__ for kind in type(sys.exc_info()[1]).__mro__}
    return not names.isdisjoint({"Terminated", "TerminationSignal"})


def submitted_to() -> ThreadPoolExecutor | None:
    """Return the threads of this process's own flow run; None outside of one."""
    run = _RUN.get()
    return run.pool if run is not None else None


def completed(message: str, name: str = "Completed") -> Any:
    """Return the state of a flow that ends with only `message`; None outside Prefect."""
    if not in_prefect():
        return None
    return run_states.Completed(name=name, message=message)


def skipped(reason: str) -> Any:
    """Return the state in which a flow ends that had nothing to do, for `reason`; None alone."""
    return completed(reason, "Skipped")


@contextmanager
def alone(unsuccessful: Callable[[str], None]) -> Iterator[None]:
    """Run in this process until all submitted has ended; `unsuccessful` gets a failed run's id."""
    run = _Run()
    token = _RUN.set(run)
    try:
        with _terminating():
            try:
                with run.pool:
                    yield
            except BaseException:
                unsuccessful(run.id)
                raise
    finally:
        _RUN.reset(token)


@contextmanager
def _terminating() -> Iterator[None]:
    """Raise where SIGTERM comes, and let it end the process when the run has let go."""

    def raise_terminated(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    handles = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, raise_terminated) if handles else None
    try:
        yield
    except Terminated:
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        if handles:
            signal.signal(signal.SIGTERM, before)


def _flow_run() -> FlowRun | None:
    # As the run began: ``prefect.runtime`` requests it from the API each time that it is asked for
    # the deployment.
    context = sys.modules.get("prefect.context")
    found = context.FlowRunContext.get() if context is not None else None
    run: FlowRun | None = found.flow_run if found is not None else None
    return run
