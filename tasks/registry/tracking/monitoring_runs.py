"""Monitored windows as MLflow metrics: one run a champion, one step a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tasks.base.monitoring_records import DriftResult, Gain, Performance, Window
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.training_records import MetricValue, ModelVersion
from tasks.base.utc_times import as_utc
from tasks.registry.mlflow.store import Store

_FIRST = datetime(1970, 1, 5, tzinfo=UTC)
_OWN = {"alarm", "columns", "harmful", "predictions", "score"}  # else than a column's, of `drift.`


def experiment_name(pipeline: str) -> str:
    """Return the name of the experiment of a pipeline's monitoring."""
    return f"{pipeline}-monitoring"


def step_of(window: Window) -> int:
    """Return the number of a window: how many of its length lie between 1970-01-05 and its start.

    >>> day = datetime(1970, 1, 19, tzinfo=UTC)
    >>> step_of(Window(start=day, end=day.replace(day=26)))
    2
    """
    return (as_utc(window.start) - _FIRST) // (window.end - window.start)


def record_window(
    store: Store,
    pipeline: str,
    champion: ModelVersion,
    window: Window | None,
    drift: DriftResult | None,
    performances: Sequence[Performance],
    gain: Gain | None,
    tags: Mapping[str, str],
) -> str:
    """Log what was found of a window into the monitoring run of the champion; return its id."""
    # Every number is a step of its metric, so that MLflow's charts show it over time; a window that
    # is looked at again is logged again under the same step. Each performance is logged under its
    # own window's step, `gain` under that of the newest window that it judged.
    run = _run_of(store, pipeline, champion)
    step = step_of(window) if window else 0
    moment = as_utc(window.start) if window else None
    store.log(run, metrics=_of_drift(drift), tags=tags, step=step, moment=moment)
    for performance in performances:
        at = performance.window
        store.log(
            run,
            metrics=_of_performance(performance),
            step=step_of(at) if at else 0,
            moment=as_utc(at.start) if at else None,
        )
    if gain is not None and gain.gain is not None and gain.windows:
        judged = gain.windows[-1]
        moment = as_utc(judged.start)
        store.log(run, metrics=_of_gain(gain), step=step_of(judged), moment=moment)
    return run


def _run_of(store: Store, pipeline: str, champion: ModelVersion) -> str:
    marks = {
        "keepfit.pipeline": pipeline,
        "keepfit.role": "monitoring",
        "keepfit.model_version": champion.version,
    }
    found = store.find_run(marks, status=None)
    if found is not None:
        if found.status == "RUNNING":
            store.finish_run(found.run_id)
        return found.run_id
    metric = champion.tags.get("keepfit.metric", "")
    experiment = store.experiment(
        experiment_name(pipeline),
        metric="drift.score",
        greater_is_better=bool(metric) and greater_is_better(metric),
    )
    note = (
        f"What was seen of **{pipeline}** version {champion.version}, a step a window.\n\n"
        "`drift.score` above 1 is an alarm; `drift.<column>` is the column's statistic over its "
        "threshold. A step is the number of a window, counted from 1970-01-05: for dates choose "
        "*Time (wall)* as the charts' x-axis."
    )
    run = store.start_run(
        experiment, f"monitoring v{champion.version}", tags={**marks, "keepfit.note": note}
    )
    # It stays open for further windows and belongs to no process.
    store.finish_run(run)
    return run


def _of_drift(drift: DriftResult | None) -> dict[str, float | None]:
    if drift is None:
        return {}
    metrics: dict[str, float | None] = {
        "rows": float(drift.rows),
        "drift.alarm": float(drift.alarm),
        "drift.harmful": float(drift.harmful),
        **{f"harm.{found.measure}": found.value for found in drift.harm},
        "drift.columns": float(len(drift.drifted)),
    }
    if drift.score is not None and drift.limit:
        metrics["drift.score"] = drift.score / drift.limit
    for finding in drift.columns:
        name = f"column {finding.column}" if finding.column in _OWN else finding.column
        name = "predictions" if finding.role == "prediction" else name
        if finding.statistic is not None and finding.threshold:
            metrics[f"drift.{name}"] = finding.statistic / finding.threshold
        if finding.missing is not None:
            metrics[f"missing.{name}"] = finding.missing
    return metrics


def _of_performance(performance: Performance) -> dict[str, float | None]:
    metrics: dict[str, float | None] = {"labelled": float(performance.labelled)}
    for name, value in (
        ("realised", performance.realised),
        ("estimated", performance.estimated),
        ("reference", performance.reference),
    ):
        metrics |= _of_value(f"{name}.{performance.metric}", value)
    return metrics


def _of_gain(gain: Gain) -> dict[str, float | None]:
    """Return the gain, its ends, and the logarithm of the e-value over the windows so far."""
    return {
        f"gain.{gain.metric}": gain.gain,
        f"gain.{gain.metric}_low": gain.low,
        f"gain.{gain.metric}_high": gain.high,
        "gain.evidence": gain.evidence,
        "gain.rows": float(gain.rows),
    }


def _of_value(name: str, value: MetricValue | None) -> dict[str, float | None]:
    if value is None or value.value is None:
        return {}
    ends = {f"{name}_low": value.low, f"{name}_high": value.high}
    return {name: value.value, **{k: v for k, v in ends.items() if v is not None}}
