"""The file `MLmodel`, by which MLflow serves a pipeline and draws its page.

Written as JSON, which is YAML: nothing is guessed, nothing is executed to find it out. keepfit
itself never reads it back.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.registry.packaging import EXAMPLE_FILE, MODEL_FILE, SERVING_FILE


def mlmodel(
    *,
    model_id: str,
    run_id: str,
    location: str,
    size: int,
    types: Iterable[str],
    signature: Mapping[str, str | None],
) -> str:
    """Return the text of `MLmodel` for a skops file beside it.

    Parameters
    ----------
    location
        Address of the folder in the artifact store.
    size
        Bytes of the model.
    types
        Types in the skops file that skops does not trust by itself, all on keepfit's list.
    """
    described = {
        "artifact_path": location,
        "flavors": {
            "python_function": {
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": "mlflow.sklearn",
                "model_path": MODEL_FILE,
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


def signature_of(
    sample: pd.DataFrame, predictions: NDArray[Any], target: str
) -> dict[str, str | None]:
    """Return the signature of a pipeline; a column is optional where `sample` has a null.

    Examples
    --------
    >>> signature_of(pd.DataFrame({"a": [1.0]}), np.array(["yes"]), "late")["outputs"]
    '[{"type": "string", "name": "late", "required": true}]'
    """
    inputs = [
        _column(column_type(values), str(name), required=not bool(values.isna().any()))
        for name, values in sample.items()
    ]
    outputs = [_column(column_type(pd.Series(predictions)), target, required=True)]
    return {
        "inputs": json.dumps(inputs, ensure_ascii=False),
        "outputs": json.dumps(outputs, ensure_ascii=False),
        "params": None,
    }


def _column(kind: str, name: str, *, required: bool) -> dict[str, Any]:
    return {"type": kind, "name": name, "required": required}


def column_type(series: pd.Series[Any]) -> str:
    """Return the name of MLflow's column type for `series`.

    Integers are ``long`` where there is no null and ``double`` (pandas' float) where there is.

    Examples
    --------
    >>> [column_type(pd.Series(v)) for v in ([1], [1.0, None], ["a"], [True], [True, None])]
    ['long', 'double', 'string', 'boolean', 'boolean']
    """
    dtype = series.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_integer_dtype(dtype):
        return "long"
    if pd.api.types.is_float_dtype(dtype):
        return "double"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "datetime"
    return "boolean" if _only_booleans(series) else "string"


def _only_booleans(series: pd.Series[Any]) -> bool:
    if not pd.api.types.is_object_dtype(series.dtype):
        return False
    present = series.dropna()
    return len(present) > 0 and all(isinstance(value, bool | np.bool_) for value in present)
