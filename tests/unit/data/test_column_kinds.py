"""Kinds of columns, roles, and what the schema refuses or says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.base.errors import ConfigError, DataError
from tasks.data.column_kinds import infer_kinds, target_values
from tasks.data.snapshots import read_frame
from tests.unit.data.tables_made import people, schema_of


def kind_of(cells: Any, name: str = "c", **keys: Any) -> str:
    kinds, _ = infer_kinds(pa.table({name: pa.array(cells)}), {}, **keys)
    return kinds[name]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1.5, 2.5, 1.5] * 20, "numeric"),
        ([3, 1, 2] * 20, "numeric"),
        (list(range(60)), "identifier"),
        (list(range(100, 160)), "identifier"),
        ([float(i) for i in range(60)], "numeric"),
        (list(range(5)), "numeric"),
        (["a", "b", None] * 20, "categorical"),
        ([f"k{i}" for i in range(60)], "identifier"),
        ([f"k{i}" for i in range(55)] + ["k0"] * 5, "categorical"),
        ([f"tail{i}" for i in range(300)] * 3, "categorical"),
        ([f"a sentence about thing number {i}" for i in range(60)], "text"),
        (["same words in every row here", "or these other words instead"] * 30, "categorical"),
        ([True, False] * 30, "boolean"),
        ([True, None] * 30, "boolean"),
        ([5] * 30, "constant"),
        ([None] * 30, "constant"),
        (["a"] * 30, "constant"),
        (["a", None] * 30, "categorical"),
        ([1, None] * 30, "numeric"),
    ],
)
def test_a_kind_follows_from_the_cells(cells: list[Any], kind: str) -> None:
    assert kind_of(cells) == kind


@pytest.mark.parametrize("name", ["id", "ID", "user_id", "customerID", "row id", "uuid", "OrderId"])
def test_unique_whole_numbers_called_like_an_id_are_identifiers(name: str) -> None:
    assert kind_of([5, 3, 9, 1, 7], name) == "identifier"
    assert kind_of([5, 3, None, 1, 7], name) == "identifier"


@pytest.mark.parametrize("name", ["paid", "humid", "width", "idle", "kid", "valid"])
def test_words_that_end_in_id_are_no_identifiers(name: str) -> None:
    assert kind_of([5, 3, 9, 1, 7], name) == "numeric"


def test_repeated_ids_are_categories_and_said() -> None:
    kinds, said = infer_kinds(pa.table({"user_id": [1, 2, 1, 3]}), {})
    assert kinds == {"user_id": "categorical"}
    assert "user_id" in said[0]


def test_roles_and_overrides_decide() -> None:
    table = pa.table({"a": list(range(60)), "b": list(range(60)), "c": ["x"] * 60})
    kinds, _ = infer_kinds(table, {"b": "numeric"}, target="a", id_columns=("c",))
    assert kinds == {"a": "numeric", "b": "numeric", "c": "identifier"}
    with pytest.raises(ConfigError, match="nearest: b"):
        infer_kinds(table, {"B": "numeric"})


def test_a_schema_gives_every_column_its_part(tmp_path: Path) -> None:
    columns = people() | {"one": ["x"] * 200, "none": pa.nulls(200)}
    _, schema = schema_of(columns, tmp_path, time_column="at", exclude=("gone",), id_columns=())
    assert schema.task == "binary"
    assert schema.classes == ("False", "True")
    assert schema.positive == "True"
    assert list(schema.features) == ["at", "x", "n", "k", "flag"]
    assert schema.dropped["one"] == "the same in every row"
    assert schema.dropped["none"] == "no value in any row"
    assert schema.dropped["gone"] == "excluded by the pipeline file"
    assert "identifier" in schema.dropped["id"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"target": "Y"}, "`target` names 'Y'.*nearest: y"),
        ({"time_column": "att"}, "`time_column`.*nearest: at"),
        ({"id_columns": ("idd",)}, "`id_columns`.*nearest: id"),
    ],
)
def test_a_name_the_table_lacks_is_refused_with_the_nearest(
    tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    from tasks.data.column_kinds import build_schema
    from tests.unit.data.tables_made import config, snapshot_of

    snapshot = snapshot_of(people(), tmp_path)
    with pytest.raises(ConfigError, match=said):
        build_schema(snapshot, config(**{"target": "y", **keys}))


def test_a_declared_kind_that_the_cells_refuse_is_an_error(tmp_path: Path) -> None:
    columns = people() | {"w": ["1.5", "abc"] * 100}
    with pytest.raises(DataError, match="column 'w' is declared numeric and holds 'abc'"):
        schema_of(columns, tmp_path, kinds={"w": "numeric"})


def test_not_a_number_is_no_value(tmp_path: Path) -> None:
    columns = {"x": np.full(40, np.nan), "z": np.arange(40) % 7, "y": [True, False] * 20}
    _, schema = schema_of(columns, tmp_path)
    assert schema.dropped["x"] == "no value in any row"


def test_nothing_to_predict_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column is left.*one \(the same in every row\)"):
        schema_of({"one": [1] * 30, "y": [True, False] * 15}, tmp_path)


@pytest.mark.parametrize(
    ("cells", "classes", "y"),
    [
        ([True, False, None, True, False], None, [True, False, True, False]),
        ([1, 0, None, 1, 0], None, [1, 0, 1, 0]),
        (["b", "a", None, "b", "a"], None, ["b", "a", "b", "a"]),
        (["b", "a", " ", "b", "a"], None, ["b", "a", "b", "a"]),
        ([1.0, 0.0, float("nan"), 1.0, 0.0], None, [1, 0, 1, 0]),
    ],
)
def test_labels_come_back_native_and_unlabelled_rows_are_left_out(
    tmp_path: Path, cells: list[Any], classes: None, y: list[Any]
) -> None:
    columns = {"y": cells * 8, "x": np.arange(40) % 7}
    snapshot, schema = schema_of(columns, tmp_path)
    got, keep = target_values(read_frame(snapshot.path), schema)
    assert got.tolist() == y * 8
    assert keep.tolist() == [True, True, False, True, True] * 8
    assert schema.classes == tuple(str(c) for c in np.unique(got))


def test_regression_leaves_out_what_is_not_finite(tmp_path: Path) -> None:
    cells = [float(i) / 3 for i in range(30)]
    cells[3], cells[4] = float("inf"), float("nan")
    snapshot, schema = schema_of({"y": cells, "x": np.arange(30) % 7}, tmp_path)
    y, keep = target_values(read_frame(snapshot.path), schema)
    assert schema.task == "regression"
    assert schema.classes == ()
    assert y.dtype == np.float64
    assert len(y) == 28 == keep.sum()
    assert any("2 of 30 rows" in note for note in schema.assumptions)


def test_rows_of_a_class_left_out_are_not_kept(tmp_path: Path) -> None:
    cells = ["a", "b", "c"] * 10 + ["lonely"]
    snapshot, schema = schema_of({"y": cells, "x": np.arange(31) % 7}, tmp_path)
    y, keep = target_values(read_frame(snapshot.path), schema)
    assert schema.classes == ("a", "b", "c")
    assert len(y) == 30
    assert not keep[-1]
    assert any("lonely" in note for note in schema.assumptions)


def test_strange_names_and_values_do_no_harm(tmp_path: Path) -> None:
    columns = {
        "naïve ✓": [1.0, float("inf"), float("-inf"), float("nan")] * 10,
        " ": ["a", "b"] * 20,
        "</script>": [2**62, -(2**62)] * 20,
        "y": [True, False, False, True] * 10,
    }
    snapshot, schema = schema_of(columns, tmp_path)
    assert list(schema.features) == ["naïve ✓", " ", "</script>"]
    assert list(read_frame(snapshot.path).columns) == list(columns)


def test_a_frame_that_came_another_way_gives_its_labels(tmp_path: Path) -> None:
    _, schema = schema_of({"y": [1, 0] * 20, "x": np.arange(40) % 7}, tmp_path)
    y, keep = target_values(pd.DataFrame({"y": [1.0, None, 0.0]}), schema)
    assert y.tolist() == [1, 0]
    assert keep.tolist() == [True, False, True]
