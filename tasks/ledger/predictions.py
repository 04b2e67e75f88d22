"""Predictions: each row's first one stays, since it is the one that was served."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from itertools import count, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.errors import DataError
from tasks.base.monitoring_records import Window
from tasks.base.runtime.failpoints import reach
from tasks.base.runtime.libraries import pd, sa
from tasks.base.runtime.progress import reported
from tasks.base.text.phrases import plural
from tasks.base.training_records import NUMBERS, Schema
from tasks.ledger import outbox
from tasks.ledger.coverage import of_window, with_labels
from tasks.ledger.records import AnsweredCells, Role, Written
from tasks.ledger.storage import cell_values
from tasks.ledger.storage.answered_cells import forms_text
from tasks.ledger.storage.bulk_insert import interruptible, rebuilt, slices, staged
from tasks.ledger.storage.database import Database, lock
from tasks.ledger.storage.row_keys import BatchKeys, key_hashes, row_keys, times_of
from tasks.ledger.storage.tables import (
    batches,
    insert_absent,
    labels,
    now,
    predictions,
    stored_time,
)

if TYPE_CHECKING:
    Part = tuple[pd.DataFrame, pd.DataFrame | None]
    """Predictions, and the rows they are of: ids, time and features under their own names."""

_MARKS = frozenset({"prediction", "model_name", "model_version", "run_id", "batch"})
_SLICE = 100_000  # rows that one statement inserts: between two, progress is reported
_FEW = 10_000  # rows that are looked up one by one, however many the ledger has


def write(
    database: Database,
    pipeline: str,
    predicted: pd.DataFrame | Iterable[Part],
    schema: Schema,
    *,
    version: str,
    run_id: str,
    batch: str,
    role: Role = "champion",
    rows: pd.DataFrame | None = None,
    to_send: bool = False,
    answered: AnsweredCells | None = None,
) -> Written:
    """Write a batch of predictions in one transaction.

    The first prediction of a row stays: it is the one that was served; of a shadow, each version's
    first. `predicted`: as `tasks.scoring.predictions.score_frame` returns them; or part by part,
    each with its `rows`: what was scored, needed where there are no id columns and a row is known
    by what it holds (DataError when a column is missing); `batch`: digest of the data; `to_send`:
    whether the sink gets what is new of it, see `unsent`; `answered`: cells of rows predicted over
    HTTP, which no source has.
    """
    parts: Iterable[tuple[pd.DataFrame, pd.DataFrame | None, Iterable[Any]]]
    if isinstance(predicted, pd.DataFrame):
        parts = [(predicted, rows, repeat(None) if answered is None else answered.cells)]
    else:
        parts = ((frame, source, repeat(None)) for frame, source in predicted)
    keys, places = BatchKeys(schema, batch), count()
    staged_rows = (row for part in parts for row in _staged_rows(*part, schema, keys, places))
    with database.writing("predictions") as connection:
        lock(connection, f"keepfit predictions {pipeline}")
        forms = None if answered is None else forms_text(answered.forms)
        number = _batch(connection, pipeline, role, batch, version, run_id, schema, forms)
        stage = staged(
            connection,
            "keepfit_staged_predictions",
            [
                sa.Column("place", sa.BigInteger),
                sa.Column("key", sa.Text),
                sa.Column("time", sa.DateTime),
                sa.Column("predicted", sa.Text),
                sa.Column("value", sa.Double),
                sa.Column("probabilities", sa.Text),
                sa.Column("cells", sa.Text),
            ],
            staged_rows,
        )
        total, doubles = next(places), 0
        if keys.may_repeat:
            distinct = sa.select(sa.func.count(stage.c.key.distinct()))
            doubles = total - int(interruptible(connection, distinct).scalar_one())
        reach("ledger.predictions.halfway")
        new = _take(connection, stage, total, pipeline, role, version, number)
        if to_send and new:
            outbox.mark(connection, pipeline, batch, version)
        connection.execute(
            sa.update(batches)
            .where(batches.c.id == number)
            .values(rows=total, new=batches.c.new + new)
        )
    return Written(rows=total, new=new, known=total - new - doubles, repeated=doubles)


def _staged_rows(
    frame: pd.DataFrame,
    rows: pd.DataFrame | None,
    cells: Iterable[Any],
    schema: Schema,
    keys: BatchKeys,
    places: Iterator[int],
) -> Iterator[tuple[Any, ...]]:
    source = _as_read(frame, schema) if rows is None else rows
    if len(source) != len(frame):
        raise DataError(f"{len(frame):,} predictions were made of {len(source):,} rows.")
    columns = (keys.of(source), _times(source, schema), *_predicted(frame, schema))
    for row, answered in zip(zip(*columns, strict=True), cells, strict=False):
        yield next(places), *row, answered


def in_batch(
    database: Database,
    pipeline: str,
    parts: Iterable[pd.DataFrame],
    schema: Schema,
    batch: str,
    version: str,
) -> Iterator[NDArray[np.bool_]]:
    """Yield which rows `version` predicted first in `batch`, a mask of shape (n_rows,) a part."""
    held = (
        sa.select(predictions.c.key)
        .join(batches, batches.c.id == predictions.c.batch)
        .where(
            predictions.c.pipeline == pipeline,
            predictions.c.role == "champion",
            batches.c.pipeline == pipeline,
            batches.c.batch == batch,
            batches.c.version == version,
        )
    )
    # By hash, as the texts of a large batch would not fit into memory.
    with database.reading() as connection:
        keys = connection.execution_options(yield_per=_SLICE).execute(held).scalars().partitions()
        hashes = [key_hashes(np.array(part, dtype=object)) for part in keys]
    found = np.sort(np.concatenate([np.empty(0, np.uint64), *hashes]))
    left, whole = np.ones(len(found), dtype=bool), BatchKeys(schema, batch)
    for rows in parts:
        asked = key_hashes(whole.of(rows))
        place = np.searchsorted(found, asked)
        mask = ~pd.Series(asked).duplicated().to_numpy(dtype=bool) & (place < len(found))
        mask[mask] = (found[place[mask]] == asked[mask]) & left[place[mask]]
        left[place[mask]] = False
        yield mask


def predicted_before(
    database: Database, pipeline: str, rows: pd.DataFrame, schema: Schema, since: datetime | None
) -> NDArray[np.bool_]:
    """Return which rows, none older than `since`, have a served prediction; shape (n_rows,)."""
    keys = pd.Series(row_keys(rows, schema, ""))
    query = sa.select(predictions.c.key).where(
        predictions.c.pipeline == pipeline, predictions.c.role == "champion"
    )
    if since is not None:
        query = query.where(predictions.c.time >= stored_time(since))
    queries, asked = [query], keys.unique().tolist()
    if len(asked) <= _FEW:
        parts = (asked[start : start + 500] for start in range(0, len(asked), 500))
        queries = [query.where(predictions.c.key.in_(part)) for part in parts]
    with database.reading() as connection:
        found = {key for one in queries for key in connection.execute(one).scalars()}
    mask: NDArray[np.bool_] = keys.isin(found).to_numpy(dtype=bool)
    return mask


def _as_read(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Return ids and time under the names they were read by: scoring renames some."""
    taken = _MARKS | {f"probability_{label}" for label in schema.classes}
    taken |= {"rank"} if schema.group else set()
    names = {}
    for name in (*schema.id_columns, *([schema.time_column] if schema.time_column else [])):
        given = name
        while given in taken:
            given = f"{given}_input"
        names[given] = name
    renamed = [given for given, name in names.items() if given != name and given in frame]
    if not renamed:
        return frame
    others = frame.drop(columns=[names[given] for given in renamed if names[given] in frame])
    return others.rename(columns={given: names[given] for given in renamed})


