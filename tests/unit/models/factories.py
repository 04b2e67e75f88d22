"""Small tables with everything that goes wrong, and models fitted on them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from tasks.base.settings.evaluation import default_metric
from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import Kind, Schema, Split, Task
from tasks.data.snapshots import write_snapshot
from tasks.models.estimators.candidates import find
from tasks.models.estimators.fit_context import FitContext, FitResult
from tasks.models.features.preprocessing import build_encoder

KINDS: dict[str, Kind] = {
    "größe, m": "numeric",
    "all null": "numeric",
    "flag": "boolean",
    "colour": "categorical",
    "code": "categorical",
    "plant": "categorical",
    "seen": "datetime",
    "note": "text",
    "same": "constant",
}

QUICKER = {"random_forest": {"trees": 10}, "lightgbm": {"trees": 150}, "mlp": {"epochs": 60}}
"""Smaller models than the table's, so that the suite over all of them stays quick."""


def frame(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.normal(size=rows)
    size[::17] = np.nan
    size[5], size[6] = np.inf, -np.inf
    colours = rng.choice(["red", "blau", "grün"], rows).astype(object)
    colours[::11] = None
    start = np.datetime64("2024-01-01T00:00", "us")
    words = np.array(["late again", "on time", "engine noise", "", "no crew, late"])
    return pd.DataFrame(
        {
            "größe, m": size,
            "all null": np.full(rows, np.nan),
            "flag": pd.array(rng.choice([True, False, None], rows), dtype=object),
            "colour": pd.array(colours, dtype="str"),
            "code": rng.integers(1, 5, rows),
            "plant": pd.array([f"p{i}" for i in rng.integers(0, 60, rows)], dtype="str"),
            "seen": start + rng.integers(0, 400 * 24, rows).astype("timedelta64[h]"),
            "note": pd.array(words[rng.integers(0, 5, rows)], dtype="str"),
            "same": np.ones(rows),
        }
    )


def target(X: pd.DataFrame, task: Task, seed: int = 1) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    size = np.nan_to_num(X["größe, m"].to_numpy(), nan=0.0, posinf=0.0, neginf=0.0)
    value = 2 * size + (X["colour"] == "red").to_numpy() + X["code"].to_numpy() / 2
    value = value + rng.normal(size=len(X)) / 3
    if task == "regression":
        return np.asarray(value * 1_000)
    if task == "binary":
        return np.where(value > np.median(value), "yes", "no")
    return np.asarray(np.digitize(value, np.quantile(value, [0.33, 0.66])))


def schema(task: Task, y: NDArray[Any], kinds: dict[str, Kind] | None = None) -> Schema:
    classes = () if task == "regression" else tuple(str(c) for c in np.unique(y))
    return Schema(
        target="y",
        task=task,
        features=kinds or KINDS,
        classes=classes,
        positive=classes[-1] if task == "binary" else None,
    )


def fitted(
    name: str, task: Task, X: pd.DataFrame, y: NDArray[Any], **at: Any
) -> tuple[Pipeline, FitResult]:
    candidate = find(name)
    roles = schema(task, y, {c: KINDS[c] for c in X.columns if c in KINDS})
    encoder = build_encoder(candidate.encoding, roles, X, 0)
    encoded = encoder.fit_transform(X, y)
    counts = np.unique(y, return_counts=True)[1]
    setting = FitContext(
        task=task,
        metric=default_metric(task),
        rows=len(X),
        columns=encoded.shape[1],
        classes=0 if task == "regression" else len(counts),
        fewest=int(counts.min()),
        categorical=encoder.categorical_,
    )
    setting = replace(setting, **at)
    params = {**candidate.params, **QUICKER.get(name, {})}
    learned = candidate.fit(candidate.build(setting, params), encoded, y, setting)
    return Pipeline([("encode", encoder), ("model", learned.estimator)]), learned


def snapshot(
    folder: Path,
    X: pd.DataFrame,
    y: NDArray[Any],
    task: Task,
    *,
    kinds: dict[str, Kind] | None = None,
    holdout: int = 40,
    ordered: bool = False,
) -> tuple[str, Split, Schema]:
    folder.mkdir(parents=True, exist_ok=True)
    roles = schema(task, y, kinds)
    table = pa.Table.from_pandas(X.assign(y=y), preserve_index=False)
    all_kinds: dict[str, Kind] = {
        **{str(name): "numeric" for name in X.columns},
        **roles.features,
        "y": "numeric" if task == "regression" else "categorical",
    }
    kept = write_snapshot(table, all_kinds, folder, time_column=None, assumptions=())
    rows = np.arange(len(X), dtype=np.int64)
    np.save(folder / "train.npy", rows[:-holdout])
    np.save(folder / "holdout.npy", rows[-holdout:])
    split = Split(
        train_path=str(folder / "train.npy"),
        holdout_path=str(folder / "holdout.npy"),
        rule="time" if ordered else "hash",
        holdout=holdout / len(X),
        n_train=len(X) - holdout,
        n_holdout=holdout,
    )
    return kept.path, split, roles


def training(*candidates: str, **settings: Any) -> TrainingConfig:
    given = {"budget": timedelta(seconds=120), "cv": 3, "threads": 2, **settings}
    return TrainingConfig.model_validate({"candidates": candidates, **given})
