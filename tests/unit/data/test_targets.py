"""Which task a target gives, its positive class, and what is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from tasks.base.errors import ConfigError, DataError
from tasks.data.targets import Judged, task_of
from tests.unit.data.tables_made import config


def judged(cells: list[Any], **keys: Any) -> Judged:
    return task_of(pa.chunked_array([pa.array(cells)]), config(**keys))


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        ([True, False] * 10, "binary"),
        (["a", "b"] * 10, "binary"),
        ([0.0, 1.0] * 10, "binary"),
        ([3, 7] * 10, "binary"),
        (["a", "b", "c"] * 10, "multiclass"),
        (list(range(10)) * 10, "multiclass"),
        ([float(i % 10) for i in range(100)] + [None], "multiclass"),
        ([0.5, 1.0, 1.5, 2.0] * 25, "regression"),
        (list(range(100)), "regression"),
        (list(range(15)), "regression"),
        ([i**2 for i in range(40)], "regression"),
    ],
)
def test_the_task_follows_from_the_target(cells: list[Any], task: str) -> None:
    assert judged(cells).task == task


def test_a_task_that_could_be_another_is_said() -> None:
    assert "`task: regression`" in judged(list(range(10)) * 10).assumptions[0]
    assert "`task: multiclass`" in judged([0.5, 1.0, 1.5] * 20).assumptions[0]


def test_a_stated_task_is_kept() -> None:
    assert judged(list(range(10)) * 10, task="regression").task == "regression"
    stars = judged([0.5, 1.0, 1.5, 1.0] * 20, task="multiclass")
    assert stars.task == "multiclass"
    assert stars.classes == ("0.5", "1.0", "1.5")


def test_classes_stand_in_the_order_of_the_native_labels() -> None:
    assert judged([10, 9, 2] * 20).classes == ("2", "9", "10")
    assert judged(["10", "9", "2"] * 20).classes == ("10", "2", "9")


@pytest.mark.parametrize(
    ("cells", "positive"),
    [
        ([True, False] * 10, "True"),
        ([0, 1] * 10, "1"),
        ([-1, 1] * 10, "1"),
        ([1, 1, 2] * 10, "2"),
        (["No", "Yes", "Yes"] * 10, "Yes"),
        (["good", "bad", "bad"] * 10, "bad"),
        (["benign", "malignant"] * 10, "malignant"),
        (["red", "blue", "blue"] * 10, "red"),
    ],
)
def test_the_positive_class_follows_from_its_name_or_is_the_rarer(
    cells: list[Any], positive: str
) -> None:
    assert judged(cells).positive == positive


@pytest.mark.parametrize(
    ("cells", "stated", "positive"),
    [
        (["a", "b"] * 10, "b", "b"),
        ([True, False] * 10, False, "False"),
        ([True, False] * 10, "no", "False"),
        ([0, 1] * 10, 0, "0"),
        ([0, 1] * 10, True, "1"),
        ([0.0, 1.0] * 10, 1.0, "1"),
    ],
)
def test_a_stated_positive_class_is_found(cells: list[Any], stated: Any, positive: str) -> None:
    assert judged(cells, positive=stated).positive == positive


@pytest.mark.parametrize(
    ("cells", "keys", "error", "said"),
    [
        ([None, None], {}, DataError, "no value in 2 rows"),
        ([float("nan"), float("inf")], {}, DataError, "no value"),
        (["a"] * 9, {}, DataError, "one value only, 'a'"),
        (["a"] * 9 + ["b"], {}, DataError, "1 class"),
        ([f"c{i}" for i in range(300)] * 2, {}, DataError, "300 classes; at most 100"),
        ([datetime(2024, 1, 1), datetime(2024, 1, 2)], {}, DataError, "is a time"),
        (["a", "b"] * 9, {"task": "regression"}, ConfigError, "needs numbers"),
        (["a", "b", "c"] * 9, {"task": "binary"}, ConfigError, "has 3: a, b, c"),
        (["yes", "no"] * 9, {"positive": "yess"}, ConfigError, "nearest: yes"),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(
    cells: list[Any], keys: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        judged(cells, **keys)
