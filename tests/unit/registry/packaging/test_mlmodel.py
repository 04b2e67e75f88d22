from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from tasks.base.training_records import Schema
from tasks.registry.packaging.mlmodel import ServedColumns, mlmodel, served_columns, signature_of

SCHEMA = Schema(target="y", task="regression", features={"a b": "numeric", "ü": "boolean"})
SAMPLE = pd.DataFrame({"a b": [1, 2], "ü": pd.Series([None, None], dtype=object)})


def test_the_signature_states_columns_and_leaves_their_types_to_the_model() -> None:
    signature = signature_of(np.array([1.0]), served_columns(SAMPLE, SCHEMA))

    assert json.loads(signature["inputs"]) == [
        {"type": "any", "name": "a b", "required": True},
        {"type": "any", "name": "ü", "required": True},
    ]
    assert json.loads(signature["params"])[0]["default"] == "predict"


@pytest.mark.parametrize(
    ("predictions", "kind"),
    [(np.array([True]), "boolean"), (np.array([1]), "long"), (np.array(["a"]), "string")],
)
def test_the_output_has_the_labels_own_type(predictions: np.ndarray, kind: str) -> None:
    outputs = signature_of(predictions, served_columns(SAMPLE, SCHEMA))["outputs"]
    assert json.loads(outputs)[0]["type"] == kind


def test_what_is_stored_of_the_columns_reads_back_as_it_was() -> None:
    columns = served_columns(SAMPLE, SCHEMA)

    assert ServedColumns.model_validate_json(columns.model_dump_json()) == columns
    assert [form.storage for form in columns.columns.values()] == ["number", None]


def test_the_file_never_asks_for_pickle_or_code() -> None:
    text = mlmodel(
        model_id="m-1", run_id="r", location="file:///x", size=1, types=["a.B"], signature={},
        columns=served_columns(SAMPLE, SCHEMA),
    )  # fmt: skip
    described = json.loads(text)
    flavors = described["flavors"]
    assert flavors["sklearn"]["serialization_format"] == "skops"
    assert flavors["sklearn"]["skops_trusted_types"] == ["a.B"]
    assert flavors["python_function"]["loader_module"] == "tasks.registry.mlflow.serving"
    assert not flavors["python_function"].get("code")
    assert described["metadata"]["keepfit"]["columns"] == {"a b": "numeric", "ü": "boolean"}
