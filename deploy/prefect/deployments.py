"""Schedules: one table of flows, each of which becomes a deployment of every pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from flows import deployed
from flows.prefect_runs import pipeline_tag
from tasks.base.pipeline_file import Pipeline
from tasks.orchestration.libraries import deployment_runner, objects

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Schedule

TAG = "keepfit"


@dataclass(frozen=True)
class Deployed:
    """A flow that every pipeline has a deployment of."""

    flow: str  # name of the flow, and of what `flows.deployed` calls it
    # Keys of `schedules` in the file, each with further parameters; empty where an event starts it.
    schedules: Mapping[str, Mapping[str, Any]]
    does: str  # what a run does, for a person; `{name}` is the pipeline's
    at_once: int | None = 1  # runs of one pipeline at the same time; None: any number
    # `ENQUEUE` lets a further run wait, `CANCEL_NEW` drops it.
    collision: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"

    @property
    def entrypoint(self) -> str:
        """The flow's module path: a file path would put `flows/` first on ``sys.path``."""
        return f"flows.deployed.{self.flow}"


DEPLOYED: tuple[Deployed, ...] = (
    # A second training waits its turn and then records why it is not needed.
    # Refits share the deployment, so that they wait for a search and a search for them.
    Deployed(
        "training", {"training": {}, "refit": {"refit": True}},
        "Trains {name}; the gate decides about the challenger.",
    ),
    # The next run of the schedule does what a dropped one would have done.
    Deployed(
        "scoring", {"scoring": {}}, "Scores the new rows of {name} with its champion.",
        collision="CANCEL_NEW",
    ),
    Deployed(
        "monitoring", {"monitoring": {}},
        "Compares the latest complete window of {name} with the champion's training rows.",
        collision="CANCEL_NEW",
    ),
    # Every failure is reported, also when several come together.
    Deployed("noticing", {}, "Reports that a run of {name} failed, crashed or stood still.",
             at_once=None),
)  # fmt: skip


def tags_of(name: str) -> list[str]:
    """Return the tags of the deployments and runs of the pipeline `name`."""
    return [TAG, pipeline_tag(name)]


def runner_deployments(pipelines: Sequence[Pipeline]) -> list[RunnerDeployment]:
    """Return the deployments of `pipelines`, as a runner serves them."""
    # Each is named as its pipeline: `training/flights`. Nothing is sent anywhere.
    return [deployment_of(pipeline, row) for pipeline in pipelines for row in DEPLOYED]


def deployment_of(
    pipeline: Pipeline, row: Deployed, job_variables: Mapping[str, Any] | None = None
) -> deployment_runner.RunnerDeployment:
    """Return the deployment of one flow for a pipeline, with variables of its work pool's jobs."""
    from prefect.types.entrypoint import EntrypointType  # defers prefect

    name = pipeline.config.name
    limit = None
    if row.at_once is not None:
        strategy = objects.ConcurrencyLimitStrategy(row.collision)
        limit = objects.ConcurrencyLimitConfig(limit=row.at_once, collision_strategy=strategy)
    deployment: deployment_runner.RunnerDeployment = deployment_runner.RunnerDeployment.from_flow(
        getattr(deployed, row.flow),
        name=name,
        parameters={"pipeline": str(pipeline.path.resolve())},
        schedules=_schedules(pipeline, row),
        concurrency_limit=limit,
        description=row.does.format(name=name),
        tags=tags_of(name),
        version=version("keepfit"),
        job_variables=dict(job_variables or {}),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment.entrypoint = row.entrypoint
    return deployment


def _schedules(pipeline: Pipeline, row: Deployed) -> list[Schedule]:
    from prefect.schedules import Cron  # defers prefect

    stated = pipeline.config.schedules
    return [
        Cron(cron, timezone=stated.timezone, parameters=dict(parameters))
        for key, parameters in row.schedules.items()
        if (cron := getattr(stated, key))
    ]
