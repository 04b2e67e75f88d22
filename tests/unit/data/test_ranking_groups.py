"""Groups and grades of a ranking, and splits that leave groups whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError, DataError
from tasks.data.column_kinds import build_schema
from tasks.data.ranking_groups import queries_of
from tasks.data.splits import split_rows
from tests.unit.data.tables_made import config, snapshot_of


def clicks(**given: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    columns = {
        "query": np.repeat(np.arange(40), 10),
        "page": np.tile(np.arange(10), 40),
        "length": rng.normal(size=400),
        "grade": rng.choice([-1.0, 0.5, 2.0], 400),
    }
    return columns | given


def ranking(**given: Any) -> PipelineConfig:
    named = {"target": "grade", "task": "ranking", "group": "query", "item": "page"}
    return config(id_columns=["query", "page"], **(named | given))


def test_values_in_order_are_grades_and_names_are_no_features(tmp_path: Path) -> None:
    made = ranking()
    snapshot = snapshot_of(pa.table(clicks()), tmp_path, made)
    schema = build_schema(snapshot, made)

    assert schema.task == "ranking"
    assert (schema.grades, schema.relevant) == ((-1.0, 0.5, 2.0), 0.5)
    assert list(schema.features) == ["length"]
    assert schema.dropped["page"] == "names what is ranked"
    queries = queries_of(snapshot.path, schema, np.array([0, 9, 10]))
    assert queries is not None
    assert queries.groups[0] == queries.groups[1] != queries.groups[2]
    assert queries.relevant == 1
    assert (
        queries_of(snapshot.path, schema.model_copy(update={"group": None}), np.array([0])) is None
    )


@pytest.mark.parametrize(
    ("columns", "named", "error", "said"),
    [
        ({"query": np.arange(400)}, {}, DataError, "its own value in every row"),
        ({"query": pa.array([None, *[1] * 399])}, {}, DataError, "null in 1 of 400 rows"),
        ({"grade": np.linspace(0, 1, 400)}, {}, DataError, "at most 31 grades"),
        ({"grade": ["good", "bad"] * 200}, {}, ConfigError, "needs numbers"),
        ({}, {"relevant": -1.0}, ConfigError, "above -1, the least"),
        ({}, {"relevant": 3.0}, ConfigError, "got 3"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    columns: dict[str, Any],
    named: dict[str, Any],
    error: type[Exception],
    said: str,
    tmp_path: Path,
) -> None:
    made = ranking(**named)
    snapshot = snapshot_of(pa.table(clicks(**columns)), tmp_path, made)
    with pytest.raises(error, match=said):
        build_schema(snapshot, made)


def test_without_times_whole_groups_are_held_out_and_stay_so(tmp_path: Path) -> None:
    made = ranking()
    columns = clicks()
    snapshot = snapshot_of(pa.table(columns), tmp_path, made)
    split = split_rows(snapshot, build_schema(snapshot, made), 0.3, tmp_path)
    train, held = np.load(split.train_path), np.load(split.holdout_path)

    assert len(train) + len(held) == 400
    assert not set(columns["query"][train]) & set(columns["query"][held])
    assert set(np.bincount(columns["query"][held])) <= {0, 10}


def test_groups_that_tell_nothing_are_counted(tmp_path: Path) -> None:
    made = ranking()
    columns = clicks()
    columns["grade"][columns["query"] == 3] = -1.0
    snapshot = snapshot_of(pa.table(columns), tmp_path, made)
    split = split_rows(snapshot, build_schema(snapshot, made), 0.9, tmp_path)
    held = np.load(split.holdout_path)

    assert 3 in columns["query"][held]
    n_held = len(np.unique(columns["query"][held]))
    assert split.notes[-1].startswith(f"1 of {n_held} groups of the holdout have one row or no")
