"""A model file as MLflow serves it, beside what `keepfit score` makes of the same rows."""

from __future__ import annotations

import json
import math
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from tasks.base.training_records import ModelVersion, Schema
from tasks.models.persistence.prediction import predict
from tasks.models.persistence.skops_io import load_model, types_of
from tasks.registry.packaging import model_folder
from tasks.registry.packaging.mlmodel import COLUMNS_FILE, mlmodel, served_columns, signature_of
from tasks.scoring.predictions import score_frame

PROBABILITIES = {"params": {"predict_method": "predict_proba"}}


def served_model(folder: Path, file: Path, X: pd.DataFrame, schema: Schema) -> Any:
    """Return what MLflow's loader makes of a skops file, registered after rows like `X`."""
    with warnings.catch_warnings():
        # Of MLflow's own types, as it is imported.
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)
        import mlflow.pyfunc

    types = types_of(file)
    model_folder.fill_folder(folder, file, X, types)
    columns = served_columns(X, schema)
    predicted: NDArray[Any] = predict(load_model(file), X)[0]
    text = mlmodel(
        model_id="m-1", run_id="r", location=folder.as_uri(), size=1, types=types,
        signature=signature_of(predicted, columns), columns=columns,
    )  # fmt: skip
    (folder / "MLmodel").write_text(text, encoding="utf-8")
    (folder / COLUMNS_FILE).write_text(columns.model_dump_json(), encoding="utf-8")
    return mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)


def answer(model: Any, body: object, kind: str = "application/json") -> Any:
    """Return the predictions in the answer of MLflow's scoring server, or why it refuses."""
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc.scoring_server import invocations

    text = body if isinstance(body, str | bytes) else json.dumps(body)
    try:
        # What the server's route does with a request.
        found = invocations(text, kind, model, model.metadata.get_input_schema())
    except MlflowException as error:
        return error.message if error.get_http_status_code() == 400 else error
    return json.loads(found.response)["predictions"]


def differences(folder: Path, file: str, rows: pd.DataFrame, schema: Schema) -> list[Any]:
    """Return where a served model answers otherwise than `keepfit score`, by label or probability.

    Parameters
    ----------
    file
        A trained model.
    rows
        Of which the features are sent, and all are scored.
    """
    X = rows[list(schema.features)]
    model = served_model(folder, Path(file), X, schema)
    scored, _ = score_frame(
        rows.reset_index(drop=True), schema, load_model(file),
        version=ModelVersion(name="s", version="1", run_id="r", created=datetime.now(UTC)),
        run_id="r", batch="b",
    )  # fmt: skip
    cells = {name: [_cell(value) for value in X[name].tolist()] for name in X}
    records = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    found = []
    for body in ({"dataframe_records": records}, {"inputs": cells}):
        asked = answer(model, body)
        found += [(s, a) for s, a in zip(scored["prediction"], asked, strict=True) if s != a]
        if not schema.classes:
            continue
        for row, said in enumerate(answer(model, {**body, **PROBABILITIES})):
            found += [(n, row) for n, p in said.items() if abs(scored[n][row] - p) > 1e-12]
    return found


def _cell(value: Any) -> Any:
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.isoformat() if isinstance(value, datetime) else value
