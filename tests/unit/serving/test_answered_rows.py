from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa

from tasks.base.monitoring_records import Window
from tasks.base.pipeline_file import Pipeline
from tasks.base.training_records import Schema
from tasks.data.snapshots import read_frame
from tasks.ledger.ledger import ledger_of
from tasks.serving.answered_rows import _like, monitored_rows, monitored_times, newest_monitored
from tasks.serving.delivery import announce, deliver, record_of, spool_folder
from tasks.serving.served_model import ServedModel
from tasks.serving.spool import Spool
from tests.opened import opened
from tests.unit.serving.served import WITH_IDS, frame, pipeline_file, records, served

NOW = datetime(2020, 2, 1, tzinfo=UTC)
WINDOW = Window(start=datetime(2020, 1, 1, 6, tzinfo=UTC), end=datetime(2020, 1, 2, tzinfo=UTC))
MARKED = "größe; DROP TABLE"


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return served()


def answered(pipeline: Pipeline, model: ServedModel, rows: pd.DataFrame) -> None:
    announce(pipeline, model)
    spool = Spool(spool_folder(pipeline))
    spool.write([record_of(model, model.answer(model.read_records(records(rows))), "q")])
    spool.close()
    deliver(opened(pipeline))


def learned(folder: Path) -> Pipeline:
    """A pipeline whose source ends before the window."""
    old = frame(40, seed=9)
    old["moment"] -= pd.Timedelta(days=30)
    old.to_parquet(folder / "x.parquet")
    return pipeline_file(folder)


def test_a_window_of_answered_rows_alone_is_what_a_source_with_them_would_give(
    tmp_path: Path, model: ServedModel
) -> None:
    pipeline, rows = learned(tmp_path), frame(40)
    answered(pipeline, model, rows)
    answered(pipeline, model, rows[10:20])

    found = monitored_rows(opened(pipeline), WITH_IDS, WINDOW)
    rows.to_parquet(tmp_path / "x.parquet")
    theirs = monitored_rows(opened(pipeline), WITH_IDS, WINDOW)

    shared = list(found.kinds)
    assert {*shared} == {*theirs.kinds} - {"spät?"}
    assert {name: found.kinds[name] for name in shared} == {n: theirs.kinds[n] for n in shared}
    pd.testing.assert_frame_equal(
        read_frame(found.path, shared), read_frame(theirs.path, shared), check_dtype=False
    )
    assert (found.rows, found.start, found.end) == (18, theirs.start, theirs.end)
    assert ledger_of(pipeline).answered_at("mine") is not None
    assert ledger_of(pipeline).answered_at("another") is None
    times = monitored_times(opened(pipeline), WINDOW)
    assert len(times) == 36
    assert newest_monitored(opened(pipeline), NOW) == datetime(2020, 1, 2, 15, tzinfo=UTC)


def test_a_type_that_has_no_room_for_another_is_left_to_the_one_that_has() -> None:
    first = pa.schema([("a", pa.null()), ("b", pa.float64())])
    later = pa.table({"a": [True], "b": pa.array([1], pa.timestamp("us"))})
    assert _like(later, first).schema == later.schema


def test_a_row_that_the_source_has_too_counts_once_as_the_source_has_it(
    tmp_path: Path, model: ServedModel
) -> None:
    pipeline, rows = learned(tmp_path), frame(40)
    answered(pipeline, model, rows)
    theirs = frame(40)[:12].assign(**{MARKED: -1})
    theirs.to_parquet(tmp_path / "x.parquet")

    found = read_frame(monitored_rows(opened(pipeline), WITH_IDS, WINDOW).path)

    assert found["no"].tolist() == [f"r0-{number}" for number in range(6, 24)]
    assert (found[MARKED] == -1).tolist() == [True] * 6 + [False] * 12


def test_without_a_time_column_those_answered_lately_are_looked_at(tmp_path: Path) -> None:
    timeless = WITH_IDS.model_copy(update={"time_column": None})
    frame(40, seed=9).to_parquet(tmp_path / "x.parquet")
    pipeline = pipeline_file(tmp_path)
    config = pipeline.config.model_copy(update={"time_column": None})
    pipeline = Pipeline(**{**vars(pipeline), "config": config})
    assert monitored_rows(opened(pipeline), timeless, None).rows == 40
    answered(pipeline, served(roles=timeless), frame(7))

    assert monitored_rows(opened(pipeline), timeless, None).rows == 7
    later = datetime.now(UTC) + timedelta(days=30)
    assert monitored_rows(opened(pipeline), timeless, None, later).rows == 40


def test_what_a_row_held_goes_when_it_is_older_than_the_retention(
    tmp_path: Path, model: ServedModel
) -> None:
    pipeline = learned(tmp_path)
    answered(pipeline, model, frame(40))
    ledger = ledger_of(pipeline)
    with ledger.writing("test") as connection:
        connection.execute(
            sa.text("UPDATE keepfit_batches SET written_at = '2020-01-02 00:00:00.000000'")
        )
        # One that has no time stays in the ledger, by its key alone.
        connection.execute(
            sa.text("UPDATE keepfit_predictions SET time = NULL WHERE key LIKE '%r0-39%'")
        )
    assert ledger.prune(NOW, timedelta(hours=10)).predictions > 0

    with ledger.reading() as connection:
        left = connection.execute(sa.text("SELECT key, time, cells FROM keepfit_predictions")).all()
    assert [row.cells for row in left if row.time is None] == [None]
    assert {json.loads(row.cells)[-1] for row in left if row.time is not None} <= {
        f"r0-{number}" for number in range(28, 39)
    }


def test_a_ledger_without_what_rows_held_is_brought_up_to_date(
    tmp_path: Path, model: ServedModel
) -> None:
    pipeline = learned(tmp_path)
    answered(pipeline, model, frame(5))
    ledger = ledger_of(pipeline)
    with ledger.writing("test") as connection:
        for change in (
            "ALTER TABLE keepfit_batches DROP COLUMN forms",
            "ALTER TABLE keepfit_predictions DROP COLUMN cells",
            "UPDATE keepfit_ledger_schema SET version = 2",
        ):
            connection.execute(sa.text(change))
    ledger.engine.dispose()

    answered(pipeline, model, frame(8))

    assert ledger_of(pipeline).coverage("mine", None).rows == 8
    (kept,) = ledger_of(pipeline).answered("mine", Window(start=WINDOW.start, end=NOW))
    assert len(kept.cells) == 2


def test_a_source_without_the_ids_of_answered_rows_is_joined_as_it_is(
    tmp_path: Path, model: ServedModel
) -> None:
    pipeline = learned(tmp_path)
    answered(pipeline, model, frame(40))
    frame(40).drop(columns="no").to_parquet(tmp_path / "x.parquet")
    roles: Schema = WITH_IDS

    assert monitored_rows(opened(pipeline), roles, WINDOW).rows == 36
