"""`keepfit deploy`: the deployments and automations onto a Prefect API and work pool that exist."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from deploy.prefect.api import api_in_use, connected, deployment_named, speaking_to
from deploy.prefect.automations import apply_automations
from deploy.prefect.deployments import DEPLOYED, deployment_of
from deploy.prefect.flow_heartbeat import HEARTBEAT_SECONDS
from deploy.prefect.next_runs import next_runs, soonest
from deploy.remote.alarm_probe import Probe, probe
from deploy.remote.store_probe import probe_stores
from tasks.base.errors import InfrastructureError, UsageError
from tasks.base.known_pipelines import registration
from tasks.base.pipeline_file import Pipeline, load_pipelines
from tasks.base.runtime.environment import REGISTERED_VARIABLE, turn_telemetry_off
from tasks.base.text.redaction import without_credentials
from tasks.base.training_records import Record
from tasks.orchestration.libraries import deployment_runner, objects, prefect_errors
from tasks.projects.reachability import Reach

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import WorkPool
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment

# Of the seconds for an automation: a job may first have to fetch its image.
_JOB_SHARE = 5.0
PoolKind = Literal["process", "docker", "kubernetes"]


class AppliedDeployment(Record):
    """One deployment as it is now on the server."""

    name: str
    change: Literal["created", "updated", "unchanged"]
    next_run: datetime | None


class Applied(Record):
    """Actions and findings of `keepfit deploy`."""

    api: str
    pool: str
    kind: PoolKind
    workers: int  # workers of the pool that are online; without one nothing runs
    deployments: tuple[AppliedDeployment, ...]
    automations: tuple[str, ...]  # names of those that were created, updated or removed
    probes: tuple[Probe, ...]
    # A worker's report on the stores that it reaches, for each pipeline; empty without one.
    reached: tuple[Reach, ...] = ()


def deploy(
    files: Sequence[Path],
    *,
    pool: str,
    kind: PoolKind | None = None,
    image: str | None = None,
    seconds: float = 60.0,
    out: Callable[[str], None] = lambda _: None,
) -> Applied:
    """Bring the deployments of pipeline files onto a work pool, and prove that alarms start runs.

    What is right already is left as it is. `kind`: required type of the pool; `image`: one with
    keepfit in it, for docker and kubernetes; `seconds`: longest time until the automation of each
    pipeline reacts to a probe. Raises UsageError: no Prefect API, no such pool, a pool of another
    type, an image missing or not wanted; InfrastructureError: the API does not respond or refuses;
    an automation does not react to its probe; a worker reaches other stores than this process.
    """
    turn_telemetry_off()
    pipelines = load_pipelines(files)
    api, credentials = api_in_use(pipeline.state for pipeline in pipelines)
    with speaking_to(api, credentials), connected() as client:
        found = _pool(client, pool, kind, image)
        following = soonest(next_runs(pipelines))
        deployments = tuple(
            _apply(client, deployment_of(p, row, _variables(found, p, image)), pool, following)
            for p in pipelines
            for row in DEPLOYED
        )
        out(f"{len(deployments)} deployments stand on the work pool {pool}.")
        automations = apply_automations(pipelines)
        probes = []
        for pipeline in pipelines:
            name = pipeline.config.name
            training = deployment_named(client, f"training/{name}")
            probes.append(probe(client, name, training.id, seconds))
            out(f"{name}: an alarm starts its training within {probes[-1].seconds:.1f} s.")
        workers = _workers(client, pool)
        reached = []
        for pipeline in pipelines if workers else ():
            variables = _variables(found, pipeline, image)
            reached.append(probe_stores(client, pipeline, pool, variables, _JOB_SHARE * seconds))
            name, host = pipeline.config.name, reached[-1].host
            out(f"{name}: the worker on {host} reaches the same state, MLflow, ledger and source.")
    return Applied(
        api=without_credentials(api), pool=pool, kind=found.type, workers=workers,
        deployments=deployments, automations=automations, probes=tuple(probes),
        reached=tuple(reached),
    )  # fmt: skip


def _pool(
    client: SyncPrefectClient, name: str, kind: PoolKind | None, image: str | None
) -> WorkPool:
    try:
        found = client.read_work_pool(name)
    except prefect_errors.ObjectNotFound:
        raise UsageError(
            f"The Prefect API has no work pool {name}.",
            f"Make it: prefect work-pool create {name} --type {kind or 'process'}",
        ) from None
    known = get_args(PoolKind)
    if found.type not in known:
        raise UsageError(
            f"The work pool {name} is of type {found.type}; keepfit deploys to {', '.join(known)}.",
            f"Make another: prefect work-pool create NAME --type {kind or 'process'}",
        )
    if kind is not None and found.type != kind:
        raise UsageError(
            f"The work pool {name} is of type {found.type}, not {kind}.",
            f"Leave out --kind, or name a pool of type {kind}.",
        )
    if (image is None) == (found.type != "process"):
        raise UsageError(
            f"The work pool {name} is of type {found.type}: "
            + ("it runs an image." if image is None else "it runs no image."),
            "Name one with keepfit in it: --image NAME:TAG (deploy/Dockerfile makes one)."
            if image is None
            else "Leave out --image.",
        )
    return found


def _variables(pool: WorkPool, pipeline: Pipeline, image: str | None) -> dict[str, Any]:
    """Return the settings of the pool's jobs, as far as its template states them."""
    environ = {
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        # A file in the working folder may have the name of one of keepfit's packages.
        "PYTHONSAFEPATH": "1",
        REGISTERED_VARIABLE: registration(pipeline),
    }
    turn_telemetry_off(environ)
    if os.environ.get("KEEPFIT_STATE"):
        environ["KEEPFIT_STATE"] = str(pipeline.state)
    wanted: dict[str, Any] = {"env": environ}
    if image is not None:
        wanted["image"] = image
    if pool.type == "docker":
        # The container sees the project under the path that the deployment names.
        folders = dict.fromkeys((pipeline.root, pipeline.base.resolve(), pipeline.state))
        wanted["volumes"] = [f"{folder}:{folder}" for folder in folders]
    known = pool.base_job_template.get("variables", {}).get("properties", {})
    missing = [key for key in ("env", "image") if key in wanted and key not in known]
    if missing:
        raise UsageError(
            f"The job template of the work pool {pool.name} has no variable {missing[0]}.",
            f"Add it, or make a pool with the usual template: prefect work-pool create NAME "
            f"--type {pool.type}",
        )
    return {key: value for key, value in wanted.items() if key in known}


