"""Leaks and twins are said, honest features are not accused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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


def loans(paid: Any) -> dict[str, Any]:
    """Return people whose newest tenth has no label yet; the label comes with `paid`."""
    columns = people(2000)
    y = [bool(v) if row < 1800 else None for row, v in enumerate(np.asarray(columns["y"]))]
    days = [datetime(2024, 1, 1) + timedelta(hours=row) for row in range(2000)]
    return columns | {
        "y": y,
        "at": days,
        "paid": [paid(r) if r < 1800 else None for r in range(2000)],
    }


@pytest.mark.parametrize("later", [None, 0.0])
def test_a_column_that_is_filled_in_with_the_label_is_named(
    tmp_path: Path, later: float | None
) -> None:
    # Filled in one labelled row of ten: alone it predicts next to nothing.
    columns = loans(lambda row: 50.0 + row % 7 if row % 10 == 0 else later)
    columns["paid"] = [later if v is None else v for v in columns["paid"]]
    text = said(columns, tmp_path, time_column="at")
    assert "'paid' looks like a leak" in text
    assert "in every row without a label and filled in 10.0% of the labelled ones" in text


def test_a_column_that_ended_before_the_labels_did_is_not_accused(tmp_path: Path) -> None:
    columns = loans(lambda row: 50.0 + row % 7 if row < 1500 else None)
    assert "leak" not in said(columns, tmp_path, time_column="at")


def test_a_rare_value_that_few_unlabelled_rows_may_lack_is_not_accused(tmp_path: Path) -> None:
    columns = loans(lambda row: 1.0 if row % 50 == 0 else 0.0)
    columns["paid"] = [v or 0.0 for v in columns["paid"]]
    assert "leak" not in said(columns, tmp_path, time_column="at")
