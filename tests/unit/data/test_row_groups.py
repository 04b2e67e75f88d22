"""Rows of one group are never on both sides of a holdout."""

from __future__ import annotations

import tempfile
from datetime import timedelta
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

GROUPS = st.lists(st.integers(0, 12), min_size=4, max_size=80)
SHARES = st.sampled_from([0.1, 0.2, 0.5])


def split(groups: list[Any], holdout: float, folder: Path, **columns: Any) -> Split:
    table = {"who": groups, "x": np.arange(len(groups)) / 7, "y": np.arange(len(groups)) / 3}
    table |= columns
    made = config(split={"group": "who"}, time_column="t" if "t" in columns else None)
    task = "regression" if table["y"] is not columns.get("y") else "binary"
    schema = Schema(
        target="y",
        task=task,
        features={"x": "numeric"},
        classes=() if task == "regression" else ("a", "b"),
        time_column=made.time_column,
    )
    snapshot = snapshot_of(pa.table(table), folder, made)
    return split_rows(snapshot, schema, holdout, folder, group="who")


def sides(groups: list[Any], made: Split) -> tuple[set[Any], set[Any]]:
    held = np.load(made.holdout_path)
    assert sorted([*np.load(made.train_path), *held]) == list(range(len(groups)))
    outside = set(range(len(groups))) - set(held.tolist())
    return {groups[i] for i in outside}, {groups[i] for i in held}


@settings(max_examples=60, deadline=None)
@given(groups=GROUPS, more=GROUPS, holdout=SHARES)
def test_a_group_is_on_one_side_and_stays_there(
    groups: list[int], more: list[int], holdout: float
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if len(set(groups)) < 2:
            with pytest.raises(DataError, match=r"leave split\.group out"):
                split(groups, holdout, folder)
            return
        first = split(groups, holdout, folder)
        trained, held = sides(groups, first)
        assert not trained & held
        assert trained
        assert held
        later = split(groups + more, holdout, folder)
        if not any("was moved" in note for note in (*first.notes, *later.notes)):
            assert sides(groups + more, later)[0] >= trained
            assert sides(groups + more, later)[1] >= held


def test_both_sides_know_every_class_that_two_groups_have(tmp_path: Path) -> None:
    groups = [f"g{i // 3}" for i in range(90)]
    for shift in range(6):
        y = ["a"] * 90
        y[3 * shift], y[3 * shift + 40] = "b", "b"
        made = split(groups, 0.1, tmp_path, y=y)
        held = np.load(made.holdout_path)
        assert {y[i] for i in held} == {"a", "b"}
        assert {y[i] for i in np.load(made.train_path)} == {"a", "b"}
        trained, kept = sides(groups, made)
        assert not trained & kept


def test_rows_without_a_group_stand_each_for_themselves(tmp_path: Path) -> None:
    made = split([None] * 200, 0.5, tmp_path)
    assert 60 < made.n_holdout < 140


def test_few_groups_say_what_share_they_come_to(tmp_path: Path) -> None:
    made = split([i % 3 for i in range(90)], 0.2, tmp_path)
    assert any("33% of the rows are held out instead of 20%" in note for note in made.notes)


def test_by_time_rows_of_known_groups_are_counted_and_kept(tmp_path: Path) -> None:
    times = [T0 + timedelta(hours=i) for i in range(10)]
    groups = ["old", "old", "stays", *["other"] * 5, "stays", "new"]
    made = split(groups, 0.2, tmp_path, t=times)
    assert np.load(made.holdout_path).tolist() == [8, 9]
    assert made.notes == (
        "1 of 2 held-out rows are of a 'who' that is trained on too: rows are held out by time",
    )


def test_the_kind_of_a_split_tells_groups_from_rows(tmp_path: Path) -> None:
    made = split([1, 2, 3, 4], 0.5, tmp_path)
    assert made.kind == "hash of who"
    assert made.model_copy(update={"group": None}).kind == "hash"
    assert made.model_copy(update={"rule": "time"}).kind == "time"


def test_the_group_is_no_feature(tmp_path: Path) -> None:
    _, schema = schema_of(people(), tmp_path, split={"group": "k"})
    assert "k" not in schema.features
    assert "split.group" in schema.dropped["k"]


@pytest.mark.parametrize("column", ["y", "at"])
def test_target_and_time_are_no_groups(column: str) -> None:
    with pytest.raises(ValueError, match="name another column"):
        config(split={"group": column}, time_column="at")


def test_an_excluded_column_to_report_by_does_not_move_a_row(tmp_path: Path) -> None:
    columns = people()
    plain, schema = schema_of({k: v for k, v in columns.items() if k != "k"}, tmp_path)
    more, wider = schema_of(columns, tmp_path, exclude=["k"], report={"by": ["k"]})
    assert wider.features == schema.features
    assert wider.aside == ("k",)
    held = [
        np.load(split_rows(snapshot, roles, 0.3, tmp_path / str(place)).holdout_path).tolist()
        for place, (snapshot, roles) in enumerate(((plain, schema), (more, wider)))
    ]
    assert held[0] == held[1]
