from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.base.errors import DataError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.files import write_recorded
from tasks.base.training_records import (
    SCHEMA_TAG,
    SNAPSHOT_TAG,
    Kind,
    ModelVersion,
    Schema,
    Snapshot,
)
from tasks.data.snapshots import write_snapshot
from tasks.monitoring.drift import column_summary
from tasks.monitoring.drift.detector import measure
from tasks.monitoring.drift.reference_store import (
    load_reference,
    reference_of,
    reference_rows,
    save,
    training_rows,
)
from tasks.monitoring.drift.reference_summary import (
    Reference,
    build_from_file,
    build_reference,
    rows_up_to,
)
from tasks.monitoring.performance import window_performance
from tasks.monitoring.performance.estimation.covariate_shift import CovariateShift
from tasks.registry.version_files.holdouts import PLACE
from tasks.training.row_windows import training_snapshot
from tests.tables import write_churn, write_pipeline

WEEK = timedelta(days=7)
KINDS: dict[str, Kind] = {
    "number": "numeric",
    "</script>\n'\"": "categorical",
    "when": "datetime",
    "text": "text",
    "null": "numeric",
    "yes": "boolean",
}


def frame_of(n: int = 2_000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "number": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "</script>\n'\"": pd.Series(
                [("a", "ü", "</script>", "\ud800")[k] for k in rng.integers(0, 4, n)],
                dtype=object,
            ),
            "when": np.datetime64("2020-01-01", "us")
            + rng.integers(0, 10**6, n) * np.timedelta64(1, "s"),
            "text": ["é" * k for k in rng.integers(0, 9, n)],
            "null": [None] * n,
            "yes": pd.Series([(True, False, None)[k] for k in rng.integers(0, 3, n)], dtype=object),
        }
    )


def times_of(n: int, seconds: int = 3_600) -> np.ndarray:
    return np.datetime64("2026-01-05", "us") + np.arange(n) * np.timedelta64(seconds, "s")


def same(first: Reference, second: Reference) -> None:
    assert list(first.columns) == list(second.columns)
    assert (first.rows, first.length, first.source) == (second.rows, second.length, second.source)
    assert first.cells_per_block == second.cells_per_block
    np.testing.assert_array_equal(first.cell_rows, second.cell_rows)
    for ours, theirs in zip(first.columns.values(), second.columns.values(), strict=True):
        for name in ("kind", "rows", "nulls", "exact", "levels", "told", "complete"):
            assert getattr(ours, name) == getattr(theirs, name)
        for name in ("points", "at_most", "counts", "cells", "cell_nulls"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_a_saved_reference_is_the_same(tmp_path: Path) -> None:
    frame = frame_of()
    made = build_reference(frame, KINDS, times_of(len(frame)), WEEK, source="v1 ü")
    save(made, tmp_path / "deep" / "v1.npz")
    read = load_reference(tmp_path / "deep" / "v1.npz")
    same(made, read)
    window = frame_of(500, 1)
    how = {"false_alarms": 0.05, "min_rows": 20}
    first, second = (
        measure(one, window, **how).model_copy(update={"seconds": 0.0})  # type: ignore[arg-type]
        for one in (made, read)
    )
    assert first == second


@pytest.mark.parametrize("cut", [0, 10, 0.5, 0.99])
def test_a_damaged_file_is_told(tmp_path: Path, cut: float) -> None:
    path = tmp_path / "v1.npz"
    save(build_reference(frame_of(), KINDS, None, WEEK), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(cut if cut >= 1 else cut * len(data))])
    with pytest.raises(DataError, match="cannot be read"):
        load_reference(path)


def test_a_reference_that_was_exchanged_for_a_readable_one_is_told(tmp_path: Path) -> None:
    path, other = tmp_path / "v1.npz", tmp_path / "other.npz"
    save(build_reference(frame_of(), KINDS, None, WEEK), path)
    save(build_reference(frame_of().iloc[::2], KINDS, None, WEEK), other)
    path.write_bytes(other.read_bytes())
    with pytest.raises(DataError, match="not the file that was written"):
        load_reference(path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "v1.npz"
    np.savez(path, about=np.array([{"a": 1}], dtype=object))
    write_recorded(path, path.read_bytes())
    with pytest.raises(DataError, match="allow_pickle"):
        load_reference(path)


def test_counts_are_exact_whatever_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_summary, "POINTS", 200)
    frame = frame_of(5_000)
    made = build_reference(frame, KINDS, None, WEEK).columns["number"]
    values = frame["number"].dropna().to_numpy()
    assert not made.exact
    assert 150 <= len(made.points) <= 200
    assert made.nulls == int(frame["number"].isna().sum())
    for point, at_most in list(zip(made.points, made.at_most, strict=True))[::20]:
        assert at_most == int((values <= point).sum())
    assert made.at_most[-1] == len(values)


