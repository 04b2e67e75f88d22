"""Inspection: which stores this worker reaches, reported to the process that deployed it."""

from __future__ import annotations

from typing import Any

from flows.run_lifecycle import pipeline_of_run
from tasks.base.runtime.environment import keep_private
from tasks.orchestration.current_run import completed
from tasks.orchestration.declarations import flow
from tasks.projects.reachability import reach


@flow("inspection", run_name="inspection of {pipeline}")
def inspection(pipeline: str, mark: str, columns: str = "") -> Any:
    """Look for the marks that `keepfit deploy` left in the stores of a pipeline file."""
    # Returns a completed state, its message a `Reach` as JSON.
    keep_private()
    return completed(reach(pipeline_of_run(pipeline), mark, columns).model_dump_json())
