"""A small fitted pipeline over columns with hostile names, and its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from tasks.base.training_records import Schema
from tasks.models.features.preprocessing import build_encoder
from tasks.models.persistence.prediction import predict
from tasks.models.persistence.skops_io import save_model

SCHEMA = Schema(
    target="spät?",
    task="binary",
    features={
        "dep delay": "numeric",
        "größe; DROP TABLE": "numeric",
        "<b>cat</b>": "categorical",
        "flag": "boolean",
        "perhaps": "boolean",
        "moment": "datetime",
    },
    classes=("no", "yes"),
    positive="yes",
    time_column="moment",
)


@dataclass(frozen=True)
class Trained:
    pipeline: Any
    path: Path
    X: pd.DataFrame
    predicted: NDArray[Any]


def rows(n: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "dep delay": rng.normal(size=n),
            "größe; DROP TABLE": rng.integers(0, 9, n),
            "<b>cat</b>": rng.choice(["x", "ü", "z z"], n),
            "flag": rng.random(n) > 0.5,
            "perhaps": pd.Series(
                [(True, False, None)[i] for i in rng.integers(0, 3, n)], dtype="object"
            ),
            "moment": pd.date_range("2020", periods=n, freq="h").astype("datetime64[us]"),
        }
    )
    X.loc[::7, "dep delay"] = np.nan
    X.loc[::5, "<b>cat</b>"] = None
    return X


def train(folder: Path, seed: int = 0) -> Trained:
    X = rows(seed=seed)
    y = np.where(X["größe; DROP TABLE"] > 4, "yes", "no")
    encoder = build_encoder("linear", SCHEMA, X, seed)
    pipeline = Pipeline([("encode", encoder), ("model", LogisticRegression())]).fit(X, y)
    path = folder / f"model-{seed}.skops"
    save_model(pipeline, path)
    predicted, _ = predict(pipeline, X)
    return Trained(pipeline, path, X, predicted)
