"""Models of real tables as the loop has them: trained by ``keepfit run``, scored later.

The oldest half of a table, in time order, is trained on with LightGBM by the command itself, and
the rest scored by ``keepfit score``: what comes back is the version's own reference, its holdout,
and predictions of later rows with what came true. `employment_ma` carries the predictions of a
model that was trained before its first year, which is its holdout here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.base.pipeline_file import load_pipeline
from tasks.base.training_records import Kind, Schema
from tasks.data.snapshots import read_frame
from tasks.monitoring.drift.reference_store import training_rows
from tasks.monitoring.performance.estimation.covariate_shift import CovariateShift
from tasks.registry.mlflow.store import Store
from tasks.registry.version_files.holdouts import PLACE, holdout_of, reference_predictions

TIME, ROW = "moment_of_row", "number_of_row"
_NOT_FEATURES = ("id", "year", "employed", "prediction", "predicted_probability")


@dataclass(frozen=True)
class Table:
    """A table of some rows a window.

    Attributes
    ----------
    metrics
        What is estimated, the first of which the model is chosen by.
    leaks
        Columns that are known too late, or number the rows.
    time
        Its column; absent: rows are in order, and get one a minute apart.
    """

    name: str
    target: str
    metrics: tuple[str, ...]
    rows: int
    leaks: tuple[str, ...] = ()
    time: str = ""
    read: Callable[[Path], pd.DataFrame] | None = None


@dataclass(frozen=True)
class Scored:
    """A model and what it predicted.

    Attributes
    ----------
    reference
        As `tasks.registry.version_files.holdouts.reference_predictions` returns it.
    windows
        Rows of each window with ``label``, ``prediction``, ``probability_<class>`` and ``time``.
    shifts
        Features of the reference and of each window.
    """

    roles: Schema
    reference: pd.DataFrame
    holdout: pd.DataFrame
    windows: list[pd.DataFrame]
    shifts: list[CovariateShift]


def _flights(folder: Path) -> pd.DataFrame:
    rows = pd.read_parquet(folder / "flights.parquet").dropna(subset=["arr_late"])
    rows = rows.sort_values("time_hour", kind="stable").iloc[::8]
    return rows.assign(
        time_hour=rows["time_hour"].dt.tz_localize(None), arr_late=rows["arr_late"].astype(bool)
    )


def _air_quality(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "air_quality_uci.csv", sep=";", decimal=",", na_values=[-200])
    rows = rows.dropna(axis=1, how="all").dropna(subset=["Date", "NO2(GT)"])
    when = pd.to_datetime(rows["Date"] + " " + rows["Time"], format="%d/%m/%Y %H.%M.%S")
    return rows.drop(columns=["Date", "Time"]).assign(when=when, hour=when.dt.hour)


def _seoul(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "seoul_bike_latin1.csv", encoding="latin-1")
    rows = rows[rows["Functioning Day"] == "Yes"]
    day = pd.to_datetime(rows["Date"], format="%d/%m/%Y")
    when = day + pd.to_timedelta(rows["Hour"], unit="h")
    return rows.drop(columns=["Date", "Functioning Day"]).assign(when=when, weekday=when.dt.weekday)


RATES, ERRORS = ("roc_auc", "accuracy", "f1", "log_loss"), ("mae", "rmse")
EMPLOYMENT = "employment_ma"
OPEN = (
    Table("electricity", "price_up", RATES, 720, ("nswprice",), "timestamp"),
    Table("bike_hourly", "cnt", ERRORS, 336, ("casual", "registered", "instant"), "timestamp"),
    Table(
        "flights", "arr_late", RATES, 800,
        ("dep_time", "dep_delay", "arr_time", "air_time", "arr_delay", "tailnum", "flight"),
        "time_hour", _flights,
    ),
    Table("noaa_weather", "rain", RATES, 365, ("seq",)),
    Table("bank_marketing", "y", RATES, 800, ("duration", "seq", "contact_month")),
    Table(
        "air_quality", "NO2(GT)", ERRORS, 336, ("CO(GT)", "NMHC(GT)", "C6H6(GT)", "NOx(GT)"),
        "when", _air_quality,
    ),
)  # fmt: skip
"""Tables that the method was made with."""
ASIDE = (
    Table("seoul_bike", "Rented Bike Count", ERRORS, 336, (), "when", _seoul),
    Table("credit_default_taiwan", "default_next_month", RATES, 800, ("ID",)),
)
"""Tables that nobody looked at before the method was finished."""


def scored(table: Table, tables: Path, work: Path) -> Scored:
    """Return a table's model and windows; trained once, kept under `work`."""
    folder = work / table.name
    rows = _read(table, tables)
    half = len(rows) // 2
    if not (folder / "later.parquet").exists():
        _train(table, rows, half, folder)
    store = Store.open(folder / ".keepfit")
    champion = store.champion(table.name)
    assert champion is not None
    told = pd.read_parquet(folder / "later.parquet").astype({ROW: int}).set_index(ROW)
    later = rows.iloc[half:]
    told = told.loc[later[ROW]].reset_index().assign(
        label=later[table.target].to_numpy(), time=later[TIME].to_numpy()
    )  # fmt: skip
    reference, holdout = reference_predictions(store, champion), holdout_of(store, champion)
    assert reference is not None
    assert holdout is not None
    path = training_rows(load_pipeline(folder / "pipeline.yaml"), champion).path
    kinds = champion.roles.watched
    return Scored(
        champion.roles,
        reference,
        holdout,
        *_cut(
            told,
            later[list(kinds)],
            read_frame(path, list(kinds), reference[PLACE].to_numpy()),
            kinds,
            table.rows,
        ),
    )


