"""What every flow owes: to end with its parent, to leave a mark, to tell why it stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from prefect import runtime

from tasks.alert import note_stop
from tasks.base.environment import RUNNER_VARIABLE, die_with_parent, keep_private
from tasks.base.errors import ContractError, KeepfitError
from tasks.base.known import remember_pipeline
from tasks.base.loop import Cause, new_correlation
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.running import mark_running, unmark
from tasks.validation.checking import start_checker, stop_checker

AUTO_SCHEDULED = "auto-scheduled"


@contextmanager
def answerable(pipeline: Pipeline, flow: str, cause: Cause | None) -> Iterator[Cause]:
    """Yield why the flow runs; rows that break their contract are recorded and told.

    Parameters
    ----------
    cause
        As it was given; without one, the calendar's or a person's.
    """
    die_with_parent()
    keep_private()
    run = str(runtime.flow_run.id or "")
    why = cause or _cause()
    remember_pipeline(pipeline)
    mark_running(pipeline.state, run)
    if RUNNER_VARIABLE in os.environ:
        # Its imports overlap with this process's own.
        start_checker()
    try:
        yield why
    except ContractError as error:
        note_stop(pipeline, flow, why, error.message, error.remedy, run)
        raise
    finally:
        stop_checker()
        unmark(pipeline.state, run)


def run_name() -> str:
    """Return what the running flow is called on Prefect's pages: its flow and its pipeline."""
    file = str(runtime.flow_run.parameters.get("pipeline", ""))
    try:
        name = load_pipeline(Path(file)).config.name
    except KeepfitError:
        # The flow itself says what is wrong with the file.
        name = file
    return f"{runtime.flow_run.flow_name} {name}"


def _cause() -> Cause:
    scheduled = AUTO_SCHEDULED in (runtime.flow_run.tags or [])
    return Cause(
        kind="schedule" if scheduled else "manual",
        correlation=new_correlation(),
        at=datetime.now(UTC),
    )
