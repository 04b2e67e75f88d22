"""Lifecycle of every flow: its outcome is recorded, however it ends."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flows.prefect_runs import unsuccessful_runs
from tasks.alert import note_stop
from tasks.base.errors import ContractError, KeepfitError, UsageError
from tasks.base.known_pipelines import pipeline_in_use, remember_pipeline
from tasks.base.monitoring_records import Cause, new_correlation
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.environment import (
    REGISTERED_VARIABLE,
    RUNNER_VARIABLE,
    keep_private,
)
from tasks.base.runtime.running_flows import mark_running, unmark
from tasks.base.runtime.temporary import keep_temporary_together
from tasks.base.text.commands import working_on
from tasks.base.text.redaction import errors_without
from tasks.contracts.snapshot_check import start_checker, stop_checker
from tasks.dashboard.refresh import refresh
from tasks.models.execution import engines
from tasks.monitoring.alerts.notification import tell
from tasks.monitoring.incidents.run_failures import has_done_its_work, note_cancelled, note_error
from tasks.monitoring.incidents.run_outcomes import BACK, EndedRun, report_outcomes
from tasks.orchestration import artifacts
from tasks.orchestration.current_run import deployment_id, is_scheduled, run_id, was_terminated
from tasks.orchestration.declarations import Parameters
from tasks.orchestration.libraries import prefect_client
from tasks.registry.manual_promotion import record_moves
from tasks.registry.open_pipeline import OpenPipeline, open_pipeline
from tasks.training.interrupted_promotion import record_interrupted

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_LOGGER = logging.getLogger(__name__)


@contextmanager
def answerable(pipeline: OpenPipeline, flow: str, cause: Cause | None) -> Iterator[Cause]:
    """Yield why the flow runs; every ending is recorded and shown on keepfit's page."""
    # Failures of runs that keepfit started are reported from here, whether or not an automation of
    # Prefect does so too. Runs started by a person report their outcome in the terminal.
    keep_private()
    if deployment_id():
        keep_temporary_together()
    run = run_id()
    why = cause or _cause()
    remember_pipeline(pipeline)
    mark_running(pipeline.state, run, os.environ.get("PREFECT_API_URL", ""))
    _tried(lambda: _take_up(pipeline, flow, why, run))
    # Before another champion comes.
    _tried(lambda: record_interrupted(pipeline))
    if RUNNER_VARIABLE in os.environ:
        # Its imports overlap with this process's own.
        start_checker(keep=flow == "monitoring")
    try:
        # Prefect records what a flow raises.
        with working_on(pipeline.path), errors_without(pipeline.secrets):
            yield why
    except ContractError as error:
        if not error.noted:
            note_stop(pipeline, flow, why, error, run)
        raise
    except KeyboardInterrupt:
        # What was submitted is waited for, and much of it waits for these.
        stop_checker()
        engines.close_all()
        _tried(lambda: _note_cancelled(pipeline, run, flow, why))
        raise
    except Exception as error:
        if deployment_id():
            raised = error
            _tried(lambda: tell(pipeline, note_error(pipeline, run, flow, why, raised)))
        raise
    finally:
        stop_checker()
        unmark(pipeline.state, run)
        # A terminating process has no time for more; the next run does it.
        if not was_terminated():
            artifacts.wait()
            if flow != "training":
                _tried(lambda: _compare(pipeline))
            _tried(pipeline.store.reap)
            _tried(lambda: record_moves(pipeline))
            _show(pipeline)


def pipeline_of_run(file: str, *, edited: bool = False) -> OpenPipeline:
    """Return the pipeline that a flow is to work on; see `pipeline_in_use`."""
    if deployment_id() and REGISTERED_VARIABLE not in os.environ:
        raise UsageError(
            f"The deployment of this run does not state which content of {file} it may run.",
            f"Make it anew: `keepfit deploy {file} --pool NAME`.",
        )
    return open_pipeline(pipeline_in_use(Path(file), edited=edited))


def _take_up(pipeline: OpenPipeline, flow: str, cause: Cause, run: str) -> None:
    if cause.kind == "alarm":
        pipeline.ledger.take_up(pipeline.config.name, cause.correlation, flow, run)


def _note_cancelled(pipeline: Pipeline, run: str, flow: str, cause: Cause) -> None:
    """Record that a person stopped the run, unless all that was left were pages and messages."""
    if not has_done_its_work(pipeline, run):
        note_cancelled(pipeline, run, flow, cause.correlation, by="you")


def _compare(pipeline: Pipeline) -> None:
    """Look for other runs of the pipeline that ended without a record."""
    now = datetime.now(UTC)
    ended: tuple[EndedRun, ...] = ()
    if deployment_id():
        name = pipeline.config.name
        with _client() as client:
            ended = unsuccessful_runs(client, [name], now - BACK, now).get(name, ())
    report_outcomes(open_pipeline(pipeline, patience=20.0), ended, now)


def _show(pipeline: Pipeline) -> None:
    """Write the page; of a stack the runner does so, which sees what was decided."""
    if RUNNER_VARIABLE not in os.environ:
        refresh(pipeline)


def _client() -> SyncPrefectClient:
    return prefect_client.get_client(sync_client=True)


def _tried(action: Callable[[], object]) -> None:
    """Do what must not change how the run itself ends."""
    try:
        action()
    except Exception:
        _LOGGER.warning("what became of runs could not be recorded", exc_info=True)


def named(flow: str, parameters: Parameters) -> str:
    """Return a run's name on Prefect's pages: its flow and its pipeline."""
    file = str(parameters.get("pipeline", ""))
    try:
        name = pipeline_in_use(Path(file)).config.name
    except KeepfitError:
        # The flow itself reports what is wrong with the file.
        name = file
    return f"{flow} {name}"


def _cause() -> Cause:
    return Cause(
        kind="schedule" if is_scheduled() else "manual",
        correlation=new_correlation(),
        at=datetime.now(UTC),
    )
