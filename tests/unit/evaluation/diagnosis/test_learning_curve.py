"""The models of a learning curve decide as the candidate does, and keep groups apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.base.training_records import Basis, CandidateResult, ContractResult, Prepared, Snapshot
from tasks.data.snapshots import read_frame
from tasks.evaluation.diagnosis import learning_curve as curves
from tasks.evaluation.diagnosis.learning_curve import learning_curve
from tasks.evaluation.findings import LearningCurve
from tasks.models.postprocessing.adjustment import Adjustment
from tasks.models.postprocessing.decision_thresholds import Decision
from tests.unit.models.factories import snapshot, training


def curve(
    folder: Path, X: pd.DataFrame, y: np.ndarray, group: str | None = None, seconds: float = 60.0
) -> LearningCurve:
    """Return the curve of a decision tree in recall, or in the error of a number."""
    task = "binary" if y.dtype.kind == "U" else "regression"
    path, split, roles = snapshot(folder, X, y, task, kinds={"a": "numeric"}, holdout=20)  # type: ignore[arg-type]
    metric = "recall" if task == "binary" else "rmse"
    prepared = Prepared(
        roles=roles, split=split.model_copy(update={"group": group}), metric=metric, key="k",
        folder="", refit=False,
    )  # fmt: skip
    basis = Basis(
        snapshot=Snapshot(path=path, digest="d", rows=len(y), kinds={}),
        contract=ContractResult(passed=True, contract_digest="", data_digest="", rows=0, rules=()),
        prepared=prepared,
    )
    model = folder / "decision_tree" / "model.skops"
    result = CandidateResult(candidate="decision_tree", status="ok", model_path=str(model))
    found = learning_curve(basis, result, training("decision_tree"), None, seconds)
    assert found is not None
    return found


def test_a_threshold_that_was_chosen_decides_on_the_curve_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=520)})
    y = np.where(X["a"] + 2 * rng.normal(size=520) > 1.5, "yes", "no")
    plain = curve(tmp_path, X, y)
    Adjustment(decision=Decision(0.0, "yes")).save(tmp_path / "decision_tree")
    adjusted = curve(tmp_path, X, y)
    assert max(point.valid for point in plain.points) < 0.9
    assert {point.valid for point in adjusted.points} == {1.0}


def test_groups_validate_apart_from_the_rows_that_are_fitted(tmp_path: Path) -> None:
    who = np.repeat(np.arange(130), 4)
    X = pd.DataFrame({"a": who / 7, "who": who})
    y = np.random.default_rng(0).normal(size=130)[who]
    by_row = curve(tmp_path / "rows", X, y).points[-1].valid
    by_group = curve(tmp_path / "groups", X, y, "who").points[-1].valid
    assert by_row < 0.6
    assert by_group == pytest.approx(1.1, abs=0.4)


def test_rows_that_no_fit_had_time_for_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def counted(path: str, columns: list[str], rows: np.ndarray) -> pd.DataFrame:
        read.append((columns, len(rows)))
        return read_frame(path, columns, rows)

    monkeypatch.setattr(curves, "read_frame", counted)
    X = pd.DataFrame({"a": np.arange(2_000.0)})
    found = curve(tmp_path, X, X["a"].to_numpy(), seconds=0.0)
    assert len(found.points) == 2
    fitted = [rows for columns, rows in read if columns == ["a"]]
    assert max(fitted) <= max(found.points[-1].rows, 400)
