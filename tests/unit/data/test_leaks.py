"""Leaks and twins are said, honest features are not accused."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tasks.data.leaks import auc
from tests.unit.data.tables_made import people, schema_of


def said(columns: dict[str, Any], folder: Path, **keys: Any) -> str:
    _, schema = schema_of(columns, folder, **keys)
    return " | ".join(schema.assumptions)


def test_honest_features_are_not_accused(tmp_path: Path) -> None:
    assert said(people(2000), tmp_path) == ""


def leaky() -> list[tuple[str, Any]]:
    columns = people(2000)
    y = np.asarray(columns["y"])
    random = np.random.default_rng(1)
    return [
        ("copy", y.copy()),
        ("noisy", y + random.normal(size=2000) * 0.1),
        ("reversed", -1.0 * y),
        ("word", np.where(y, "late", "fine").tolist()),
        ("codes", [f"{'ab'[int(v)]}{i % 20}" for i, v in enumerate(y)]),
        ("missing", [1.5 + i % 3 if v else None for i, v in enumerate(y)]),
    ]


@pytest.mark.parametrize(("name", "cells"), leaky())
def test_a_feature_that_gives_the_target_away_is_named(
    tmp_path: Path, name: str, cells: Any
) -> None:
    text = said(people(2000) | {name: cells}, tmp_path)
    assert f"'{name}' looks like a leak" in text
    assert "`exclude`" in text


def test_a_leak_of_many_classes_and_of_amounts_is_named(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    label = random.integers(0, 4, 1000)
    x = random.normal(size=1000)
    text = said({"y": label, "name": [f"n{v}" for v in label], "x": x}, tmp_path)
    assert "'name' looks like a leak" in text
    assert "'x'" not in text
    amount = random.normal(size=1000)
    text = said({"y": amount, "double": 2 * amount + 1, "x": amount + x}, tmp_path)
    assert "'double' looks like a leak" in text
    assert "'x'" not in text


def test_a_moment_that_is_written_after_the_event_is_named(tmp_path: Path) -> None:
    columns = people(1000)
    day = timedelta(days=1)
    columns |= {
        "closed": [t + (k % 9) * day if k % 4 else None for k, t in enumerate(columns["at"])],
        "refunded": [(t + day).replace(tzinfo=UTC) for t in columns["at"]],
        "opened": [t - (k % 9) * day for k, t in enumerate(columns["at"])],
        "empty": [t + day if k < 5 else None for k, t in enumerate(columns["at"])],
    }

    text = said(columns, tmp_path / "a", time_column="at")

    assert "'closed' looks like a leak: it lies after the row's own time, 'at', in 89%" in text
    assert "'refunded' looks like a leak" in text
    assert "'opened'" not in text
    assert "'empty'" not in text
    assert said(columns, tmp_path / "b") == ""


def test_many_categories_alone_are_no_leak(tmp_path: Path) -> None:
    columns = people(1000) | {"many": [f"v{i % 400}" for i in range(1000)]}
    assert "many" not in said(columns, tmp_path)


def test_equal_columns_are_said(tmp_path: Path) -> None:
    columns = people(300)
    text = said(columns | {"again": columns["x"]}, tmp_path)
    assert "'again' equals 'x' in every row" in text


def test_the_auc_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 500)
    values = np.round(random.normal(size=500) + y, 1)
    assert auc(values, y) == pytest.approx(roc_auc_score(y, values))
    assert auc(-values, y) == pytest.approx(roc_auc_score(y, values))
    assert auc(np.zeros(500), y) == 0.5
