"""Mapped matrices: the same model as from memory, and no pages held meanwhile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.models.estimators.lightgbm_stopping import letting_go, rows_at


def mapped(folder: Path) -> tuple[Path, NDArray[Any]]:
    path = folder / "X.npy"
    np.save(path, np.random.default_rng(0).standard_normal((4_000, 5)).astype(np.float32))
    return path, np.load(path, mmap_mode="r")


def resident_kb(path: Path) -> int:
    """Return what this process holds of a mapped file."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(str(path)):
            return next(int(of.split()[1]) for of in lines if of.startswith("Rss:"))
    raise AssertionError(f"{path} is not mapped")


def test_rows_that_follow_one_another_are_not_copied(tmp_path: Path) -> None:
    _, X = mapped(tmp_path)
    first, spread = np.arange(3_000), np.array([0, 2, 3])
    assert np.shares_memory(rows_at(X, first), X)
    np.testing.assert_array_equal(rows_at(X, first), X[first])
    np.testing.assert_array_equal(rows_at(X, spread), X[spread])
    assert rows_at(X, first[:0]).shape == (0, 5)


def test_the_first_round_lets_go_of_the_pages(tmp_path: Path) -> None:
    path, X = mapped(tmp_path)
    total = float(X.sum())
    assert resident_kb(path) > 0
    let_go = letting_go(rows_at(X, np.arange(3_000)))
    let_go(SimpleNamespace(iteration=1, begin_iteration=0))
    assert resident_kb(path) > 0
    let_go(SimpleNamespace(iteration=0, begin_iteration=0))
    assert resident_kb(path) == 0
    assert float(X.sum()) == total


def test_a_model_of_a_mapped_matrix_is_that_of_one_in_memory(tmp_path: Path) -> None:
    from lightgbm import LGBMClassifier

    _, X = mapped(tmp_path)
    y = np.asarray(X[:, 0]) + np.asarray(X[:, 1]) > 0
    settings: dict[str, Any] = {"n_estimators": 5, "n_jobs": 1, "verbosity": -1}
    from_disk = LGBMClassifier(**settings).fit(X, y, callbacks=[letting_go(X)])
    in_memory = LGBMClassifier(**settings).fit(np.array(X), y)
    np.testing.assert_array_equal(from_disk.predict_proba(X), in_memory.predict_proba(np.array(X)))
