"""Flows and tasks, each declared once and run in two ways: by Prefect, or by this process alone.

Prefect runs them where its API is named. Where none is, the same functions run here, with the same
retries, side by side where they were submitted, and Prefect is not imported.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar

from pydantic_core import to_jsonable_python

from tasks.base.errors import KeepfitError, TransientError
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.progress import Step, report
from tasks.base.text.redaction import errors_without
from tasks.orchestration.current_run import alone, in_prefect, submitted_to
from tasks.orchestration.libraries import prefect_settings

if TYPE_CHECKING:
    import prefect

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Parameters = dict[str, Any]

_LOGGER = logging.getLogger(__name__)
# Seconds before each further try of a task. At the start of work little is lost by giving up; in
# the middle a server that is away for two minutes costs its time and nothing else.
BRIEF = (2.0, 10.0)
PATIENT = (2.0, 10.0, 30.0, 90.0)


class Result(Protocol[R_co]):
    """Result of a submitted task, once it has ended."""

    def result(self) -> R_co:
        """Return the value, or raise what the task raised."""
        ...


class Task(Generic[P, R]):
    """A task of a flow, run again `delays` seconds after each `TransientError`."""

    def __init__(
        self, fn: Callable[P, R], name: str, delays: Sequence[float], run_name: str | None
    ) -> None:
        self.fn, self.name, self.delays, self.run_name = fn, name, tuple(delays), run_name
        functools.update_wrapper(self, fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run as a task of the flow run that goes on."""
        if in_prefect():
            return self.prefect(*args, **kwargs)
        for delay in self.delays:
            try:
                return self.fn(*args, **kwargs)
            except TransientError as error:
                report(Step("wait", error.message))
                time.sleep(delay)
        return self.fn(*args, **kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """Run beside what follows in the flow, in a thread."""
        if in_prefect():
            future: Result[R] = self.prefect.submit(*args, **kwargs)
            return future
        pool = submitted_to()
        if pool is not None:
            return pool.submit(copy_context().run, functools.partial(self, *args, **kwargs))
        done: Future[R] = Future()
        done.set_result(self(*args, **kwargs))
        return done

    @functools.cached_property
    def prefect(self) -> prefect.Task[P, R]:
        """The task as Prefect's object."""
        import prefect.cache_policies  # defers prefect

        return prefect.task(
            name=self.name,
            cache_policy=prefect.cache_policies.NO_CACHE,
            task_run_name=self.run_name,
            retries=len(self.delays),
            retry_delay_seconds=list(self.delays),
            retry_condition_fn=transient_only,
        )(_safely(self.fn))


class Flow(Generic[P, R]):
    """A flow; `on_unsuccessful` gets parameters and id of each run that does not complete.

    `run_name`: name of a run on Prefect's pages: text with parameters in braces, or what makes it
    of the flow's name and the parameters.
    """

    def __init__(
        self,
        fn: Callable[P, R],
        name: str,
        run_name: str | Callable[[str, Parameters], str],
        on_unsuccessful: Callable[[Parameters, str], None] | None,
    ) -> None:
        self.fn, self.name, self.run_name = fn, name, run_name
        self.on_unsuccessful = on_unsuccessful
        functools.update_wrapper(self, fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run with Prefect where ``PREFECT_API_URL`` names its API; else in this process alone."""
        if os.environ.get("PREFECT_API_URL"):
            # Prefect waits up to a second for the thread that sends heartbeats; what watches for
            # them watches the runs of deployments, which do not come through here.
            silent = {prefect_settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
            with prefect_settings.temporary_settings(silent):
                return self.prefect(*args, **kwargs)
        given = inspect.signature(self.fn).bind(*args, **kwargs).arguments
        with alone(functools.partial(self._unsuccessful, given)):
            return self.fn(*args, **kwargs)

    def _unsuccessful(self, parameters: Parameters, run: str) -> None:
        if self.on_unsuccessful is None:
            return
        try:
            self.on_unsuccessful(parameters, run)
        except Exception as error:
            what = error.message if isinstance(error, KeepfitError) else type(error).__name__
            _LOGGER.warning("what %s left could not be cleared: %s", self.name, what)
            _LOGGER.debug("where that happened", exc_info=True)

    @functools.cached_property
    def prefect(self) -> prefect.Flow[P, R]:
        """The flow as Prefect's object; its deployments load this."""
        import prefect.runtime  # defers prefect

        given = self.run_name

        def run_name() -> str:
            return (
                ""
                if isinstance(given, str)
                else given(self.name, prefect.runtime.flow_run.parameters)
            )

        def unsuccessful(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001 - Prefect's
            self._unsuccessful(flow_run.parameters, str(flow_run.id))

        hooks: list[Any] = [unsuccessful] if self.on_unsuccessful is not None else []
        flow = prefect.flow(
            name=self.name,
            flow_run_name=given if isinstance(given, str) else run_name,
            on_failure=hooks,
            on_crashed=hooks,
            on_cancellation=hooks,
        )(self.fn)
        # Prefect's own imports FastAPI for it.
        flow.serialize_parameters = to_jsonable_python  # type: ignore[assignment,method-assign]
        return flow


def _safely(fn: Callable[P, R]) -> Callable[P, R]:
    """Return a task whose errors hold no secret of its pipeline: Prefect records what it raises."""

    @functools.wraps(fn)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        plans = (one for one in (*args, *kwargs.values()) if isinstance(one, Pipeline))
        with errors_without([secret for plan in plans for secret in plan.secrets]):
            return fn(*args, **kwargs)

    return run


def task(
    name: str, *, retried: Sequence[float] = (), run_name: str | None = None
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Declare a function a task; see `Task`."""
    return lambda fn: Task(fn, name, retried, run_name)


def flow(
    name: str,
    *,
    run_name: str | Callable[[str, Parameters], str],
    on_unsuccessful: Callable[[Parameters, str], None] | None = None,
) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Declare a function a flow; see `Flow`."""
    return lambda fn: Flow(fn, name, run_name, on_unsuccessful)


def transient_only(task: Any, task_run: Any, state: Any) -> bool:  # noqa: ARG001 - Prefect's signature
    """Return whether `state` failed for a reason that may pass: only then is a task retried."""
    try:
        state.result()
    except TransientError as error:
        report(Step("wait", error.message))
        return True
    except Exception:  # noqa: BLE001 - every other failure is final
        return False
    return False
