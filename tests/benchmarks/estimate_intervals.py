"""How often the interval of an estimate without labels holds what came true.

    KEEPFIT_TABLES=… python -m tests.benchmarks.estimate_intervals [--stride 1]

`employment_ma` carries the predictions of a model that was trained before its first year, which is
the holdout here; chunks of 5,000 rows follow. On the other tables LightGBM is fitted on the oldest
third, the next sixth is the holdout, and windows of the rest are estimated by the functions that
monitoring calls. An interval of 95 % should hold 95 % of the windows; the error is set beside that
of saying "as on the holdout".
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor

from tasks.base.records import Schema
from tasks.monitoring.answers import Answers, answers_of
from tasks.monitoring.estimation import estimate
from tasks.monitoring.measuring import measure

BINARY = Schema(target="y", task="binary", features={}, classes=("0", "1"), positive="1")
VALUES = Schema(target="y", task="regression", features={})


@dataclass(frozen=True)
class Table:
    """A table in time order; `leaks` are left out, `rows` make a window."""

    name: str
    target: str
    metrics: tuple[str, ...]
    rows: int
    leaks: tuple[str, ...] = ()


TABLES = (
    Table("electricity", "price_up", ("roc_auc", "accuracy"), 1_440, ("nswprice", "timestamp")),
    Table("bike_hourly", "cnt", ("mae", "rmse"), 720, ("casual", "registered", "instant")),
    Table("credit_default_taiwan", "default_next_month", ("roc_auc", "accuracy"), 1_000, ("ID",)),
    Table("noaa_weather", "rain", ("roc_auc", "accuracy"), 500, ("seq",)),
    Table("bank_marketing", "y", ("roc_auc", "log_loss"), 1_000, ("duration", "seq")),
)


def _employment(folder: Path) -> tuple[Answers, list[Answers]]:
    rows = pd.read_parquet(folder / "employment_ma.parquet")
    first = rows["year"] == rows["year"].min()
    later = rows[~first]
    chunks = [later.iloc[at : at + 5_000] for at in range(0, len(later) - 4_999, 5_000)]
    made = [
        _binary(
            part["employed"].to_numpy(dtype=int),
            part["predicted_probability"].to_numpy(dtype=float),
        )
        for part in (rows[first], *chunks)
    ]
    return made[0], made[1:]


def _binary(truth: np.ndarray, chance: np.ndarray) -> Answers:
    told = {"prediction": (chance > 0.5).astype(int), "probability_0": 1 - chance}
    rows = pd.DataFrame({"label": truth, **told, "probability_1": chance, "time": _times(truth)})
    return answers_of(rows, BINARY)


def _times(values: np.ndarray) -> pd.DatetimeIndex:
    return pd.date_range("2026-01-01", periods=len(values), freq="min")


def _fitted(table: Table, folder: Path) -> tuple[Answers, list[Answers]]:
    rows = pd.read_parquet(folder / f"{table.name}.parquet").drop(columns=list(table.leaks))
    truth = rows.pop(table.target)
    numbers = table.metrics[0] in ("mae", "rmse")
    y = truth.to_numpy(dtype=float) if numbers else pd.factorize(truth, sort=True)[0]
    features = rows.apply(lambda c: c if c.dtype.kind in "iufb" else pd.factorize(c)[0])
    third, half = len(y) // 3, len(y) // 2
    kind = LGBMRegressor if numbers else LGBMClassifier
    model = kind(n_estimators=60, n_jobs=1, verbosity=-1).fit(features[:third], y[:third])

    def answers(start: int, end: int) -> Answers:
        part, known = features[start:end], y[start:end]
        if not numbers:
            return _binary(known, model.predict_proba(part)[:, 1])
        given = {"label": known, "prediction": model.predict(part), "time": _times(known)}
        return answers_of(pd.DataFrame(given), VALUES)

    ends = range(half + table.rows, len(y) + 1, table.rows)
    return answers(third, half), [answers(end - table.rows, end) for end in ends]


def tables(folder: Path) -> Iterator[tuple[str, tuple[str, ...], Answers, list[Answers]]]:
    """Yield name, metrics, holdout and windows of every table."""
    yield ("employment_ma", ("roc_auc", "accuracy", "f1"), *_employment(folder))
    for table in TABLES:
        yield (table.name, table.metrics, *_fitted(table, folder))


def main() -> None:
    """Print one row a table and metric."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stride", type=int, default=1, help="look at every n-th window")
    stride = parser.parse_args().stride
    print(f"{'table':23}{'metric':10}{'windows':>8}{'held':>7}{'error':>9}{'as holdout':>12}")
    for name, metrics, holdout, windows in tables(Path(os.environ["KEEPFIT_TABLES"])):
        roles = BINARY if holdout.probability is not None else VALUES
        for metric in metrics:
            before = measure(holdout, roles, metric, replicates=0)
            assert before is not None
            held, errors, constant, aside = 0, [], [], ""
            for window in windows[::stride]:
                true = measure(window, roles, metric, replicates=0)
                told = estimate(window, holdout, roles, metric)
                if true is None:
                    continue
                constant.append(abs(true.value - before.value))
                if told.value.value is None or told.value.low is None or told.value.high is None:
                    aside = told.sentence
                    break
                held += told.value.low <= true.value <= told.value.high
                errors.append(abs(true.value - told.value.value))
            if aside:
                print(f"{name:23}{metric:10}  {aside}", flush=True)
                continue
            print(
                f"{name:23}{metric:10}{len(errors):8}{held / len(errors):7.0%}"
                f"{np.mean(errors):9.4g}{np.mean(constant):12.4g}",
                flush=True,
            )


if __name__ == "__main__":
    main()
