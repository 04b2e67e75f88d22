"""A challenger that is better overall and worse on a slice is found out; chance is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.base.config import PipelineConfig
from tasks.base.training_records import Basis, ContractResult, Prepared, Schema, Split
from tasks.data.snapshots import write_snapshot
from tasks.metrics.paired_bootstrap import Predictions
from tasks.registry.gate.slice_guard import worse_slices

ROWS = 3000


def config(*slices: str) -> PipelineConfig:
    return PipelineConfig.model_validate(
        {
            "name": "a",
            "target": "y",
            "source": {"kind": "csv", "path": "x"},
            "gate": {"slices": list(slices)},
        }
    )


@pytest.fixture(name="basis")
def basis_of(tmp_path: Path) -> Basis:
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "y": rng.normal(size=ROWS),
            "region": rng.choice(["n", "s", "tiny"], ROWS, p=[0.5, 0.48, 0.02]),
        }
    )
    snapshot = write_snapshot(
        table, {"y": "numeric", "region": "categorical"}, tmp_path, time_column=None, assumptions=()
    )
    roles = Schema(target="y", task="regression", features={"region": "categorical"})
    split = Split(
        train_path="", holdout_path="", rule="hash", holdout=0.2, n_train=0, n_holdout=ROWS
    )
    return Basis(
        snapshot=snapshot,
        contract=ContractResult(
            passed=True, contract_digest="", data_digest="", rows=ROWS, rules=()
        ),
        prepared=Prepared(roles=roles, split=split, metric="rmse", key="", folder="", refit=False),
    )


def judged(basis: Basis, on_south: float, *slices: str) -> list[str]:
    from tasks.data.snapshots import read_frame

    frame = read_frame(basis.snapshot.path)
    y = frame["y"].to_numpy()
    rng = np.random.default_rng(1)
    champion = y + rng.normal(0, 1.0, ROWS)
    error = np.where(frame["region"] == "s", on_south, 0.5)
    challenger = y + rng.normal(0, 1.0, ROWS) * error
    baseline = np.zeros(ROWS)
    models = (Predictions(challenger), Predictions(champion), Predictions(baseline))
    return worse_slices(config(*slices), basis, y, models, None, np.arange(ROWS))


def test_a_slice_that_loses_is_named_with_its_numbers(basis: Basis) -> None:
    found = judged(basis, 1.5, "region")

    assert len(found) == 1
    assert found[0].startswith("worse where region = s: -0.")


def test_slices_that_do_not_lose_refuse_nothing(basis: Basis) -> None:
    assert judged(basis, 0.9, "region") == []


def test_without_slices_nothing_is_looked_at(basis: Basis) -> None:
    assert judged(basis, 9.0) == []