def _apply(
    client: SyncPrefectClient,
    wanted: RunnerDeployment,
    pool: str,
    following: Mapping[str, datetime | None],
) -> AppliedDeployment:
    change: Literal["created", "updated", "unchanged"] = "updated"
    try:
        if _same(client.read_deployment_by_name(wanted.full_name), wanted, pool):
            change = "unchanged"
    except prefect_errors.ObjectNotFound:
        change = "created"
    if change != "unchanged":
        stated = objects.VersionInfo(type="prefect:simple", version=version("keepfit"))
        try:
            wanted.apply(work_pool_name=pool, version_info=stated)
        except deployment_runner.DeploymentApplyError as error:
            raise InfrastructureError(
                f"The Prefect API refused the deployment {wanted.full_name}: {error}",
                "`keepfit doctor` compares the server's version with the tested ones.",
            ) from None
    return AppliedDeployment(
        name=wanted.full_name, change=change, next_run=following.get(wanted.full_name)
    )


def _same(found: DeploymentResponse, wanted: RunnerDeployment, pool: str) -> bool:
    limit = found.global_concurrency_limit
    options = found.concurrency_options
    is_now = (
        found.work_pool_name,
        found.version,
        found.description,
        sorted(found.tags),
        found.parameters,
        found.entrypoint,
        found.path,
        found.job_variables,
        found.parameter_openapi_schema,
        limit.limit if limit is not None else None,
        options.collision_strategy if options is not None else None,
        [_schedule(one) for one in found.schedules],
    )
    options = wanted.concurrency_options
    to_be = (
        pool,
        wanted.version,
        wanted.description,
        sorted(wanted.tags),
        wanted.parameters,
        wanted.entrypoint,
        None,
        wanted.job_variables,
        wanted._parameter_openapi_schema.model_dump(exclude_unset=True),
        wanted.concurrency_limit,
        options.collision_strategy if options is not None else None,
        [_schedule(one) for one in wanted.schedules or ()],
    )
    return is_now == to_be


def _schedule(one: Any) -> tuple[Any, ...]:
    """Return the settings of a schedule, whether the server's or one that is to be made."""
    when = (getattr(one.schedule, key, None) for key in ("cron", "timezone", "day_or"))
    return (*when, one.parameters or {})


def _workers(client: SyncPrefectClient, pool: str) -> int:
    answer = client.request(
        "POST",
        "/work_pools/{work_pool_name}/workers/filter",
        path_params={"work_pool_name": pool},
        json={},
    )
    return sum(worker.get("status") == "ONLINE" for worker in answer.json())
