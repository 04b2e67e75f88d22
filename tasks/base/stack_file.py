"""The stack that `keepfit up` runs, as other commands and pages find it."""

from __future__ import annotations

import fcntl
import os
import re
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from tasks.base.files import write_whole
from tasks.base.records import Record

FILE = "stack.json"
LOCK = "stack.lock"
STOPPED = "stack.stopped"
TEMPORARY = "KEEPFIT_TEMPORARY_API"
"""Set while PREFECT_API_URL names a server that ends with this command and has no pages."""


def temporary_server() -> bool:
    """Return whether this command brought its own server, on which nothing answers an alarm."""
    return TEMPORARY in os.environ


class RunningStack(Record):
    """Where the parts of a running stack answer.

    Attributes
    ----------
    prefect_api
        Address of Prefect's API, ending in ``/api``.
    prefect, mlflow, page
        Addresses of the pages of Prefect, MLflow and keepfit, without a final slash.
    """

    pid: int
    prefect_api: str
    prefect: str
    mlflow: str
    page: str
    started: datetime
    pipelines: tuple[str, ...] = ()


def write_stack(state: Path, stack: RunningStack) -> None:
    """Say where the stack of `state` answers; its process holds the lock meanwhile."""
    write_whole(state / FILE, stack.model_dump_json(indent=1))


def running_stack(state: Path) -> RunningStack | None:
    """Return the stack that runs on `state`; None when no living process holds its lock."""
    try:
        found = RunningStack.model_validate_json((state / FILE).read_bytes())
        with (state / LOCK).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return found
    except (OSError, ValidationError):
        return None
    return None


def note_stopped(state: Path, moment: datetime) -> None:
    """Write when a person stopped the stack: what ran then was not lost."""
    write_whole(state / STOPPED, moment.isoformat())


def stopped_at(state: Path) -> datetime | None:
    """Return when the stack was stopped last; None where it never was, or was killed."""
    try:
        return datetime.fromisoformat((state / STOPPED).read_text("ascii"))
    except (OSError, ValueError):
        return None


def prefect_run_page(state: Path, flow_run: str) -> str | None:
    """Return the address of a flow run's page; None where no Prefect pages are served."""
    stack = running_stack(state)
    named = "" if TEMPORARY in os.environ else os.environ.get("PREFECT_API_URL", "")
    base = stack.prefect if stack else named.rstrip("/").removesuffix("/api")
    return f"{base}/runs/flow-run/{flow_run}" if base and flow_run else None


def mlflow_server(state: Path) -> str:
    """Return the address of the server with MLflow's pages, empty where none is known."""
    stack = running_stack(state)
    base = stack.mlflow if stack else os.environ.get("MLFLOW_TRACKING_URI", "")
    if not base.startswith(("http://", "https://")):
        return ""
    return re.sub(r"(?<=://)[^/@]*@", "", base).rstrip("/")


def mlflow_run_page(state: Path, experiment: str, run_id: str) -> str | None:
    """Return the address of an MLflow run's page; None where no MLflow pages are served."""
    base = mlflow_server(state)
    if not base or not run_id:
        return None
    return f"{base}/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"