def _cut(
    later: pd.DataFrame,
    features: pd.DataFrame,
    before: pd.DataFrame,
    kinds: Mapping[str, Kind],
    rows: int,
) -> tuple[list[pd.DataFrame], list[CovariateShift]]:
    """Return windows of so many rows, and their features beside those of the reference."""
    parts = [slice(at, at + rows) for at in range(0, len(later) - rows + 1, rows)]
    shifts = [CovariateShift(features.iloc[part], before, kinds) for part in parts]
    return [later.iloc[part] for part in parts], shifts


def _read(table: Table, tables: Path) -> pd.DataFrame:
    read = table.read or (lambda folder: pd.read_parquet(folder / f"{table.name}.parquet"))
    rows = read(tables).drop(columns=list(table.leaks))
    if table.time:
        rows = rows.sort_values(table.time, kind="stable").rename(columns={table.time: TIME})
    else:
        rows[TIME] = pd.date_range("2026-01-01", periods=len(rows), freq="min")
    return rows.assign(**{ROW: np.arange(len(rows))}).reset_index(drop=True)


def _train(table: Table, rows: pd.DataFrame, half: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows.iloc[:half].to_parquet(folder / "rows.parquet")
    rows.iloc[half:].drop(columns=table.target).to_parquet(folder / "new.parquet")
    said = {
        "name": table.name,
        "source": {"kind": "parquet", "path": "rows.parquet"},
        "target": table.target,
        "time_column": TIME,
        "id_columns": [ROW],
        "metric": table.metrics[0],
        "training": {"candidates": ["lightgbm"], "threads": 1},
    }
    # YAML reads JSON.
    (folder / "pipeline.yaml").write_text(json.dumps(said))
    _keepfit(folder, "run", "pipeline.yaml")
    if Store.open(folder / ".keepfit").champion(table.name) is None:
        # Refused, as no better than the baseline: its estimates are to hold all the same.
        _keepfit(folder, "promote", "1", "pipeline.yaml")
    _keepfit(
        folder, "score", "--input", "new.parquet", "--output", "later.parquet", "pipeline.yaml"
    )


def _keepfit(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "flows.cli", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr[-2000:]}")


def employment(tables: Path, rows: int = 5_000) -> Scored:
    """Return the public predictions: the first year as holdout, then chunks of so many rows."""
    table = pd.read_parquet(tables / "employment_ma.parquet")
    chance = table["predicted_probability"].to_numpy(dtype=float)
    made = pd.DataFrame(
        {
            "label": table["employed"].astype(int),
            "prediction": (chance > 0.5).astype(int),
            "probability_0": 1 - chance,
            "probability_1": chance,
            "time": pd.date_range("2026-01-01", periods=len(table), freq="min"),
        }
    )
    roles = Schema(target="y", task="binary", features={}, classes=("0", "1"), positive="1")
    first = (table["year"] == table["year"].min()).to_numpy()
    holdout, later = made[first], made[~first]
    names = [c for c in table if c not in _NOT_FEATURES]
    features = table[names].astype(np.float64)
    kinds: dict[str, Kind] = dict.fromkeys(names, "numeric")
    cut = _cut(later, features[~first], features[first], kinds, rows)
    return Scored(roles, holdout, holdout, *cut)
