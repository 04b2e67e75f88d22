from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from tasks.registry.mlmodel import column_type, mlmodel, signature_of


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pd.Series([1, 2], dtype="int8"), "long"),
        (pd.Series([1.0, None], dtype="float32"), "double"),
        (pd.Series(["2020-01-01"], dtype="datetime64[us]"), "datetime"),
        (pd.Series(pd.to_datetime(["2020-01-01"], utc=True)), "datetime"),
        (pd.Series([np.True_, None], dtype=object), "boolean"),
        (pd.Series([None, None], dtype=object), "string"),
        (pd.Series([True, "x"], dtype=object), "string"),
        (pd.Series([], dtype="float64"), "double"),
    ],
)
def test_column_types_follow_the_stored_type(values: pd.Series, kind: str) -> None:
    assert column_type(values) == kind


def test_a_column_is_optional_where_nulls_were_seen() -> None:
    sample = pd.DataFrame({"a b": [1.0, None], "ü": [1, 2]})
    inputs = json.loads(str(signature_of(sample, np.array([1.0]), "y")["inputs"]))
    assert inputs == [
        {"type": "double", "name": "a b", "required": False},
        {"type": "long", "name": "ü", "required": True},
    ]


@pytest.mark.parametrize(
    ("predictions", "kind"),
    [(np.array([True]), "boolean"), (np.array([1]), "long"), (np.array(["a"]), "string")],
)
def test_the_output_has_the_labels_own_type(predictions: np.ndarray, kind: str) -> None:
    outputs = signature_of(pd.DataFrame({"a": [1]}), predictions, "y")["outputs"]
    assert json.loads(str(outputs))[0]["type"] == kind


def test_the_file_never_asks_for_pickle_or_code() -> None:
    text = mlmodel(
        model_id="m-1", run_id="r", location="file:///x", size=1, types=["a.B"],
        signature={"inputs": None, "outputs": None, "params": None},
    )  # fmt: skip
    flavors = json.loads(text)["flavors"]
    assert flavors["sklearn"]["serialization_format"] == "skops"
    assert flavors["sklearn"]["skops_trusted_types"] == ["a.B"]
    assert flavors["python_function"]["loader_module"] == "mlflow.sklearn"
    assert not flavors["python_function"].get("code")
