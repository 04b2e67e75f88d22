"""Tables in time order that policies are replayed on, and the pipeline file of each.

A seed takes other rows where a table is thinned, moves the windows by a third of one, and seeds
the fits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Table:
    """A table and how it is replayed.

    Attributes
    ----------
    read
        Takes the folder of tables and a seed.
    late
        Label delay of the replays with late labels.
    """

    read: Callable[[Path, int], pd.DataFrame]
    target: str
    metric: str
    every: str
    window: str
    late: str
    exclude: tuple[str, ...] = ()


def _parquet(name: str, time: str, step: int = 1) -> Callable[[Path, int], pd.DataFrame]:
    def read(folder: Path, seed: int) -> pd.DataFrame:
        frame = pd.read_parquet(folder / f"{name}.parquet")
        frame = frame.rename(columns={time: "when"}).sort_values("when", kind="stable")
        return frame.iloc[seed % step :: step].dropna(subset=["when"])

    return read


def _spread(
    name: str, order: str, days: float, step: int = 1
) -> Callable[[Path, int], pd.DataFrame]:
    """Read a table whose order is time, and date its rows evenly over so many days."""

    def read(folder: Path, seed: int) -> pd.DataFrame:
        frame = pd.read_parquet(folder / f"{name}.parquet")
        frame = frame.sort_values(order, kind="stable").iloc[seed % step :: step]
        frame = frame.reset_index(drop=True)
        seconds = np.linspace(0, days * 86_400, len(frame)).round()
        frame["when"] = pd.Timestamp("2015-01-05") + pd.to_timedelta(seconds, unit="s")
        return frame.drop(columns=[order])

    return read


def _csv(name: str, day: str, hour: str, **how: object) -> Callable[[Path, int], pd.DataFrame]:
    def read(folder: Path, _: int) -> pd.DataFrame:
        frame = pd.read_csv(folder / name, **how).dropna(how="all", axis=1)  # type: ignore[call-overload]
        frame = frame.dropna(how="all")
        frame.columns = [f"c{n}" if not c.isidentifier() else c for n, c in enumerate(frame)]
        when = pd.to_datetime(frame[day], format="%d/%m/%Y")
        when += pd.to_timedelta(frame[hour].astype(str).str[:2].astype(int), unit="h")
        return frame.assign(when=when).drop(columns=[day]).sort_values("when", kind="stable")

    return read


TABLES = {
    "bike_hourly": Table(
        _parquet("bike_hourly", "timestamp"), "cnt", "mae", "30d", "180d", "60d",
        ("casual", "registered", "instant", "dteday"),
    ),
    "electricity": Table(
        _parquet("electricity", "timestamp", 2), "price_up", "roc_auc", "30d", "180d", "60d",
        ("nswprice", "vicprice"),
    ),
    "employment_ma": Table(
        _spread("employment_ma", "id", 1_400, 12), "employed", "roc_auc", "60d", "365d", "120d",
        ("prediction", "predicted_probability", "year"),
    ),
    "noaa_weather": Table(
        _spread("noaa_weather", "seq", 18_159), "rain", "roc_auc", "730d", "3650d", "730d",
    ),
    "flights": Table(
        _parquet("flights", "time_hour", 8), "arr_late", "log_loss", "7d", "60d", "14d",
        ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum", "flight"),
    ),
    "bank_marketing": Table(
        _spread("bank_marketing", "seq", 900), "y", "roc_auc", "30d", "180d", "60d",
        ("duration", "contact_month"),
    ),
    "seoul_bike": Table(
        _csv("seoul_bike_latin1.csv", "Date", "Hour", encoding="latin-1"), "c1", "mae", "14d",
        "90d", "28d",
    ),
    "air_quality_uci": Table(
        _csv("air_quality_uci.csv", "Date", "Time", sep=";", decimal=",", na_values=[-200]),
        "c9", "mae", "14d", "90d", "28d",
    ),
}  # fmt: skip


def prepared(name: str, tables: Path, folder: Path, *, late: bool, seed: int = 0) -> Path:
    """Write the table and its pipeline file into `folder`; return the file."""
    table = TABLES[name]
    folder.mkdir(parents=True, exist_ok=True)
    rows = table.read(tables, seed)
    start = rows["when"].min() + seed * pd.Timedelta(table.every) / 3
    rows[rows["when"] >= start].to_parquet(folder / "rows.parquet", index=False)
    delay = f", label_delay: {table.late}" if late else ""
    file = folder / "keepfit.yaml"
    file.write_text(
        f"name: {name.replace('_', '-')}\n"
        f"target: {table.target}\nmetric: {table.metric}\ntime_column: when\n"
        f"source: {{kind: parquet, path: rows.parquet}}\nexclude: {list(table.exclude)}\n"
        f"training: {{window: {table.window}, cv: 3, candidates: [lightgbm], threads: 1, "
        f"seed: {seed}}}\n"
        f"monitoring: {{window: {table.every}{delay}}}\n",
        encoding="utf-8",
    )
    return file
