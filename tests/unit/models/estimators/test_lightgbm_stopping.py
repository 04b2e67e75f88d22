"""Mapped matrices: the same model as from memory, without a copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.base.runtime import mapped_files
from tasks.models.estimators.lightgbm_stopping import rows_at


def mapped(folder: Path) -> tuple[Path, NDArray[Any]]:
    path = folder / "X.npy"
    np.save(path, np.random.default_rng(0).standard_normal((4_000, 5)).astype(np.float32))
    return path, np.load(path, mmap_mode="r")


def test_rows_that_follow_one_another_are_not_copied(tmp_path: Path) -> None:
    _, X = mapped(tmp_path)
    first, spread = np.arange(3_000), np.array([0, 2, 3])
    assert np.shares_memory(rows_at(X, first), X)
    np.testing.assert_array_equal(rows_at(X, first), X[first])
    np.testing.assert_array_equal(rows_at(X, spread), X[spread])
    assert rows_at(X, first[:0]).shape == (0, 5)


def test_a_model_of_a_mapped_matrix_is_that_of_one_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightgbm import LGBMClassifier

    _, X = mapped(tmp_path)
    y = np.asarray(X[:, 0]) + np.asarray(X[:, 1]) > 0
    settings: dict[str, Any] = {"n_estimators": 5, "n_jobs": 1, "verbosity": -1}
    monkeypatch.setattr(mapped_files, "_LARGE_BYTES", 0)
    monkeypatch.setattr(mapped_files, "_SECONDS", 0.001)
    with mapped_files.pages_let_go(X):
        from_disk = LGBMClassifier(**settings).fit(X, y)
    in_memory = LGBMClassifier(**settings).fit(np.array(X), y)
    np.testing.assert_array_equal(from_disk.predict_proba(X), in_memory.predict_proba(np.array(X)))