def _times(source: pd.DataFrame, schema: Schema) -> list[str | None]:
    if schema.time_column is None or schema.time_column not in source:
        return [None] * len(source)
    return cell_values.time_texts(times_of(source[schema.time_column]))


def _predicted(
    frame: pd.DataFrame, schema: Schema
) -> tuple[list[str | None], list[float | None], list[str | None]]:
    nothing: list[str | None] = [None] * len(frame)
    if schema.task in NUMBERS:
        return nothing, cell_values.or_none(cell_values.numbers(frame["prediction"])), nothing
    labelled = cell_values.class_texts(frame["prediction"], schema.classes).tolist()
    names = [f"probability_{label}" for label in schema.classes]
    if not names or any(name not in frame for name in names):
        return labelled, [None] * len(frame), nothing
    shares = np.column_stack([cell_values.numbers(frame[name]) for name in names])
    return (
        labelled,
        cell_values.or_none(_score(shares, schema)),
        [*cell_values.probability_texts(shares)],
    )


def _score(shares: NDArray[np.float64], schema: Schema) -> NDArray[np.float64]:
    if schema.positive in schema.classes:
        score: NDArray[np.float64] = shares[:, schema.classes.index(str(schema.positive))]
        return score
    most: NDArray[np.float64] = shares.max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(most), most, np.nan)


