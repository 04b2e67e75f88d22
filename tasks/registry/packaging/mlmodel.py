"""The file `MLmodel`, by which MLflow serves a pipeline; JSON, which keepfit never reads back."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Record, Schema, Task
from tasks.data.sources.frames import forms_of_frame, padded_codes
from tasks.data.typing.storage import ColumnForm
from tasks.registry.packaging.model_folder import EXAMPLE_FILE, SERVING_FILE
from tasks.registry.signing.version_check import MODEL_FILE

LOADER = "tasks.registry.mlflow.serving"  # stored with every version: stays importable
COLUMNS_FILE = "columns.json"
METHOD = "predict_method"
METHODS = ("predict", "predict_proba")


class ServedColumns(Record):
    """Input and output of a served model, stored beside it."""

    target: str
    task: Task
    columns: dict[str, ColumnForm]  # feature to its storage at the training, in model order
    classes: tuple[str, ...] = ()
    padded: dict[str, str] = Field({})  # feature to a code of it with leading zeros

    @property
    def methods(self) -> tuple[str, ...]:
        """Allowed values of ``predict_method``."""
        return METHODS if self.classes else METHODS[:1]


def served_columns(sample: pd.DataFrame, schema: Schema) -> ServedColumns:
    """Return the input of a model that was trained on rows like those of `sample`."""
    kinds = {str(name): schema.features[str(name)] for name in sample.columns}
    return ServedColumns(
        target=schema.target,
        task=schema.task,
        columns=forms_of_frame(sample, kinds),
        classes=schema.classes,
        padded=padded_codes(sample, kinds),
    )


def mlmodel(
    *,
    model_id: str,
    run_id: str,
    location: str,
    size: int,
    types: Iterable[str],
    signature: Mapping[str, str],
    columns: ServedColumns,
) -> str:
    """Return the text of `MLmodel` for a skops file of `size` bytes beside it."""
    # `types` of the file that skops does not trust by itself are all on keepfit's list; `columns`
    # are for readers of the model's metadata: the signature states no types.
    described = {
        "artifact_path": location,
        "flavors": {
            "python_function": {
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": LOADER,
                "predict_fn": "predict",
                "python_version": platform.python_version(),
            },
            "sklearn": {
                "code": None,
                "pickled_model": MODEL_FILE,
                "serialization_format": "skops",
                "sklearn_version": metadata.version("scikit-learn"),
                "skops_trusted_types": list(types),
            },
        },
        "is_signature_from_type_hint": False,
        "metadata": {
            "keepfit": {
                "columns": {name: form.kind for name, form in columns.columns.items()},
                "classes": list(columns.classes),
                METHOD: list(columns.methods),
            }
        },
        "mlflow_version": metadata.version("mlflow"),
        "model_id": model_id,
        "model_size_bytes": size,
        "model_uuid": model_id,
        "run_id": run_id,
        "saved_input_example_info": {
            "artifact_path": EXAMPLE_FILE,
            "pandas_orient": "split",
            "serving_input_path": SERVING_FILE,
            "type": "dataframe",
        },
        "signature": dict(signature),
        "type_hint_from_example": False,
        "utc_time_created": datetime.now(UTC).replace(tzinfo=None).isoformat(" "),
    }
    return json.dumps(described, indent=1, ensure_ascii=False)


def signature_of(predictions: NDArray[Any], columns: ServedColumns) -> dict[str, str]:
    """Return the signature of a pipeline.

    Every column must be there, as in ``keepfit score``, with any value of its kind: MLflow's
    types would let its server cast cells before the model sees them, see
    `tasks.registry.mlflow.serving`.

    >>> import numpy as np
    >>> columns = ServedColumns(target="late", task="binary", columns={"a": ColumnForm("numeric")})
    >>> signature_of(np.array(["yes"]), columns)["inputs"]
    '[{"type": "any", "name": "a", "required": true}]'
    """
    inputs = [_column("any", name) for name in columns.columns]
    outputs = [_column(column_type(pd.Series(predictions)), columns.target)]
    method = {"name": METHOD, "type": "string", "default": METHODS[0], "shape": None}
    return {
        "inputs": json.dumps(inputs, ensure_ascii=False),
        "outputs": json.dumps(outputs, ensure_ascii=False),
        "params": json.dumps([method]),
    }


def _column(kind: str, name: str) -> dict[str, Any]:
    return {"type": kind, "name": name, "required": True}


def column_type(labels: pd.Series[Any]) -> str:
    """Return the name of MLflow's type for what a model predicts.

    >>> [column_type(pd.Series(v)) for v in ([1], [1.5], ["a"], [True])]
    ['long', 'double', 'string', 'boolean']
    """
    dtype = labels.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_integer_dtype(dtype):
        return "long"
    return "double" if pd.api.types.is_float_dtype(dtype) else "string"
