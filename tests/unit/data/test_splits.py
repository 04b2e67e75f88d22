"""The laws of the split: disjoint, exhaustive, ordered in time, stable."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.base.errors import DataError
from tasks.base.training_records import Schema, Split
from tasks.data.splits import split_rows
from tests.unit.data.tables_made import T0, config, people, schema_of, snapshot_of

SHARES = st.sampled_from([0.1, 0.2, 0.3, 0.5])


def split(columns: dict[str, Any], schema: Schema, holdout: float, folder: Path) -> Split:
    made = config(target=schema.target, time_column=schema.time_column)
    return split_rows(snapshot_of(pa.table(columns), folder, made), schema, holdout, folder)


def parts(made: Split) -> tuple[np.ndarray, np.ndarray]:
    return np.load(made.train_path), np.load(made.holdout_path)


def schema(target: str = "y", **keys: Any) -> Schema:
    values = {"task": "regression", "features": {"x": "numeric"}} | keys
    return Schema.model_validate({"target": target, **values})


@settings(max_examples=60, deadline=None)
@given(hours=st.lists(st.integers(0, 40) | st.none(), min_size=2, max_size=80), holdout=SHARES)
def test_a_split_by_time_is_disjoint_exhaustive_and_ordered(
    hours: list[int | None], holdout: float
) -> None:
    columns = {
        "t": pa.array(
            [None if h is None else T0 + timedelta(hours=h) for h in hours], pa.timestamp("us")
        ),
        "x": np.arange(len(hours)) * 1.5,
        "y": np.arange(len(hours)) / 3,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if len({h for h in hours if h is not None}) < 2:
            with pytest.raises(DataError):
                split(columns, schema(time_column="t"), holdout, folder)
            return
        made = split(columns, schema(time_column="t"), holdout, folder)
        train, held = parts(made)
    times = np.array([-1 if h is None else h for h in hours])
    assert sorted([*train, *held]) == [i for i, h in enumerate(hours) if h is not None]
    assert times[train].max() < times[held].min()
    assert (np.diff(times[train]) >= 0).all()
    assert (np.diff(times[held]) >= 0).all()
    assert made.boundary is not None
    assert made.boundary.replace(tzinfo=None) == T0 + timedelta(hours=int(times[held].min()))
    assert (made.n_train, made.n_holdout, made.rule) == (len(train), len(held), "time")
    assert train.dtype == held.dtype == np.int64


VALUES = st.lists(st.integers(-1000, 1000), min_size=40, max_size=120)


@settings(max_examples=60, deadline=None)
@given(first=VALUES, more=VALUES, holdout=SHARES, grown=SHARES, ids=st.booleans())
def test_a_row_once_held_out_stays_so(
    first: list[int], more: list[int], holdout: float, grown: float, ids: bool
) -> None:
    def table(values: list[int]) -> dict[str, Any]:
        return {
            "id": [f"r{i}" for i in range(len(values))],
            "x": np.array(values, float),
            "y": np.array(values) / 3,
        }

    made = schema(id_columns=("id",) if ids else ())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            before = parts(split(table(first), made, holdout, folder / "a"))
            after = parts(split(table(first + more), made, max(holdout, grown), folder / "b"))
        except DataError:
            return
    assert sorted([*before[0], *before[1]]) == list(range(len(first)))
    assert not set(before[0]) & set(before[1])
    assert set(before[1]) <= set(after[1])
    if not ids:
        values = np.array(first + more)
        assert not set(values[after[0]]) & set(values[after[1]])


def test_rows_keep_their_side_whatever_their_order_or_type(tmp_path: Path) -> None:
    rows = 300
    x = np.arange(rows)
    whole = {"x": x, "k": [f"k{i % 5}" for i in x], "y": x % 2 == 0}
    order = np.random.default_rng(0).permutation(rows)
    other = {
        "k": [f"k{i % 5}" for i in order],
        "x": order.astype(float),
        "y": order % 2 == 0,
    }
    made = schema(task="binary", classes=("False", "True"))
    kinds = {"x": "numeric"}
    first = split_rows(
        snapshot_of(pa.table(whole), tmp_path, config(kinds=kinds)), made, 0.3, tmp_path / "1"
    )
    second = split_rows(
        snapshot_of(pa.table(other), tmp_path, config(kinds=kinds)), made, 0.3, tmp_path / "2"
    )
    assert set(parts(first)[1]) == set(order[parts(second)[1]])


def test_a_column_that_starts_to_vary_moves_no_row(tmp_path: Path) -> None:
    columns = people(300) | {"const": [1] * 300}
    del columns["at"]
    later = {k: [*v, *list(v)[:3]] for k, v in columns.items()}
    later["const"][-1] = 2
    later["id"] = [f"p{i}" for i in range(303)]
    one, made = schema_of(columns, tmp_path)
    two, grown = schema_of(later, tmp_path)
    assert "const" not in made.features
    assert "const" in grown.features
    before = parts(split_rows(one, made, 0.3, tmp_path / "1"))[1]
    after = parts(split_rows(two, grown, 0.3, tmp_path / "2"))[1]
    assert set(before) == {i for i in after if i < 300}


def test_classes_have_about_the_same_share(tmp_path: Path) -> None:
    rows = 20_000
    y = np.where(np.arange(rows) % 20 == 0, "rare", "common").tolist()
    columns = {"x": np.random.default_rng(0).normal(size=rows), "y": y}
    snapshot, made = schema_of(columns, tmp_path)
    _, held = parts(split_rows(snapshot, made, 0.2, tmp_path))
    rare = np.array(y) == "rare"
    assert rare[held].sum() / rare.sum() == pytest.approx(0.2, abs=0.05)
    assert len(held) / rows == pytest.approx(0.2, abs=0.02)


def test_a_class_is_never_absent_from_a_part(tmp_path: Path) -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        columns = {"x": random.normal(size=60), "y": ["a"] * 56 + ["b", "b", "c", "c"]}
        snapshot, made = schema_of(columns, tmp_path)
        done = split_rows(snapshot, made, 0.2, tmp_path)
        y = np.array(columns["y"])
        for part in parts(done):
            assert set(y[part]) == {"a", "b", "c"}


def test_unlabelled_rows_are_in_no_part(tmp_path: Path) -> None:
    columns = people(100)
    y: list[Any] = [bool(v) for v in columns["y"]]
    y[5] = y[50] = None
    snapshot, made = schema_of(columns | {"y": y}, tmp_path, time_column="at")
    done = split_rows(snapshot, made, 0.2, tmp_path)
    assert done.no_target == 2
    assert not {5, 50} & {*parts(done)[0], *parts(done)[1]}


def test_rows_without_a_time_are_set_aside_and_said(tmp_path: Path) -> None:
    columns = people(100)
    at: list[datetime | None] = list(columns["at"])
    at[7] = None
    snapshot, made = schema_of(columns | {"at": at}, tmp_path, time_column="at")
    done = split_rows(snapshot, made, 0.2, tmp_path)
    assert done.n_train + done.n_holdout == 99
    assert any("1 rows without a time" in note for note in done.notes)


def test_twins_under_other_ids_are_counted(tmp_path: Path) -> None:
    columns = {"id": [f"r{i}" for i in range(400)], "x": [1.0, 2.0] * 200, "y": [True, False] * 200}
    snapshot, made = schema_of(columns, tmp_path, id_columns=("id",))
    done = split_rows(snapshot, made, 0.2, tmp_path)
    assert any(f"{done.n_holdout} held-out rows equal" in note for note in done.notes)


@pytest.mark.parametrize("rows", [1, 2])
def test_too_few_rows_are_refused_with_a_remedy(tmp_path: Path, rows: int) -> None:
    columns = {"t": [T0] * rows, "x": [1.0] * rows, "y": [2.5] * rows}
    for made in (schema(time_column="t"), schema()):
        with pytest.raises(DataError, match="no row is left") as caught:
            split(columns, made, 0.2, tmp_path)
        assert "split.holdout" in caught.value.remedy
