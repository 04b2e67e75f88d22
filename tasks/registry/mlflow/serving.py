"""A registered version as `mlflow models serve` and `mlflow.pyfunc` run it.

The file `MLmodel` of every version names this module as its loader, so it must stay importable
by this name. MLflow's types can neither hold a null among booleans or whole numbers, nor a time
with an offset: where a signature states them, its server casts before the model predicts (null
becomes false, 2.99 becomes 2) or refuses. So the signature states that a column is there and no
type, and cells are typed here, by the code that types them for ``keepfit score``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.types.schema import AnyType, DataType, Schema
from numpy.typing import NDArray

from tasks.base.errors import DataError, KeepfitError
from tasks.base.runtime.libraries import pd
from tasks.data.sources.frames import typed_frame
from tasks.models.persistence.prediction import in_order, predict
from tasks.models.persistence.skops_io import load_model
from tasks.registry.packaging.mlmodel import COLUMNS_FILE, METHOD, METHODS, ServedColumns
from tasks.registry.signing.version_check import MODEL_FILE


class ServedModel:
    """A pipeline that accepts rows, with its features' `columns` as at the training."""

    def __init__(self, pipeline: Any, columns: ServedColumns) -> None:
        self._pipeline = pipeline
        self._columns = columns

    def get_raw_model(self) -> Any:
        """Return the pipeline, as MLflow's own wrappers do."""
        return self._pipeline

    def predict(
        self, data: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> NDArray[Any] | pd.DataFrame:
        """Return the predictions of the rows in `data`; MlflowException (400) if they don't fit."""
        # The parameter `predict_method` is `predict` for labels or values of shape (n_rows,), or
        # `predict_proba` for one column `probability_<class>` a class.
        method = str((params or {}).get(METHOD, METHODS[0]))
        try:
            self._require_method(method)
            X = typed_frame(_spread(data), self._columns.columns, self._columns.padded)
            predicted, shares = predict(self._pipeline, X)
        except KeepfitError as error:
            text = f"{error.message} {error.remedy or ''}".strip()
            raise MlflowException.invalid_parameter_value(text) from None
        except (ValueError, TypeError) as error:
            text = f"The model cannot take these rows: {str(error)[:300]}"
            raise MlflowException.invalid_parameter_value(text) from None
        if method == METHODS[0] or shares is None:
            return predicted
        classes = self._columns.classes
        shares = in_order(shares, self._pipeline[-1].classes_, classes)
        return pd.DataFrame(shares, columns=[f"probability_{name}" for name in classes])

    def _require_method(self, method: str) -> None:
        offered = self._columns.methods
        if method in offered:
            return
        task = self._columns.task
        known = METHODS if method not in METHODS else offered
        why = f"a {task} model has no probabilities" if method in METHODS else "there is no such"
        raise DataError(
            f"{METHOD} is {method!r}: {why}.", f"Allowed: {', '.join(map(repr, known))}."
        )


def _load_pyfunc(path: str) -> ServedModel:
    """Return the model in a folder; MLflow calls it by this name."""
    # A type that is not on keepfit's list raises ModelRefusedError before anything is imported.
    _let_csv_through()
    folder = Path(path)
    columns = ServedColumns.model_validate(json.loads((folder / COLUMNS_FILE).read_bytes()))
    return ServedModel(load_model(folder / MODEL_FILE), columns)


def _spread(data: pd.DataFrame) -> pd.DataFrame:
    """Return one row of lists as the rows that they are."""
    # MLflow accepts `{"inputs": {"a": ["x", "y"]}}`, all columns lists of text, for one row.
    cells = data.iloc[0].tolist() if len(data) == 1 else []
    if cells and all(isinstance(cell, list) for cell in cells) and len({*map(len, cells)}) == 1:
        return pd.DataFrame(dict(zip(data.columns, cells, strict=True)))
    return data


def _let_csv_through() -> None:
    """Let MLflow's server read the columns of a CSV request as text where no type is stated."""
    # It has no pandas type for MLflow's `any`, and refuses every CSV request to such a model.
    if getattr(Schema.pandas_types, "of_keepfit", False):
        return
    original = Schema.pandas_types

    def pandas_types(schema: Schema) -> list[np.dtype[Any]]:
        if not any(isinstance(kind, AnyType) for kind in schema.input_types()):
            return list(original(schema))
        text = np.dtype(object)
        return [k.to_pandas() if isinstance(k, DataType) else text for k in schema.input_types()]

    pandas_types.__dict__["of_keepfit"] = True
    setattr(Schema, "pandas_types", pandas_types)  # noqa: B010 - mypy forbids it otherwise
