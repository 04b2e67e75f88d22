from __future__ import annotations

import json
import signal
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from tasks.base.errors import DataError
from tasks.base.monitoring_records import Window
from tasks.base.runtime.failpoints import VARIABLE
from tasks.base.runtime.progress import Step, set_reporter
from tasks.base.training_records import ModelVersion, Schema
from tasks.ledger import predictions as written_predictions
from tasks.ledger.ledger import Ledger
from tasks.ledger.records import Role, Written
from tests.unit.ledger.made import (
    NAME,
    Forked,
    Stopped,
    opened,
    predictions,
    process,
    schema,
    signals_raising,
)


def write(
    ledger: Ledger,
    frame: pd.DataFrame,
    roles: Schema | None = None,
    *,
    version: str = "1",
    batch: str = "b1",
    role: Role = "champion",
    rows: pd.DataFrame | None = None,
    run_id: str = "r",
) -> Written:
    return ledger.write_predictions(
        NAME,
        frame,
        roles or schema(),
        version=version,
        run_id=run_id,
        batch=batch,
        role=role,
        rows=rows,
    )


def hours(start: int, end: int) -> Window:
    first = datetime(2020, 1, 1, tzinfo=UTC)
    return Window(start=first + timedelta(hours=start), end=first + timedelta(hours=end))


def test_what_was_written_is_read_in_order_of_time(ledger: Ledger) -> None:
    frame = predictions(
        prediction=["no", "yes", "no", "yes"], probability_yes=[0.1, 0.9, 0.2, 1 / 3]
    )
    frame["probability_no"] = 1 - frame["probability_yes"]
    assert write(ledger, frame.iloc[::-1]) == Written(rows=4, new=4, known=0)
    read = ledger.window_rows(NAME, None, schema())
    assert list(read.columns) == [
        "key", "time", "version", "run_id", "prediction", "probability_no", "probability_yes",
        "label",
    ]  # fmt: skip
    assert read["key"].tolist() == ['["0"]', '["1"]', '["2"]', '["3"]']
    assert read["time"].tolist() == frame["time"].tolist()
    assert read["time"].dtype == "datetime64[us]"
    assert read["prediction"].tolist() == ["no", "yes", "no", "yes"]
    assert read["probability_yes"].tolist() == frame["probability_yes"].tolist()
    assert read["probability_no"].tolist() == frame["probability_no"].tolist()
    assert read["label"].isna().all()
    assert set(read["version"]) == {"1"}


def test_versions_of_one_number_are_told_apart_by_their_runs(ledger: Ledger) -> None:
    """A model deleted in MLflow and trained again starts at 1."""
    from tasks.monitoring.performance.window_performance import made_by

    frame = predictions()
    write(ledger, frame.iloc[:3], run_id="deleted")
    write(ledger, frame, batch="later", run_id="again")
    read = ledger.window_rows(NAME, None, schema())
    assert read["run_id"].tolist() == ["deleted"] * 3 + ["again"]
    again = ModelVersion(name=NAME, version="1", run_id="again")
    assert made_by(read, again)["key"].tolist() == ['["3"]']


@pytest.mark.parametrize("ids", [("id",), ()])
def test_parts_of_a_batch_are_what_the_whole_is(ledger: Ledger, ids: tuple[str, ...]) -> None:
    roles = schema(id_columns=ids)
    held = {"id": ["a", None, "b", "a", None, "c"], "distance": [1, 2, 3, 1, 2, 6], "carrier": "x"}
    whole = predictions(6, **held)
    features = whole.assign(time=whole["time"].iloc[0])
    parts = [(whole.iloc[i : i + 2], features.iloc[i : i + 2]) for i in (0, 2, 4)]
    marks = {"version": "1", "run_id": "r", "batch": "b1"}
    at_once = ledger.write_predictions("whole", whole, roles, rows=features, **marks)
    found = ledger.write_predictions("parts", parts, roles, **marks)
    assert found == at_once
    assert found.repeated == (1 if ids else 0)
    pd.testing.assert_frame_equal(
        ledger.window_rows("parts", None, roles), ledger.window_rows("whole", None, roles)
    )
    masks = ledger.in_batch("parts", (rows for _, rows in parts), roles, "b1", "1")
    assert np.concatenate(list(masks)).sum() == found.new