def test_many_levels_are_known_and_the_rare_ones_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_summary, "LEVELS", 10)
    rng = np.random.default_rng(0)
    levels = [f"l{k}" for k in np.minimum(rng.geometric(0.05, 4_000), 90)]
    frame = pd.DataFrame({"x": levels})
    made = build_reference(frame, {"x": "categorical"}, times_of(4_000), WEEK)
    column = made.columns["x"]
    assert len(column.levels) == len(set(levels))
    assert column.cells.shape[1] == 11
    assert column.cells.sum() == 4_000
    assert column.told == 10
    assert column.rest == 4_000 - column.counts[:10].sum() > 0


def test_cells_are_days_of_a_week_and_hold_every_row() -> None:
    frame = frame_of(24 * 30)
    made = build_reference(frame, KINDS, times_of(len(frame)), WEEK)
    assert made.cells_per_block == 7
    assert made.cell_rows.tolist() == [24] * 30
    number = made.columns["number"]
    assert number.cells.sum() + number.cell_nulls.sum() == len(frame)


def test_a_long_reference_has_a_cell_a_window_and_not_without_end() -> None:
    frame = pd.DataFrame({"x": np.arange(3_000.0)})
    made = build_reference(frame, {"x": "numeric"}, times_of(3_000), timedelta(hours=1))
    assert made.cells_per_block == 1
    assert len(made.cell_rows) == 2_000
    assert made.columns["x"].rows == 3_000


def test_rows_without_a_time_count_but_stand_in_no_cell() -> None:
    frame = frame_of(300)
    times = times_of(300)
    times[::3] = np.datetime64("NaT")
    made = build_reference(frame, KINDS, times, WEEK)
    assert made.rows == 300
    assert made.cell_rows.sum() == 200


def test_rows_up_to_the_training_end() -> None:
    times = times_of(5)
    assert rows_up_to(times, "2026-01-05T02:00:00+00:00").tolist() == [0, 1]  # type: ignore[union-attr]
    included = rows_up_to(times, "2026-01-05T03:00:00+01:00 included")
    assert included is not None
    assert included.tolist() == [0, 1, 2]
    assert rows_up_to(times, "") is None
    assert rows_up_to(None, "2026-01-05") is None


def test_a_file_gives_what_its_frame_gives(tmp_path: Path) -> None:
    frame = frame_of().drop(columns=["null"])
    frame["</script>\n'\""] = frame["</script>\n'\""].map(
        lambda level: level.replace("\ud800", "?")
    )
    frame["time"] = times_of(len(frame))
    kinds = {**{k: v for k, v in KINDS.items() if k != "null"}, "time": "datetime"}
    snapshot = write_snapshot(
        pa.Table.from_pandas(frame, preserve_index=False), kinds, tmp_path, time_column="time",
        assumptions=(),
    )  # fmt: skip
    del kinds["time"]
    until = "2026-02-01T00:00:00+00:00"
    made = build_from_file(snapshot.path, kinds, "time", WEEK, until=until)
    kept = frame[frame["time"] < pd.Timestamp("2026-02-01")]
    same(made, build_reference(kept, kinds, kept["time"].to_numpy(), WEEK))


@pytest.mark.slow
def test_building_from_a_file_holds_a_column_at_a_time(tmp_path: Path) -> None:
    n, names = 400_000, [f"c{k}" for k in range(20)]
    rng = np.random.default_rng(0)
    table = pa.table({name: rng.normal(size=n) for name in names})
    kinds: dict[str, Kind] = dict.fromkeys(names, "numeric")
    snapshot = write_snapshot(table, kinds, tmp_path, time_column=None, assumptions=())
    del table
    tracemalloc.start()
    build_from_file(snapshot.path, kinds, None, WEEK)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 8 * n


def test_a_summary_takes_few_bytes_a_row_beside_the_column() -> None:
    n = 300_000
    rng = np.random.default_rng(0)
    column, cells = pd.Series(rng.normal(size=n)), rng.integers(0, 300, n)
    tracemalloc.start()
    column_summary.summarise(column, "numeric", cells, 300)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 38 * n


def test_stretches_counted_part_by_part_are_those_counted_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    values = np.where(rng.random(5_000) < 0.1, np.nan, rng.normal(size=5_000).round(1))
    cells, levels = rng.integers(-1, 9, 5_000), pd.Series(rng.integers(0, 7, 5_000).astype(str))
    whole = [
        column_summary.summarise(pd.Series(values), "numeric", cells, 9),
        column_summary.summarise(levels, "categorical", cells, 9),
    ]
    monkeypatch.setattr(column_summary, "ROWS_AT_ONCE", 777)
    parts = [
        column_summary.summarise(pd.Series(values), "numeric", cells, 9),
        column_summary.summarise(levels, "categorical", cells, 9),
    ]
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one.cells, other.cells)
        assert np.array_equal(one.cell_nulls, other.cell_nulls)
    inside = cells >= 0
    assert whole[0].cells.sum() == (inside & ~np.isnan(values)).sum()
    assert whole[0].cell_nulls.sum() == (inside & np.isnan(values)).sum()


