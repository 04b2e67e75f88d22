from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.base.errors import ModelRefusedError
from tasks.registry.gate.reproduction import require_reproduced
from tests.unit.registry.version_files.test_holdouts import basis_of, candidate


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the loaded model says of the rows it is asked for."""
    given: dict[str, Any] = {}

    def predict_rows(model: Path, path: str, columns: object, rows: Any, *_: object) -> Any:
        probability = np.full((len(rows), 3), (1 - given["first"]) / 2)
        probability[:, 0] = given["first"]
        return np.full(len(rows), given["label"]), probability

    monkeypatch.setattr("tasks.registry.gate.reproduction.predict_rows", predict_rows)
    return given


@pytest.mark.parametrize(
    ("first", "label", "same"),
    [
        (0.4, "no", True),
        (0.4 + 1e-7, "no", True),  # one precision's rounding
        (0.41, "no", False),
        (0.4, "yes", False),
    ],
)
def test_a_loaded_model_must_give_the_predictions_that_the_gate_read(
    first: float, label: str, same: bool, said: dict[str, Any], tmp_path: Path
) -> None:
    basis = basis_of(tmp_path)
    judged = candidate(basis, tmp_path / "candidates", first_class=0.4)
    said |= {"first": first, "label": label}
    if same:
        require_reproduced(basis, judged, Path(judged.model_path), "lightgbm")
        return
    with pytest.raises(ModelRefusedError, match="lightgbm, loaded back, does not predict"):
        require_reproduced(basis, judged, Path(judged.model_path), "lightgbm")
