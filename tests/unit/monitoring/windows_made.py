"""Windows of predictions with labels, drawn by seed, as a ledger returns them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from tasks.base.monitoring_records import Window
from tasks.base.training_records import Schema

START = datetime(2026, 3, 2, tzinfo=UTC)
WEEK = timedelta(days=7)
WINDOW = Window(start=START, end=START + WEEK)
BINARY = Schema(
    target="y", task="binary", features={}, classes=("no", "yes"), positive="yes", time_column="t"
)
DIGITS = Schema(
    target="y", task="multiclass", features={}, classes=("0", "1", "2"), time_column="t"
)
VALUES = Schema(target="y", task="regression", features={}, time_column="t")


def moments(rows: int, weeks: float, start: datetime = START) -> pd.Series[Any]:
    """Return evenly spread times from `start` on."""
    seconds = np.arange(rows) * (weeks * WEEK.total_seconds() / max(1, rows))
    return pd.Series(pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s"))


def binary(
    rows: int = 2_000, seed: int = 0, *, signal: float = 1.2, weeks: float = 1.0,
    shift: float = 0.0, version: str = "3",
) -> pd.DataFrame:  # fmt: skip
    """Return answers whose probabilities are right where `signal` is 1.2.

    Parameters
    ----------
    shift
        Moves the features' own distribution, and with it probabilities and labels alike.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rows) + shift
    p = 1 / (1 + np.exp(1.0 - 1.2 * x))
    truth = 1 / (1 + np.exp(1.0 - signal * x))
    y = rng.random(rows) < truth
    return pd.DataFrame(
        {
            "key": [f"k{n}" for n in range(rows)],
            "time": moments(rows, weeks),
            "version": version,
            "prediction": np.where(p > 0.5, "yes", "no").astype(object),
            "probability_no": 1 - p,
            "probability_yes": p,
            "label": np.where(y, "yes", "no").astype(object),
        }
    )


def digits(rows: int = 2_000, seed: int = 0, *, sharp: float = 1.5) -> pd.DataFrame:
    """Return answers of three classes, drawn from their own probabilities, labels as text."""
    rng = np.random.default_rng(seed)
    scores = sharp * rng.standard_normal((rows, 3))
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    y = (p.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    probabilities = {f"probability_{k}": p[:, k] for k in range(3)}
    return pd.DataFrame(
        {"key": range(rows), "time": moments(rows, 1), "prediction": p.argmax(axis=1),
         **probabilities, "label": [f"{k}.0" for k in y]}
    )  # fmt: skip


def values(
    rows: int = 2_000, seed: int = 0, *, noise: float = 1.0, mean: float = 0.0, weeks: float = 1.0
) -> pd.DataFrame:
    """Return a regression whose error grows with the size of the prediction."""
    rng = np.random.default_rng(seed)
    predicted = mean + rng.standard_normal(rows)
    error = noise * (0.5 + np.abs(predicted)) * rng.standard_normal(rows)
    return pd.DataFrame(
        {"key": range(rows), "time": moments(rows, weeks), "version": "3",
         "prediction": predicted, "label": predicted + error}
    )  # fmt: skip
