from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.base.errors import ModelRefusedError
from tasks.registry.packaging.model_folder import (
    example_json,
    fill_folder,
    requirements,
)
from tasks.registry.signing.version_check import MODEL_FILE, confined


def test_requirements_name_what_is_installed() -> None:
    plain = requirements(["sklearn.pipeline.Pipeline"])
    assert f"scikit-learn=={metadata.version('scikit-learn')}" in plain
    assert not any(line.startswith("lightgbm") for line in plain)
    boosted = requirements(["lightgbm.sklearn.LGBMClassifier"])
    assert f"lightgbm=={metadata.version('lightgbm')}" in boosted


def test_the_example_is_strict_json_whatever_the_values() -> None:
    frame = pd.DataFrame(
        {
            "infinite": [np.inf, -np.inf, np.nan, 1.5],
            "whole": np.array([2**62, -1, 0, 1]),
            "text": ["</script>", None, "ü", "=1+1"],
            "flag": [True, False, True, True],
            "perhaps": pd.Series([True, None, False, None], dtype=object),
            "moment": pd.Series([pd.Timestamp("2020-01-01", tz="UTC"), pd.NaT, pd.NaT, pd.NaT]),
        }
    )
    values = json.loads(example_json(frame), parse_constant=pytest.fail)
    assert values["columns"] == list(frame.columns)
    assert values["data"][0] == [None, 2**62, "</script>", True, True, "2020-01-01T00:00:00"]
    assert values["data"][1] == [None, -1, None, False, None, None]


def test_an_example_of_no_rows_is_empty() -> None:
    assert example_json(pd.DataFrame({"a": []})) == '{"columns":["a"],"data":[]}'


def test_the_folder_holds_the_model_itself(tmp_path: Path) -> None:
    (tmp_path / "m.skops").write_bytes(b"model")
    fill_folder(tmp_path / "folder", tmp_path / "m.skops", pd.DataFrame({"a": [1]}), [])
    assert (tmp_path / "folder" / MODEL_FILE).read_bytes() == b"model"
    serving = json.loads((tmp_path / "folder" / "serving_input_example.json").read_text())
    assert serving == {"dataframe_split": {"columns": ["a"], "data": [[1]]}}


def test_a_model_must_lie_in_its_own_folder(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "m"
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(b"x")
    assert confined(folder, root=tmp_path / "store") == folder / MODEL_FILE
    with pytest.raises(ModelRefusedError, match="leads elsewhere"):
        confined(folder / ".." / "m", root=tmp_path / "store")
    with pytest.raises(ModelRefusedError, match="leads elsewhere") as moved:
        confined(folder, root=tmp_path / "another")
    assert "keepfit restore" in moved.value.remedy
    with pytest.raises(ModelRefusedError, match="leads elsewhere"):
        confined(folder, name="../../m.skops")
