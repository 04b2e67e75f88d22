"""Labels: they arrive late, are joined by key, and may be put right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tasks.base.errors import ConfigError, DataError
from tasks.base.pipeline_file import Pipeline, nearest
from tasks.base.runtime.failpoints import reach
from tasks.base.runtime.libraries import pd, sa
from tasks.base.settings.sources import Source
from tasks.base.training_records import NUMBERS, Kind, Schema
from tasks.contracts.contract_files import forms_of, known_contract
from tasks.data.column_kinds import infer_kinds
from tasks.data.label_spellings import with_joined_labels
from tasks.data.loading import spelled_target
from tasks.data.snapshots import read_frame, write_snapshot
from tasks.data.sources.file_completeness import complete_part
from tasks.data.sources.source import column_names, read_source
from tasks.data.time_columns import declared_times
from tasks.data.typing.storage import ColumnForm, declared_forms, reading_kinds, writings
from tasks.ledger.coverage import predicted
from tasks.ledger.records import LabelsWritten
from tasks.ledger.storage import cell_values
from tasks.ledger.storage.bulk_insert import staged
from tasks.ledger.storage.database import Database, lock
from tasks.ledger.storage.row_keys import row_keys
from tasks.ledger.storage.tables import insert_absent, labels, now


def read_labels(
    pipeline: Pipeline, schema: Schema, start: datetime | None, end: datetime | None
) -> pd.DataFrame:
    """Return the labels of rows whose time lies in [start, end)."""
    # They come from `monitoring.labels`, else from the target column of the source. A source of
    # labels without the time column is read whole. Ids and features are read as for scoring, so
    # that the keys are the same. Raises ConfigError when the source of labels lacks a column, or is
    # separate while no id columns match a label to its row.
    source, _ = complete_part(_source(pipeline, schema), pipeline.base)
    if source is None:
        return pd.DataFrame({c: [] for c in (*schema.id_columns, schema.target)})
    columns, time_column = _columns(pipeline, schema, column_names(source, pipeline.base))
    known = {schema.target: ColumnForm(_kind_of_target(schema))}
    known |= forms_of(known_contract(pipeline))
    stated = declared_forms(pipeline.config.kinds, known) | spelled_target(pipeline.config)
    forms = {column: stated[column] for column in columns if column in stated}
    declared = reading_kinds(forms)
    read = read_source(
        source,
        pipeline.base,
        columns=columns,
        time_column=time_column,
        start=start if time_column else None,
        end=end if time_column else None,
        expected=declared,
        written=writings(forms),
    )
    table = declared_times(read.table, declared)
    table, _ = with_joined_labels(table, schema.target, pipeline.config.labels)
    found, _ = infer_kinds(
        table,
        {name: form.kind for name, form in forms.items()},
        target=schema.target,
        time_column=time_column,
        id_columns=schema.id_columns,
    )
    with TemporaryDirectory(prefix="keepfit-labels-") as folder:
        snapshot = write_snapshot(
            table, found, Path(folder), time_column=None, assumptions=(),
            storage={name: form.storage for name, form in forms.items()},
        )  # fmt: skip
        return read_frame(snapshot.path)


def _source(pipeline: Pipeline, schema: Schema) -> Source:
    own = pipeline.config.monitoring.labels
    if own is None:
        return pipeline.config.source
    if not schema.id_columns:
        raise ConfigError(
            f"{pipeline.path}, line {pipeline.line_of('monitoring', 'labels')}: "
            "`monitoring.labels` is a separate source, and no id columns show which row a "
            "label belongs to.",
            "Name them in `id_columns` and train again, or leave `monitoring.labels` out.",
        )
    return own


def _columns(
    pipeline: Pipeline, schema: Schema, available: Sequence[str]
) -> tuple[list[str], str | None]:
    """Return the columns to read, in the source's order, and the time column if it is there."""
    needed = [*(schema.id_columns or schema.features), schema.target]
    absent = [name for name in needed if name not in available]
    if absent:
        key = "monitoring.labels" if pipeline.config.monitoring.labels else "source"
        raise ConfigError(
            f"{pipeline.path}, line {pipeline.line_of(*key.split('.'))}: `{key}` has no column "
            f"{absent[0]!r}, by which labels are read.",
            nearest(absent[0], available),
        )
    time_column = schema.time_column if schema.time_column in available else None
    wanted = {*needed, time_column}
    return [name for name in available if name in wanted], time_column


def _kind_of_target(schema: Schema) -> Kind:
    if schema.task in NUMBERS:
        return "numeric"
    return "boolean" if set(schema.classes) == {"False", "True"} else "categorical"


def write(database: Database, pipeline: str, frame: pd.DataFrame, schema: Schema) -> LabelsWritten:
    """Write labels of rows that were predicted, in one transaction; a later one replaces."""
    # Without id columns the frame holds features, time column and target. A null, blank text and,
    # for regression, what is not finite is no label. A missing column raises DataError.
    if schema.target not in frame:
        raise DataError(
            f"The labels lack the target {schema.target!r}.",
            f"The columns: {', '.join(map(repr, frame.columns[:12]))}.",
        )
    texts, numbers = _labels(frame, schema)
    given = {
        key: (key, text, number)
        for key, text, number in zip(row_keys(frame, schema, ""), texts, numbers, strict=True)
        if text is not None or number is not None
    }
    rows = sum(t is not None or n is not None for t, n in zip(texts, numbers, strict=True))
    with database.writing("labels") as connection:
        lock(connection, f"keepfit labels {pipeline}")
        stage = staged(
            connection,
            "keepfit_staged_labels",
            [
                sa.Column("key", sa.Text, primary_key=True),
                sa.Column("label", sa.Text),
                sa.Column("value", sa.Double),
            ],
            given.values(),
        )
        reach("ledger.labels.halfway")
        mine = predicted(sa.literal(pipeline), stage.c.key)
        unpredicted = int(connection.execute(sa.delete(stage).where(~mine)).rowcount)
        changed = _change(connection, stage, pipeline)
        new = _add(connection, stage, pipeline)
    return LabelsWritten(rows=rows, new=new, changed=changed, unpredicted=unpredicted)


def _labels(frame: pd.DataFrame, schema: Schema) -> tuple[list[str | None], list[float | None]]:
    if schema.task not in NUMBERS:
        texts: list[str | None] = cell_values.class_texts(
            frame[schema.target], schema.classes
        ).tolist()
        return texts, [None] * len(frame)
    numbers = cell_values.numbers(frame[schema.target])
    return [None] * len(frame), cell_values.or_none(np.where(np.isfinite(numbers), numbers, np.nan))


def _change(connection: sa.Connection, stage: sa.Table, pipeline: str) -> int:
    other = sa.or_(
        labels.c.label.is_distinct_from(stage.c.label),
        labels.c.value.is_distinct_from(stage.c.value),
    )
    update = (
        sa.update(labels)
        .where(labels.c.pipeline == pipeline, labels.c.key == stage.c.key, other)
        .values(label=stage.c.label, value=stage.c.value, written_at=now())
    )
    return int(connection.execute(update).rowcount)


def _add(connection: sa.Connection, stage: sa.Table, pipeline: str) -> int:
    chosen = (
        sa.select(sa.literal(pipeline), *stage.c, sa.literal(now(), sa.DateTime))
        .where(sa.true())
        .order_by(stage.c.key)
    )
    names = ["pipeline", *(column.name for column in stage.c), "written_at"]
    insert = insert_absent(connection, labels).from_select(names, chosen)
    return int(connection.execute(insert).rowcount)
