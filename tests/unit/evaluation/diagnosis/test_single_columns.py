"""A column that nearly decides alone is named; honest columns, and several that agree, are not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.base.training_records import Kind, Schema, Task
from tasks.data.snapshots import write_snapshot
from tasks.evaluation.diagnosis.single_columns import Alone, alone, alone_suspicion
from tasks.metrics.paired_bootstrap import Predictions

ROWS = 2_000


def _asked(folder: Path, task: Task, extra: dict[str, Any], sure: float = 0.9) -> Alone | None:
    """Return what is found where a model knows `sure` of what there is to know."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=ROWS)
    columns: dict[str, Any] = {"a": hidden + rng.normal(size=ROWS), "b": rng.normal(size=ROWS)}
    columns["word"] = np.where(hidden + rng.normal(size=ROWS) > 0, "up", "down")
    columns |= {name: make(hidden, rng) for name, make in extra.items()}
    classes: tuple[str, ...] = ()
    y: Any = hidden
    if task != "regression":
        classes = ("0", "1") if task == "binary" else ("0", "1", "2")
        y = np.digitize(hidden, [0] if task == "binary" else [-0.5, 0.5]).astype(str)
    kinds: dict[str, Kind] = dict.fromkeys(columns, "numeric")
    kinds["word"] = "categorical"
    for name, values in columns.items():
        if np.asarray(values).dtype.kind == "U":
            kinds[name] = "categorical"
    schema = Schema(
        target="y", task=task, features=kinds, classes=classes,
        positive="1" if task == "binary" else None,
    )  # fmt: skip
    target: Kind = "categorical" if classes else "numeric"
    table = pa.table({**columns, "y": y})
    kept = write_snapshot(table, {**kinds, "y": target}, folder, time_column=None, assumptions=())
    order = rng.permutation(ROWS)
    train, holdout = np.sort(order[:1_400]), np.sort(order[1_400:])
    told = sure * hidden[holdout] + (1 - sure) * rng.normal(size=len(holdout))
    if not classes:
        return alone(kept.path, schema, train, holdout, Predictions(told), {}, 0)
    ends = [-np.inf, *([0] if task == "binary" else [-0.5, 0.5]), np.inf]
    chances = np.stack(
        [np.exp(-4 * np.clip(np.maximum(low - told, told - high), 0, None)) for low, high in
         itertools.pairwise(ends)], axis=1,
    )  # fmt: skip
    chances /= chances.sum(axis=1, keepdims=True)
    said = np.asarray(classes)[chances.argmax(axis=1)]
    return alone(kept.path, schema, train, holdout, Predictions(said, chances), {}, 0)


def _near(hidden: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return hidden + 0.15 * rng.normal(size=len(hidden))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_column_that_does_what_all_do_is_named_with_its_share(task: Task, tmp_path: Path) -> None:
    found = _asked(tmp_path, task, {"near": _near})
    assert found is not None
    assert found.column == "near"
    (said,) = alone_suspicion(found)
    assert said.level == "warning"
    assert said.sentence.startswith("'near' alone reaches")
    assert "`exclude`" in said.sentence


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_honest_columns_are_not_named(task: Task, tmp_path: Path) -> None:
    found = _asked(tmp_path, task, {})
    assert found is not None
    assert alone_suspicion(found) == ()


def test_two_columns_that_say_the_same_do_not_stand_out(tmp_path: Path) -> None:
    found = _asked(tmp_path, "regression", {"near": _near, "too": _near})
    assert found is not None
    assert alone_suspicion(found) == ()


def test_a_word_can_be_the_column(tmp_path: Path) -> None:
    def graded(hidden: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.char.add("g", np.digitize(_near(hidden, rng), np.linspace(-2, 2, 21)).astype(str))

    found = _asked(tmp_path, "binary", {"grade": graded})
    assert found is not None
    assert found.column == "grade"
    assert alone_suspicion(found)


def test_where_all_columns_decide_little_it_is_a_note() -> None:
    (said,) = alone_suspicion(Alone("rate", 0.41, 0.1, 0.42))
    assert said.level == "note"
    assert alone_suspicion(Alone("rate", 0.30, 0.1, 0.42)) == ()
    assert alone_suspicion(None) == ()


def test_a_model_that_knows_nothing_says_nothing_of_its_columns(tmp_path: Path) -> None:
    assert _asked(tmp_path, "regression", {"near": _near}, sure=0.0) is None


def test_on_few_rows_the_luckiest_column_is_not_named(tmp_path: Path) -> None:
    few = alone("", Schema(target="y", task="regression", features={}), np.arange(9),
                np.arange(299), Predictions(np.zeros(299)), {}, 0)  # fmt: skip
    assert few is None
