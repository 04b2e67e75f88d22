"""From a checked snapshot to what is fitted: roles, split, identity."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import Pipeline
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.environment import give_back_memory
from tasks.base.settings.evaluation import default_metric, metrics_of
from tasks.base.training_records import Prepared, Schema, Snapshot, TrainingMode
from tasks.contracts.contract_files import contract_digest, late_labels
from tasks.data.column_kinds import build_schema
from tasks.data.row_hashes import repeats, row_hashes
from tasks.data.snapshots import open_table, read_frame
from tasks.data.splits import split_rows
from tasks.models.postprocessing.cost_matrix import check_objective
from tasks.training.refit_candidacy import Candidacy, mode_of, newer_than, on_champions_columns
from tasks.training.training_identity import fit_key, training_key

if TYPE_CHECKING:
    from expectations.late_labels import LateLabels


def prepare(
    pipeline: Pipeline,
    snapshot: Snapshot,
    *,
    champion_until: datetime | None = None,
    refit: Candidacy | None = None,
    reason: str = "",
) -> Prepared:
    """Return which column plays which part, which rows are held out, and the training's keys."""
    # `champion_until` is the time of the newest row that the champion was trained on. Without a
    # champion to `refit` it is a search, for `reason`. Raises ConfigError when the metric is not
    # one for the target's task, DataError with nothing to train on or to judge on.
    schema = build_schema(snapshot, pipeline.config)
    check_objective(pipeline.config.objective, schema)
    schema = schema.running(OwnCode.of(pipeline.config.hooks, pipeline.base))
    metric, mode = _metric(pipeline, schema.task), TrainingMode(reason=reason)
    if refit is not None:
        mode = mode_of(refit, pipeline, snapshot, schema, metric)
        if mode.kind == "refit" and refit.champion is not None:
            schema = on_champions_columns(schema, refit.champion)
    notes = rows_without_label(snapshot, schema, late_labels(pipeline, snapshot))
    if repeated := repeated_ids(snapshot, schema):
        notes = (repeated, *notes)
    give_back_memory()
    if notes:
        schema = schema.model_copy(update={"assumptions": (*schema.assumptions, *notes)})
    parts, refits = pipeline.config.split, pipeline.config.training.refit
    share = parts.holdout
    if champion_until is not None:
        fewest = pipeline.config.monitoring.fewest_judged
        share = share_held_out(snapshot, schema, share, champion_until, fewest)
    fits = fit_key(pipeline, snapshot, share, mode)
    folder = pipeline.work / "fits" / fits[:32]
    folder.mkdir(parents=True, exist_ok=True)
    split = split_rows(snapshot, schema, share, folder, group=parts.group)
    if share < parts.holdout:
        half = (
            f"the newer half of the rows that are newer than the champion is held out, {share:.1%} "
            f"of all instead of {parts.holdout:.0%}, so that the challenger learns from the other"
        )
        split = split.model_copy(update={"notes": (*split.notes, half)})
    give_back_memory()
    return Prepared(
        roles=schema,
        split=split,
        metric=metric,
        key=training_key(pipeline, snapshot, contract_digest(pipeline), mode),
        folder=str(folder),
        refit=pipeline.config.time_column is not None if refits is None else refits,
        mode=mode,
    )


def share_held_out(
    snapshot: Snapshot, schema: Schema, stated: float, champion_until: datetime, fewest: int
) -> float:
    """Return the share of rows to hold out where a champion was trained on the older ones."""
    # Held out are at most half of the labelled rows that are newer than the champion's: were all of
    # them, the challenger would know no newer world than the champion, and could not be better.
    # Where half of them are fewer than `fewest`, it is the stated share.
    if schema.time_column is None:
        return stated
    newer, rows = newer_than(snapshot, schema, champion_until)
    return stated if newer < 2 * fewest else min(stated, newer / 2 / rows)


def rows_without_label(
    snapshot: Snapshot, schema: Schema, late: LateLabels | None
) -> tuple[str, ...]:
    """Return a note on the rows that wait for their label, and one on those that should have it."""
    if late is None:
        return ()
    rows = read_frame(snapshot.path, columns=[late.target, late.time_column])
    rows = rows.dropna(subset=[late.time_column]).sort_values(late.time_column, kind="stable")
    absent, due = rows[late.target].isna().to_numpy(), late.mature(rows)
    notes = []
    if (waiting := int((absent & ~due).sum())) > 0:
        notes.append(
            f"monitoring.label_delay: {waiting:,} rows after {late.until:%Y-%m-%d %H:%M} UTC have "
            f"no {schema.target!r} yet and are left out; the holdout is the newest labelled rows"
        )
    if (overdue := absent & due).any():
        # From +1, where a stretch without labels starts, to -1, after its last row.
        turns = np.diff(overdue.astype(np.int8), prepend=0, append=0)
        starts, ends = np.flatnonzero(turns == 1), np.flatnonzero(turns == -1)
        times = rows[late.time_column]
        longest = np.argsort(starts - ends, kind="stable")[:3]
        named = (
            f"{ends[n] - starts[n]:,} in {times.iloc[starts[n]]:%Y-%m-%d %H:%M}.."
            f"{times.iloc[ends[n] - 1]:%Y-%m-%d %H:%M}"
            for n in longest
        )
        notes.append(
            f"{int(overdue.sum()):,} rows whose {schema.target!r} should be known by now have none "
            f"and are left out, the longest stretches: {', '.join(named)}"
        )
    return tuple(notes)


def repeated_ids(snapshot: Snapshot, schema: Schema) -> str:
    """Return a note on ids that do not name one row; empty where they do."""
    if not schema.id_columns:
        return ""
    hashes = row_hashes(open_table(snapshot.path, schema.id_columns), schema.id_columns)
    repeated = repeats(hashes)
    if not repeated:
        return ""
    remedy = "name the columns that identify a row"
    if schema.time_column and schema.time_column not in schema.id_columns:
        remedy = f"where a row is an id at a time, add {schema.time_column!r} to them"
    return (
        f"id_columns: {repeated:,} rows have the ids of another row; of each id the ledger keeps "
        f"the first prediction: {remedy}"
    )


def _metric(pipeline: Pipeline, task: str) -> str:
    metric = pipeline.config.metric or default_metric(task)  # type: ignore[arg-type]
    if metric in pipeline.config.hooks.metrics:
        return metric
    fits = metrics_of(task)
    if metric not in fits:
        raise ConfigError(
            f"{pipeline.path}, line {pipeline.line_of('metric')}: `metric: {metric}` is not one "
            f"for {task}, which the target {pipeline.config.target!r} is taken for.",
            f"One of: {', '.join(fits)}. Or state the `task`.",
        )
    return metric