def test_points_at_quantiles_are_values_with_the_rows_at_most_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(column_summary, "POINTS", 50)
    values = np.random.default_rng(2).normal(size=3_000).round(2)

    summary = column_summary.summarise(pd.Series(values), "numeric", None, 0)

    assert not summary.exact
    assert summary.at_most.tolist() == [int((values <= p).sum()) for p in summary.points]
    # Between two points lie no more rows than a fiftieth and those of the point's own value.
    most_alike = np.unique(values, return_counts=True)[1].max()
    assert np.diff(summary.at_most, prepend=0).max() <= 3_000 / 50 + most_alike


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Pipeline, Snapshot]:
    data = write_churn(tmp_path / "churn.csv", rows=900)
    pipeline = load_pipeline(write_pipeline(tmp_path / "p", data, time=True), {})
    return pipeline, training_snapshot(pipeline)


def version_of(snapshot: Snapshot, until: str = "", version: str = "3") -> ModelVersion:
    schema = Schema(
        target="Churned?",
        task="binary",
        features={"Monthly fee": "numeric", "plan": "categorical", "größe": "numeric"},
        time_column="when",
        id_columns=("customer",),
    )
    tags = {SCHEMA_TAG: schema.model_dump_json(), "keepfit.data_digest": snapshot.digest[:16]}
    if until:
        tags["keepfit.trained_until"] = until
    return ModelVersion(name="churn", version=version, run_id="r", tags=tags)


def test_a_versions_reference_is_its_features_up_to_its_training_end_and_made_once(
    trained: tuple[Pipeline, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, snapshot = trained
    until = datetime(2026, 1, 21, tzinfo=UTC).isoformat()
    champion = version_of(snapshot, until)
    made = reference_of(pipeline, champion)
    assert list(made.columns) == ["Monthly fee", "plan", "größe"]
    assert made.rows == 20 * 24
    path = pipeline.work / "references" / "v3-1w.npz"
    before = path.stat().st_mtime_ns
    same(reference_of(pipeline, champion), made)
    assert path.stat().st_mtime_ns == before
    refitted = version_of(snapshot, f"{snapshot.end.isoformat()} included")  # type: ignore[union-attr]
    assert reference_of(pipeline, refitted).rows == snapshot.rows == 900
    path.write_bytes(b"torn")
    assert reference_of(pipeline, refitted).rows == 900
    shown = reference_rows(pipeline, champion, 100)
    assert list(shown.columns) == list(made.columns)
    assert len(shown) == 100
    assert len(reference_rows(pipeline, champion, 10_000)) == 20 * 24


def test_rows_whose_snapshot_is_gone_are_read_from_the_source_again(
    trained: tuple[Pipeline, Snapshot], caplog: pytest.LogCaptureFixture
) -> None:
    pipeline, snapshot = trained
    until = datetime(2026, 1, 21, tzinfo=UTC).isoformat()
    whole = reference_of(pipeline, version_of(snapshot, until))
    Path(snapshot.path).unlink()
    again = reference_of(pipeline, version_of(snapshot, until, version="4"))
    assert again.rows == whole.rows
    for name, column in whole.columns.items():
        np.testing.assert_array_equal(again.columns[name].cells, column.cells)
    # Predictions of them are compared, and a row is predicted with its id.
    gone = version_of(snapshot, until, version="4")
    assert "customer" in training_rows(pipeline, gone).columns
    assert len(reference_rows(pipeline, gone, 50)) == 50
    assert caplog.text.count("its rows are read from the source") == 1
    with pytest.raises(DataError):
        reference_of(pipeline, version_of(snapshot, "2020-01-01T00:00:00+00:00", version="5"))


def test_a_snapshot_that_was_exchanged_is_named_and_its_places_count_no_more(
    trained: tuple[Pipeline, Snapshot],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline, snapshot = trained
    named = version_of(snapshot)
    timed = {**named.roles.features, "when": "datetime"}
    tags = {
        **named.tags,
        SNAPSHOT_TAG: snapshot.file_digest,
        "keepfit.schema": named.roles.model_copy(update={"features": timed}).model_dump_json(),
    }
    version = named.model_copy(update={"tags": tags})
    monkeypatch.setattr(window_performance, "_places", lambda *_: np.array([0]))
    reference, rows = pd.DataFrame({PLACE: [5]}), pd.DataFrame({"key": ["k"]})

    def shift() -> CovariateShift | None:
        return window_performance.shift_of(pipeline, version, rows, reference, snapshot)

    found = shift()
    assert found is not None
    assert version.roles.features == timed
    assert dict(found.kinds) == named.roles.features
    exchanged = bytearray(Path(snapshot.path).read_bytes())
    exchanged[len(exchanged) // 2] ^= 1
    Path(snapshot.path).write_bytes(exchanged)

    assert training_rows(pipeline, version).count == snapshot.rows
    assert "gone or changed" in caplog.text
    assert shift() is None