def test_which_rows_a_batch_brought_is_found_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written_predictions, "_SLICE", 1000)
    ledger, rows = opened(tmp_path), 40_000
    write(ledger, predictions(rows, 0), batch="first")
    parts = (predictions(1000, start) for start in range(rows // 2, 2 * rows, 1000))
    tracemalloc.start()
    try:
        found = sum(int(m.sum()) for m in ledger.in_batch(NAME, parts, schema(), "first", "1"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == rows // 2
    assert peak / rows < 80  # bytes of hashes and of one part


def test_a_delivery_in_slices_is_what_it_is_at_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = predictions(3000, id=np.random.default_rng(0).integers(0, 2000, 3000))
    marks = {"version": "1", "run_id": "r", "batch": "b1"}
    ledger.write_predictions("whole", frame.iloc[:900], schema(), **marks)
    ledger.write_predictions("sliced", frame.iloc[:900], schema(), **marks)
    at_once = ledger.write_predictions("whole", frame, schema(), **marks)
    monkeypatch.setattr(written_predictions, "_SLICE", 700)
    assert ledger.write_predictions("sliced", frame, schema(), **marks) == at_once
    pd.testing.assert_frame_equal(
        ledger.window_rows("sliced", None, schema()), ledger.window_rows("whole", None, schema())
    )


def test_the_index_of_times_is_made_after_a_delivery_larger_than_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written_predictions, "_SLICE", 700)
    ledger, done = opened(tmp_path), []

    def note(*given: Any) -> None:
        done.extend(word for word in ("DROP INDEX", "CREATE INDEX", "INTO keepfit_predictions")
                    if word in given[2])  # fmt: skip

    sa.event.listen(ledger.engine, "after_cursor_execute", note)
    write(ledger, predictions(1500))
    assert done == ["DROP INDEX", *["INTO keepfit_predictions"] * 3, "CREATE INDEX"]
    done.clear()
    write(ledger, predictions(800, start=1500), batch="later")
    assert done == ["INTO keepfit_predictions"] * 2
    assert ledger.coverage(NAME, hours(1000, 2000)).rows == 1000
    with ledger.reading() as connection:
        assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
        assert sa.inspect(connection).get_indexes("keepfit_predictions")


def test_a_signal_amid_a_delivery_rolls_it_back_and_the_next_one_delivers_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written_predictions, "_SLICE", 700)
    ledger, reported = opened(tmp_path), []
    write(ledger, predictions(1000), batch="earlier")

    def show(step: Step) -> None:
        reported.append((step.done, step.total, step.seconds_left is not None))
        if step.done == 2:
            signal.raise_signal(signal.SIGTERM)

    set_reporter(show)
    try:
        with signals_raising(signal.SIGTERM), pytest.raises(Stopped):
            write(ledger, predictions(3000, 500))
    finally:
        set_reporter(None)
    assert reported == [(1, 5, True), (2, 5, True)]
    assert ledger.coverage(NAME, None).rows == 1000
    assert Forked(lambda: written(tmp_path, None, 500)).answer() == "2500"
    assert ledger.window_rows(NAME, None, schema())["key"].tolist() == [
        f'["{i}"]' for i in range(3500)
    ]


def test_a_batch_written_twice_is_there_once(ledger: Ledger) -> None:
    write(ledger, predictions())
    assert write(ledger, predictions()) == Written(rows=4, new=0, known=4)
    assert len(ledger.window_rows(NAME, None, schema())) == 4


def test_of_overlapping_batches_the_first_prediction_stays(ledger: Ledger) -> None:
    write(ledger, predictions(4, score=0.25))
    later = write(ledger, predictions(4, start=2, score=0.75), version="2", batch="b2")
    assert later == Written(rows=4, new=2, known=2)
    read = ledger.window_rows(NAME, None, schema())
    assert read["probability_yes"].tolist() == [0.25] * 4 + [0.75] * 2
    assert read["version"].tolist() == ["1"] * 4 + ["2"] * 2


def test_each_shadow_version_has_its_own_prediction(ledger: Ledger) -> None:
    write(ledger, predictions(score=0.25))
    for version, score in (("2", 0.5), ("3", 0.75), ("2", 0.9)):
        write(ledger, predictions(score=score), version=version, role="shadow")
    assert ledger.window_rows(NAME, None, schema())["probability_yes"].tolist() == [0.25] * 4
    second = ledger.window_rows(NAME, None, schema(), role="shadow", version="2")
    assert second["probability_yes"].tolist() == [0.5] * 4
    assert len(ledger.window_rows(NAME, None, schema(), role="shadow")) == 8


def test_pipelines_do_not_see_each_other(ledger: Ledger) -> None:
    write(ledger, predictions())
    ledger.write_predictions("other", predictions(), schema(), version="1", run_id="r", batch="b1")
    assert len(ledger.window_rows(NAME, None, schema())) == 4
    assert ledger.coverage("third", None).rows == 0


def test_an_id_is_the_same_beside_nulls(ledger: Ledger) -> None:
    write(ledger, predictions())
    beside_null = predictions(5, id=[0.0, 1.0, 2.0, 3.0, np.nan])
    assert write(ledger, beside_null, batch="b2") == Written(rows=5, new=1, known=4)
    as_text = predictions(id=pd.Series(["0", "1", "2", "3"], dtype="str"))
    assert write(ledger, as_text, batch="b3") == Written(rows=4, new=0, known=4)


def test_ids_of_several_columns_and_hostile_values(ledger: Ledger) -> None:
    hostile = ['a"b', "a\\", "ü\n", "\x00", "'; DROP TABLE x; --", "x" * 5000, "x" * 4999, ""]
    frame = predictions(8, **{"größe\"'": pd.Series(hostile, dtype="str")})
    roles = schema(id_columns=("größe\"'", "id"))
    assert write(ledger, frame, roles).new == 8
    assert write(ledger, frame, roles).new == 0
    keys = ledger.window_rows(NAME, None, roles)["key"]
    assert json.loads(keys[0]) == ['a"b', "0"]
    assert keys.is_unique
    assert keys.str.len().max() < 100


def test_times_are_ids_too(ledger: Ledger) -> None:
    zoned = predictions()
    zoned["time"] = zoned["time"].dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    roles = schema(id_columns=("time",))
    write(ledger, predictions(), roles)
    assert write(ledger, zoned, roles).known == 4
    assert ledger.window_rows(NAME, hours(1, 3), roles)["key"].tolist() == [
        '["2020-01-01T01:00:00.000000"]',
        '["2020-01-01T02:00:00.000000"]',
    ]


def test_rows_without_any_id_are_told_apart(ledger: Ledger) -> None:
    frame = predictions(id=[None, None, 3, 4])
    assert write(ledger, frame).new == 4
    assert write(ledger, frame).new == 0
    assert write(ledger, frame, batch="b2").new == 2


def test_an_id_twice_in_a_batch_is_said(ledger: Ledger) -> None:
    frame = predictions(id=[1, 1, 2, 2])
    assert write(ledger, frame) == Written(rows=4, new=2, known=0, repeated=2)
    assert ledger.window_rows(NAME, None, schema())["time"].dt.hour.tolist() == [0, 2]


def test_without_ids_a_row_is_known_by_what_it_holds(ledger: Ledger) -> None:
    roles = schema(id_columns=())
    rows = predictions(distance=[1, 1, 2, 3], carrier=["AA", "AA", None, "BB"])
    rows["time"] = rows["time"].iloc[0]
    made = rows.drop(columns=["distance", "carrier", "id"])
    assert write(ledger, made, roles, rows=rows).new == 4  # two rows alike are two rows
    floats = rows.assign(distance=[1.0, 1.0, 2.0, 4.0])
    assert write(ledger, made, roles, rows=floats, batch="b2").new == 1
    with pytest.raises(DataError, match="'distance', 'carrier'"):
        write(ledger, made, roles)
    with pytest.raises(DataError, match="4 predictions were made of 3 rows"):
        write(ledger, made, roles, rows=rows.iloc[:3])


def test_a_column_that_scoring_renamed_is_found(ledger: Ledger) -> None:
    frame = predictions().rename(columns={"id": "batch_input"}).assign(batch="b1")
    assert write(ledger, frame, schema(id_columns=("batch",))).new == 4


def test_an_id_column_that_is_gone_is_said(ledger: Ledger) -> None:
    with pytest.raises(DataError, match="'id'"):
        write(ledger, predictions().drop(columns="id"))


def test_a_window_is_closed_at_its_start_and_open_at_its_end(ledger: Ledger) -> None:
    write(ledger, predictions(6))
    read = ledger.window_rows(NAME, hours(1, 4), schema())
    assert read["time"].dt.hour.tolist() == [1, 2, 3]
    assert ledger.coverage(NAME, hours(1, 4)).rows == 3
    assert ledger.coverage(NAME, None).newest == datetime(2020, 1, 1, 5, tzinfo=UTC)
    assert ledger.ends(NAME)[1] == datetime(2020, 1, 1, 5, tzinfo=UTC)
    assert ledger.ends(NAME, "shadow") == (None, None)


def test_rows_without_a_time_are_in_no_window(ledger: Ledger) -> None:
    frame = predictions()
    frame.loc[1, "time"] = pd.NaT
    write(ledger, frame)
    write(ledger, predictions(2, start=8).drop(columns="time"), batch="b2")
    assert ledger.coverage(NAME, hours(0, 24)).rows == 3
    assert (
        ledger.window_rows(NAME, None, schema())["time"].isna().tolist() == [True] * 3 + [False] * 3
    )
    timeless = schema(time_column=None)
    write(ledger, predictions(1, start=20), timeless, batch="b3")
    assert ledger.coverage(NAME, None).rows == 7


def test_what_is_not_finite_is_absent(ledger: Ledger) -> None:
    write(ledger, predictions(probability_yes=[np.nan, np.inf, 0.5, 0.25]))
    read = ledger.window_rows(NAME, None, schema())
    assert read["probability_yes"].isna().tolist() == [True, True, False, False]
    assert read["probability_no"].notna().all()


def test_regression_keeps_numbers(ledger: Ledger) -> None:
    roles = schema(task="regression", classes=(), positive=None)
    frame = predictions(prediction=[1.5, np.nan, 1e300, 1 / 3])
    write(ledger, frame.drop(columns=["probability_no", "probability_yes"]), roles)
    read = ledger.window_rows(NAME, None, roles)
    assert list(read.columns) == ["key", "time", "version", "run_id", "prediction", "label"]
    assert read["prediction"].tolist()[::2] == [1.5, 1e300]
    assert np.isnan(read["prediction"][1])
    assert read["label"].dtype == np.float64


def test_labels_of_any_type_are_classes_as_text(ledger: Ledger) -> None:
    roles = schema(classes=("False", "True"), positive="True")
    frame = predictions(prediction=[True, False, True, False])
    renamed = {"probability_no": "probability_False", "probability_yes": "probability_True"}
    write(ledger, frame.rename(columns=renamed), roles)
    read = ledger.window_rows(NAME, None, roles)
    assert read["prediction"].tolist() == ["True", "False", "True", "False"]


def test_versions_with_other_classes_are_read_side_by_side(ledger: Ledger) -> None:
    write(ledger, predictions(2, score=0.25))
    other = schema(classes=("maybe", "yes", "no"), positive=None, task="multiclass")
    frame = predictions(2, start=2, score=0.5).assign(probability_maybe=0.125)
    write(ledger, frame, other, version="2", batch="b2")
    read = ledger.window_rows(NAME, None, other)
    assert read["probability_yes"].tolist() == [0.25, 0.25, 0.5, 0.5]
    assert read["probability_maybe"].isna().tolist() == [True, True, False, False]


def test_no_rows_are_written_and_read(ledger: Ledger) -> None:
    assert write(ledger, predictions().iloc[:0]) == Written(rows=0, new=0, known=0)
    read = ledger.window_rows(NAME, hours(0, 1), schema())
    assert len(read) == 0
    assert read.dtypes.astype(str).tolist() == [
        "str", "datetime64[us]", "str", "str", "str", "float64", "float64", "str",
    ]  # fmt: skip


def test_a_batch_carries_version_run_and_digest(ledger: Ledger) -> None:
    write(ledger, predictions(), batch="digest")
    write(ledger, predictions(6), batch="digest")
    with ledger.reading() as connection:
        rows = connection.execute(
            sa.text("SELECT batch, version, run_id, rows, new FROM keepfit_batches")
        ).all()
    assert [tuple(row) for row in rows] == [("digest", "1", "r", 6, 6)]


def written(state: Path, url: str | None, start: int) -> int:
    """Write 3,000 rows as a process of its own would."""
    return write(opened(state, url), predictions(3000, start), batch=str(start)).new


@pytest.mark.parametrize("moment", ["before", "halfway", "before_commit", "after_commit"])
def test_a_writer_killed_on_its_way_neither_loses_nor_doubles_a_row(
    moment: str, url: str | None, ledger: Ledger, tmp_path: Path
) -> None:
    write(ledger, predictions(1000), batch="earlier")
    assert Forked(lambda: written(tmp_path, url, 500), f"ledger.predictions.{moment}").killed()
    there = 3500 if moment == "after_commit" else 1000
    assert ledger.coverage(NAME, None).rows == there
    assert Forked(lambda: written(tmp_path, url, 500)).answer() == str(3500 - there)
    read = ledger.window_rows(NAME, None, schema())
    assert read["key"].tolist() == [f'["{i}"]' for i in range(3500)]
    with ledger.reading() as connection:
        batch = "SELECT rows, new FROM keepfit_batches WHERE batch = '500'"
        assert tuple(connection.execute(sa.text(batch)).one()) == (3000, 2500)


def test_overlapping_writers_at_once_leave_each_row_once(
    url: str | None, ledger: Ledger, tmp_path: Path
) -> None:
    writers = [
        Forked(lambda start=start: written(tmp_path, url, start))  # type: ignore[misc]
        for start in range(0, 4000, 1000)
    ]
    assert sum(int(writer.answer()) for writer in writers) == 6000
    assert ledger.window_rows(NAME, None, schema())["key"].is_unique
    assert ledger.coverage(NAME, None).rows == 6000


KILLED = """
import sys
from pathlib import Path
from tests.unit.ledger.made import NAME, opened, predictions, schema
opened(Path(sys.argv[1])).write_predictions(
    NAME, predictions(3000), schema(), version="1", run_id="r", batch="b1")
"""


@pytest.mark.slow
def test_a_program_of_its_own_is_killed_by_name(tmp_path: Path) -> None:
    started = process(KILLED, tmp_path, **{VARIABLE: "ledger.predictions.halfway"})
    started.communicate()
    assert started.returncode == -signal.SIGKILL
    assert write(opened(tmp_path), predictions(3000)).new == 3000
