"""A diagnosis of models that were really fitted, in the worker process as in a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.base.settings.evaluation import ReportConfig
from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import Basis, ContractResult, Kind, Prepared, Schema, Split
from tasks.data.snapshots import write_snapshot
from tasks.evaluation.findings import Diagnosis
from tasks.evaluation.leaderboard import assess
from tasks.models.fitting import fit_candidates
from tasks.reporting.diagnosis import diagnose

pytestmark = pytest.mark.slow

KINDS: dict[str, Kind] = {
    "id": "identifier", "a": "numeric", "b": "numeric", "city": "categorical", "sex": "categorical",
    "y": "numeric",
}  # fmt: skip


def _linear(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": [f"r{k}" for k in range(rows)],
            "a": rng.standard_normal(rows),
            "b": rng.standard_normal(rows),
            "city": rng.choice(["Bern", "Chur"], rows),
            "sex": rng.choice(["f", "m"], rows),
        }
    )
    frame["y"] = 3 * frame["a"] - frame["b"] + rng.standard_normal(rows)
    return frame


def _diagnosed(
    tmp_path: Path, frame: pd.DataFrame, candidates: list[str], report: dict[str, Any], **how: Any
) -> Diagnosis:
    rows = len(frame)
    order = np.random.default_rng(1).permutation(rows)
    train, holdout = np.sort(order[: rows * 7 // 10]), np.sort(order[rows * 7 // 10 :])
    np.save(tmp_path / "train.npy", train)
    np.save(tmp_path / "holdout.npy", holdout)
    binary = frame["y"].dtype.kind not in "if"
    kinds = {**KINDS, "y": "categorical" if binary else "numeric"}
    table = pa.Table.from_pandas(frame, preserve_index=False)
    snapshot = write_snapshot(table, kinds, tmp_path, time_column=None, assumptions=())
    schema = Schema(
        target="y",
        task="binary" if binary else "regression",
        features={c: KINDS[c] for c in ("a", "b", "city")},
        classes=("no", "yes") if binary else (),
        positive="yes" if binary else None,
        id_columns=("id",),
    )
    split = Split(
        train_path=str(tmp_path / "train.npy"),
        holdout_path=str(tmp_path / "holdout.npy"),
        rule="hash",
        holdout=0.3,
        n_train=len(train),
        n_holdout=len(holdout),
    )
    metric = "roc_auc" if binary else "rmse"
    training = TrainingConfig.model_validate(
        {"candidates": candidates, "cv": 2, "budget": "300s", "threads": 1, **how}
    )
    results = fit_candidates(snapshot.path, split, schema, training, metric, tmp_path / "fits")
    prepared = Prepared(
        roles=schema, split=split, metric=metric, key="k" * 16, folder="", refit=False
    )
    contract = ContractResult(
        passed=True, contract_digest="c", data_digest="d", rows=rows, rules=()
    )
    basis = Basis(snapshot=snapshot, contract=contract, prepared=prepared)
    assessment = assess(results, basis, 0)
    about = (basis, results, assessment, training, ReportConfig.model_validate(report))
    return diagnose(*about, tmp_path / "figures")


def test_linear_data_is_told_to_have_rows_enough_and_its_parts_are_there(tmp_path: Path) -> None:
    found = _diagnosed(
        tmp_path,
        _linear(3000),
        ["logistic_regression", "decision_tree"],
        {"ids": True, "by": ["city"], "sensitive": ["sex"]},
        diagnosis="full",
    )
    linear = found.of("logistic_regression")
    assert linear is not None
    assert linear.fit == "good"
    assert linear.train == pytest.approx(1.0, abs=0.05)
    assert found.learning is not None
    assert [p.rows for p in found.learning.points] == [100, 500, 1000, 1680]
    assert found.learning.sentence.startswith("More data brings little")
    assert [p.name for p in found.pictures][:3] == ["fit", "learning_curve", "time_and_score"]
    assert found.slices == ()
    assert found.worst[0].row.startswith("r")
    assert [by.column for by in found.by] == ["city", "sex"]
    assert "No difference" in found.groups[0].sentence
    assert 3 <= len(found.lines) <= 8
    subject, advice = found.lines[-1]
    assert (subject, advice[:22]) == ("try next", "Search hyperparameters")
    assert found.trials == {}


def test_copies_a_weak_slice_and_a_column_that_is_not_there_are_told(tmp_path: Path) -> None:
    frame = _linear(3000)
    flipped = (frame["city"] == "Chur") & (np.random.default_rng(5).random(3000) < 0.4)
    frame["y"] = np.where((frame["y"] > 0) ^ flipped, "yes", "no")
    frame = pd.concat([frame, frame[:300]], ignore_index=True)
    found = _diagnosed(tmp_path, frame, ["logistic_regression"], {"by": ["nowhere"]})
    assert "Chur" in found.slices[0].where
    assert found.learning is None
    assert any("equal a training row" in s.sentence for s in found.suspicions)
    assert "not among the columns" in found.by[0].sentence
    assert {w.row for w in found.worst} == {""}
