"""Rows predicted over HTTP as rows to monitor: beside those of the source, each once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from tasks.base.monitoring_records import Window
from tasks.base.runtime.libraries import pa, pd
from tasks.base.training_records import Schema, Snapshot
from tasks.data.snapshots import open_table, read_frame, write_snapshot
from tasks.data.typing.distinct_values import texts_of
from tasks.data.typing.storage import ColumnForm
from tasks.ledger.records import AnsweredCells
from tasks.ledger.storage.row_keys import row_keys
from tasks.registry.open_pipeline import OpenPipeline
from tasks.serving.request_columns import Column, RequestColumns, frame_of
from tasks.training.row_windows import newest_row, row_times, scoring_snapshot


def monitored_rows(
    pipeline: OpenPipeline, roles: Schema, window: Window | None, now: datetime | None = None
) -> Snapshot:
    """Return the rows of a window: those of the source, and those predicted over HTTP."""
    # A row that is in both counts once, as the source has it. Without a time column these are the
    # rows that were predicted within the last `monitoring.window`, and the source's where the file
    # states one for scoring; else the source is what the model learned from.
    config = pipeline.config
    arrived = None
    if window is None:
        arrived = (now or datetime.now(UTC)) - config.monitoring.window
    answered = pipeline.ledger.answered(config.name, window, arrived)
    if window is not None:
        snapshot = scoring_snapshot(pipeline, window.start, window.end)
    elif answered and config.scoring.source is None:
        snapshot = Snapshot(path="", digest="", rows=0, kinds={})
    else:
        snapshot = scoring_snapshot(pipeline)
    if not answered:
        return snapshot
    return _joined(snapshot, answered, roles, pipeline.work / "scoring")


def newest_monitored(pipeline: OpenPipeline, now: datetime) -> datetime | None:
    """Return the greatest time among the rows to monitor, in UTC; None where none has one."""
    found = [
        moment.replace(tzinfo=UTC)
        for moment in pipeline.ledger.answered_times(pipeline.config.name, None, now)
    ]
    newest = newest_row(pipeline)
    return max([*found, *([] if newest is None else [newest])], default=None)


def monitored_times(pipeline: OpenPipeline, span: Window) -> NDArray[np.datetime64]:
    """Return the times of the rows to monitor in `span`, in UTC, ``datetime64[us]``, ascending."""
    answered = np.array(
        pipeline.ledger.answered_times(pipeline.config.name, span), dtype="datetime64[us]"
    )
    return np.sort(np.concatenate([row_times(pipeline, span.start, span.end), answered]))


def _joined(
    snapshot: Snapshot, answered: tuple[AnsweredCells, ...], roles: Schema, folder: Path
) -> Snapshot:
    forms = {name: form for one in answered for name, form in one.forms.items()}
    kinds = {name: form.kind for name, form in forms.items()}
    known: set[str] = set()
    tables = []
    if snapshot.rows:
        kinds |= snapshot.kinds
        tables.append(open_table(snapshot.path))
        # Where the source lost a column that identifies rows, the contract check reports it.
        if set(roles.id_columns or roles.features) <= set(snapshot.kinds):
            known.update(row_keys(read_frame(snapshot.path), roles, snapshot.digest))
    for one in answered:
        new = np.array([key not in known for key in one.keys])
        tables.append(_table(one).filter(pa.array(new)))
    first = tables[0].schema
    whole = pa.concat_tables(
        [tables[0], *(_like(table, first) for table in tables[1:])], promote_options="permissive"
    )
    time = roles.time_column if roles.time_column in kinds else None
    joined = write_snapshot(
        whole,
        kinds,
        folder,
        time_column=time,
        assumptions=snapshot.assumptions,
        storage={name: form.storage for name, form in forms.items()},
    )
    return joined.model_copy(update={"findings": snapshot.findings})


def _table(answered: AnsweredCells) -> pa.Table:
    columns = [Column(name, form) for name, form in answered.forms.items()]
    rows = zip(*map(orjson.loads, answered.cells), strict=True)
    cells = {column.name: list(values) for column, values in zip(columns, rows, strict=True)}
    frame = frame_of(RequestColumns(len(answered.cells), cells), columns)
    return pa.table({name: _arrow(frame[name], form) for name, form in answered.forms.items()})


def _arrow(column: pd.Series, form: ColumnForm) -> pa.Array:
    if column.dtype == object and form.kind != "boolean":
        return texts_of(column).cast(pa.string())
    return pa.array(column, from_pandas=True)


def _like(table: pa.Table, first: pa.Schema) -> pa.Table:
    """Return `table` with the types of `first` where its values have room in them."""
    for place, name in enumerate(table.column_names):
        if name not in first.names:
            continue
        try:
            column = table[name].cast(first.field(name).type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        table = table.set_column(place, name, column)
    return table
