"""Matrices are encoded a part at a time, whatever order the snapshot has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tasks.models.features.preprocessing import build_encoder
from tasks.models.run_context import FitRun
from tasks.models.validation import encoded_matrices
from tests.unit.models.factories import frame, snapshot, target


@pytest.mark.parametrize("count", [0, 240])
def test_rows_in_another_order_than_the_snapshots_are_read_in_its_order(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = frame()
    path, _, roles = snapshot(tmp_path, X, target(X, "binary"), "binary")
    encoder = build_encoder("native", roles, X, 0).fit(X)
    monkeypatch.setattr(encoded_matrices, "CHUNK_ROWS", 50)
    monkeypatch.setattr(encoded_matrices, "_REARRANGED_BYTES", 1_500)
    read: list[int] = []
    original = encoded_matrices.read_frame

    def reading(*given: Any, rows: np.ndarray, **named: Any) -> Any:
        read.extend(rows)
        return original(*given, rows=rows, **named)

    monkeypatch.setattr(encoded_matrices, "read_frame", reading)
    run = SimpleNamespace(snapshot_path=path, schema=roles)
    shuffled = np.random.default_rng(0).permutation(len(X))[:count]

    encoded_matrices._transform(cast(FitRun, run), encoder, shuffled, tmp_path / "out.npy")

    assert read == sorted(shuffled)
    expected = encoder.transform(original(path, list(roles.features))).astype("<f4")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected[shuffled])
