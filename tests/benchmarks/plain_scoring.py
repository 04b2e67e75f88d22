"""The script one would write by hand to score a file: load from MLflow, check, predict, write.

`command_speed.py` has registered the model in the same folder, as `plain_script.py` does.
"""

from __future__ import annotations

import sys

import great_expectations as gx
import great_expectations.expectations as gxe
import mlflow
import mlflow.sklearn
import pandas as pd

NUMERIC = [
    "month", "day", "hour", "minute", "distance", "temp", "dewp", "humid", "wind_dir",
    "wind_speed", "wind_gust", "precip", "pressure", "visib",
]  # fmt: skip
CATEGORICAL = ["carrier", "origin", "dest"]


def check(frame: pd.DataFrame) -> None:
    """Stop when the contract does not hold."""
    context = gx.get_context(mode="ephemeral")
    batch = (
        context.data_sources.add_pandas("flights")
        .add_dataframe_asset("rows")
        .add_batch_definition_whole_dataframe("all")
    )
    suite = context.suites.add(gx.ExpectationSuite(name="flights"))
    for column in NUMERIC + CATEGORICAL:
        suite.add_expectation(gxe.ExpectColumnToExist(column=column))
        # Gusts are measured when there are some.
        mostly = 0.0 if column == "wind_gust" else 0.5
        suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column=column, mostly=mostly))
    for column in NUMERIC:
        suite.add_expectation(
            gxe.ExpectColumnValuesToBeBetween(column=column, min_value=-100, max_value=6000)
        )
    definition = gx.ValidationDefinition(name="flights", data=batch, suite=suite)
    result = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": frame}
    )
    assert result.success


def main(rows: str, predictions: str) -> None:
    """Score the file `rows` into the file `predictions`."""
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    model = mlflow.sklearn.load_model("models:/flights@champion")
    frame = pd.read_parquet(rows)
    check(frame)
    X = frame[NUMERIC + CATEGORICAL]
    scored = frame[["flight_id"]].assign(
        prediction=model.predict(X), probability=model.predict_proba(X)[:, 1]
    )
    scored.to_parquet(predictions)


if __name__ == "__main__":
    main(*sys.argv[1:3])
