"""A probe of the workers: a run on the work pool that reports which stores it reaches."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from pydantic import ValidationError

from deploy.prefect.deployments import Deployed, deployment_of
from tasks.base.errors import InfrastructureError, KeepfitError
from tasks.base.pipeline_file import Pipeline
from tasks.projects.reachability import Reach, Reached, columns_digest, marked, reach

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

_ROW = Deployed("inspection", {}, "Looks which stores a worker reaches.", at_once=None)
_PAUSE_SECONDS = 0.5
_REMEDY = {
    "state": "Give the worker the same folder under the same path, or set KEEPFIT_STATE alike.",
    "MLflow": "Set MLFLOW_TRACKING_URI alike where the worker and `keepfit deploy` are started.",
    "ledger": "Set the variables of `ledger.url` alike, or let both have the same state folder.",
    "source": "Let the worker read the same rows: the same mount, or the same database.",
}


def probe_stores(
    client: SyncPrefectClient,
    pipeline: Pipeline,
    pool: str,
    variables: Mapping[str, Any],
    seconds: float,
) -> Reach:
    """Let a worker of the pool look for marks that are left in the pipeline's stores."""
    # Names store and addresses when none reports in `seconds`, or other stores are reached.
    mark = uuid4().hex
    wanted = deployment_of(pipeline, _ROW, variables)
    deployment = UUID(str(wanted.apply(work_pool_name=pool)))
    try:
        with marked(pipeline, mark):
            parameters = {**wanted.parameters, "mark": mark, "columns": _columns(pipeline)}
            run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
            found = _reach(pipeline, _ended(client, pipeline, run, seconds))
            own = reach(pipeline, mark, "")
    finally:
        client.delete_deployment(deployment)
    _require_same(pipeline, own, found)
    return found


def _columns(pipeline: Pipeline) -> str:
    try:
        return columns_digest(pipeline)
    except (KeepfitError, OSError):
        # The rows may be where only the worker reads them.
        return ""


def _ended(client: SyncPrefectClient, pipeline: Pipeline, run: FlowRun, seconds: float) -> FlowRun:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = client.read_flow_run(run.id)
        if found.state is not None and found.state.is_final():
            return found
        time.sleep(_PAUSE_SECONDS)
    state = found.state.name if found.state is not None else "unknown"
    raise InfrastructureError(
        f"{pipeline.config.name}: no worker reported within {seconds:g} s which stores it reaches "
        f"(its run is {state}).",
        "Look at the worker's log; give a pool that starts slowly more time with --timeout.",
    )


def _reach(pipeline: Pipeline, run: FlowRun) -> Reach:
    stated = run.state.message if run.state is not None and run.state.message else ""
    if run.state is not None and run.state.is_completed():
        try:
            return Reach.model_validate_json(stated)
        except ValidationError:
            stated = "its report is not understood"
    raise InfrastructureError(
        f"{pipeline.config.name}: a worker could not look at its stores: {stated[:300]}",
        f"It reads {pipeline.path.resolve()}: file and environment must be there as they are here, "
        "with the same version of keepfit.",
    )


def _require_same(pipeline: Pipeline, own: Reach, found: Reach) -> None:
    here = {one.store: one for one in own.stores}
    for one in found.stores:
        if not one.same:
            raise InfrastructureError(
                f"{pipeline.config.name}: {_difference(one, here[one.store], found.host)}",
                _REMEDY[one.store],
            )


def _difference(there: Reached, here: Reached, host: str) -> str:
    what = "folder" if there.store == "state" else there.store
    where = f"the worker on {host} has {there.address}"
    if there.fault:
        return f"the worker does not reach its {what}: {where} ({there.fault})"
    return (
        f"the worker does not reach the same {what}: {where}, `keepfit deploy` {here.address}, "
        "and what was written here is not there."
    )
