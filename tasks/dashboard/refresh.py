"""keepfit's page, written anew after a run."""

from __future__ import annotations

import logging
from pathlib import Path

from tasks.base.known_pipelines import known_pipelines
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.locks import locked
from tasks.dashboard.page import write_dashboard
from tasks.history.state_sizes import sizes

_LOGGER = logging.getLogger(__name__)


def page_of(state: Path) -> Path:
    """Return where the page of a state folder is."""
    return state / "dashboard" / "index.html"


def refresh(pipeline: Pipeline) -> str:
    """Write the page of every pipeline in the state folder; a failure never fails the run."""
    target = page_of(pipeline.state)
    try:
        pipelines = known_pipelines(pipeline.state) or (pipeline,)
        with locked(target.parent / "page.lock"):
            write_dashboard(pipelines, target, sizes=sizes(pipeline.state))
    except Exception as error:  # noqa: BLE001 - the page shows the run, it is not the run
        _LOGGER.warning("%s could not be written: %s", target, error)
    return str(target)
