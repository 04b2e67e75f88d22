"""From a checked snapshot to what is fitted: roles, split, identity."""

from __future__ import annotations

from tasks.base.config import default_metric
from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import Pipeline
from tasks.base.records import Prepared, Snapshot
from tasks.trainings.keys import fit_key, training_key
from tasks.validation.contracts import contract_digest


def prepare(pipeline: Pipeline, snapshot: Snapshot) -> Prepared:
    """Return which column plays which part, which rows are held out, and the training's keys.

    Raises
    ------
    ConfigError
        When the metric is not one for the task that the target gives.
    DataError
        When there is nothing to train on or nothing to judge on.
    """
    from tasks.data.kinds import build_schema
    from tasks.data.splits import split_rows

    schema = build_schema(snapshot, pipeline.config)
    fits = fit_key(pipeline, snapshot)
    folder = pipeline.work / "fits" / fits[:32]
    folder.mkdir(parents=True, exist_ok=True)
    return Prepared(
        roles=schema,
        split=split_rows(snapshot, schema, pipeline.config.split.holdout, folder),
        metric=_metric(pipeline, schema.task),
        fit_key=fits,
        key=training_key(pipeline, snapshot, contract_digest(pipeline)),
        folder=str(folder),
        refit=_refit(pipeline),
    )


def _metric(pipeline: Pipeline, task: str) -> str:
    from tasks.base.config import CLASSIFICATION_METRICS, REGRESSION_METRICS

    metric = pipeline.config.metric or default_metric(task)  # type: ignore[arg-type]
    fits = REGRESSION_METRICS if task == "regression" else CLASSIFICATION_METRICS
    if metric not in fits:
        raise ConfigError(
            f"{pipeline.path}, line {pipeline.line_of('metric')}: `metric: {metric}` is not one "
            f"for {task}, which the target {pipeline.config.target!r} is taken for.",
            f"One of: {', '.join(fits)}. Or state the `task`.",
        )
    return metric


def _refit(pipeline: Pipeline) -> bool:
    stated = pipeline.config.training.refit
    return pipeline.config.time_column is not None if stated is None else stated