def _batch(
    connection: sa.Connection,
    pipeline: str,
    role: Role,
    batch: str,
    version: str,
    run_id: str,
    schema: Schema,
    forms: str | None,
) -> int:
    """Return the number of a batch's row in `batches`, made if it is absent."""
    named = {
        "pipeline": pipeline,
        "role": role,
        "batch": batch,
        "version": version,
        "run_id": run_id,
        "classes": json.dumps(schema.classes),
    }
    connection.execute(
        insert_absent(connection, batches).values(
            rows=0, new=0, written_at=now(), forms=forms, **named
        )
    )
    same = sa.and_(*(batches.c[name] == value for name, value in named.items()))
    number: int = connection.execute(sa.select(batches.c.id).where(same)).scalar_one()
    return number


def _take(
    connection: sa.Connection,
    stage: sa.Table,
    rows: int,
    pipeline: str,
    role: Role,
    version: str,
    batch: int,
) -> int:
    """Insert the staged rows that are not there yet; return how many."""
    shared = {
        "pipeline": pipeline,
        "role": role,
        "shadow": version if role == "shadow" else "",
        "version": version,
        "batch": batch,
    }
    marks = [sa.literal(value).label(name) for name, value in shared.items()]
    given = [column.name for column in stage.c if column.name != "place"]
    new = 0
    with _index_of_times(connection, rows):
        for query in _in_order_of_key(connection, stage, rows):
            cells = (query.selected_columns[name] for name in given)
            chosen = query.with_only_columns(*marks, *cells)
            insert = insert_absent(connection, predictions).from_select([*shared, *given], chosen)
            new += int(interruptible(connection, insert).rowcount)
    return new


def _index_of_times(connection: sa.Connection, rows: int) -> AbstractContextManager[None]:
    """Return what keeps the index of times while `rows` are inserted."""
    # In key order times come as they like, and where the index is larger than the cache each row
    # reads and writes a page of it. SQLite makes it anew where most of it would be of this batch.
    there = connection.execute(sa.select(sa.func.sum(batches.c.new))).scalar() or 0
    if connection.dialect.name == "sqlite" and rows > max(_SLICE, there):
        (index,) = predictions.indexes
        return rebuilt(connection, index)
    return nullcontext()


def _in_order_of_key(
    connection: sa.Connection, stage: sa.Table, rows: int
) -> Iterator[sa.Select[Any]]:
    """Yield the queries whose rows are to be inserted one after the other."""
    # In key order the index grows at its end; of a key that comes twice the first row stays.
    if connection.dialect.name == "sqlite" and rows > _SLICE:
        number = -(-rows // _SLICE)
        parts = slices(connection, stage, "key, place", _SLICE)
        yield from reported(parts, number, "ledger", plural(rows, "prediction"))
        return
    # SQLite allows ON CONFLICT after a SELECT only where that has a WHERE.
    yield sa.select(stage).where(sa.true()).order_by(stage.c.key, stage.c.place)


def read(
    database: Database,
    pipeline: str,
    window: Window | None,
    schema: Schema,
    *,
    role: Role = "champion",
    version: str | None = None,
) -> pd.DataFrame:
    """Return the predicted rows of a window beside their labels, in order of time.

    Columns: ``key`` (text), ``time`` (``datetime64[us]`` in UTC), ``version``, ``run_id``
    (MLflow's, as numbers are given again), ``prediction``, ``probability_<class>`` per class of the
    schema (NaN for one the model did not know) and ``label``. Predictions and labels are texts, for
    regression float64; a label that is not known is null. Without a window all rows, also those
    without a time.
    """
    chosen = (
        sa.select(
            predictions.c.key,
            predictions.c.time,
            predictions.c.version,
            predictions.c.batch,
            predictions.c.predicted,
            predictions.c.value,
            predictions.c.probabilities,
            labels.c.label,
            labels.c.value.label("number"),
        )
        .select_from(with_labels())
        .where(of_window(pipeline, role, window, version))
        .order_by(predictions.c.time.nulls_first(), predictions.c.key, predictions.c.version)
    )
    known = sa.select(batches.c.id, batches.c.classes, batches.c.run_id).where(
        batches.c.pipeline == pipeline
    )
    with database.reading() as connection:
        found = connection.execute(chosen).all()
        made = {row.id: row for row in connection.execute(known)}
    classes = {number: tuple(json.loads(row.classes)) for number, row in made.items()}
    columns = list(zip(*found, strict=True)) or [()] * len(chosen.selected_columns)
    runs = {number: str(row.run_id) for number, row in made.items()}
    return _frame(columns, classes, runs, schema)


def _frame(
    columns: list[tuple[Any, ...]],
    classes: dict[int, tuple[str, ...]],
    runs: dict[int, str],
    schema: Schema,
) -> pd.DataFrame:
    key, time, version, batch, predicted, value, texts, label, number = columns
    regression = schema.task in NUMBERS
    frame: dict[str, Any] = {
        "key": pd.Series(key, dtype="str"),
        "time": pd.Series(np.array(time, dtype="datetime64[us]")),
        "version": pd.Series(version, dtype="str"),
        "run_id": pd.Series([runs[number] for number in batch], dtype="str"),
        "prediction": pd.Series(value, dtype=float) if regression else _texts(predicted),
    }
    shares = _shares(texts, np.array(batch, dtype=np.int64), classes, schema)
    for place, name in enumerate(schema.classes):
        frame[f"probability_{name}"] = pd.Series(shares[:, place])
    frame["label"] = pd.Series(number, dtype=float) if regression else _texts(label)
    return pd.DataFrame(frame, copy=False)


def _texts(found: tuple[Any, ...]) -> pd.Series[Any]:
    return pd.Series(found, dtype="str")


def _shares(
    texts: tuple[Any, ...],
    batch: NDArray[np.int64],
    classes: dict[int, tuple[str, ...]],
    schema: Schema,
) -> NDArray[np.float64]:
    shares = np.full((len(texts), len(schema.classes)), np.nan)
    if not schema.classes:
        return shares
    numbers = {n: classes[n] for n in np.unique(batch).tolist()}
    for written in set(numbers.values()):
        mine = np.isin(batch, [n for n, c in numbers.items() if c == written])
        if not written:
            continue
        chosen = [text for text, wanted in zip(texts, mine, strict=True) if wanted]
        shares[mine] = cell_values.probabilities(chosen, written, schema.classes)
    return shares
