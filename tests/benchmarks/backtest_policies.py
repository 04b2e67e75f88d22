"""How much of the gain of training every window do policies capture, and with how many trainings?

Replays tables in time order with LightGBM on a rolling window and prints one table: the share of
the gain of training every window (ungated) that the default policy (gain, drift and performance
together, no calendar), the gate on every window, and an even calendar with as many trainings as the
default have, and the replay's time over that of its distinct fits. Labels are known at a window's
end, or two windows later with ``--late``.

    KEEPFIT_TABLES=folder python -m tests.benchmarks.backtest_policies [--late] [--keep DIR] [NAME…]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.backtest import run
from tasks.backtest.comparison import Comparison, Served
from tasks.backtest.engine import Replay, State
from tasks.backtest.fits import FittedModel
from tasks.backtest.policies import policies_of
from tasks.base.pipeline_file import load_pipeline
from tasks.base.runtime.environment import turn_telemetry_off


@dataclass(frozen=True)
class Table:
    """A table and how it is replayed; `read` takes the folder of tables."""

    read: Callable[[Path], pd.DataFrame]
    target: str
    metric: str
    every: str
    window: str
    late: str
    exclude: tuple[str, ...] = ()


def _parquet(name: str, time: str, step: int = 1) -> Callable[[Path], pd.DataFrame]:
    def read(folder: Path) -> pd.DataFrame:
        frame = pd.read_parquet(folder / f"{name}.parquet")
        frame = frame.rename(columns={time: "when"}).sort_values("when", kind="stable")
        return frame.iloc[::step].dropna(subset=["when"])

    return read


def _spread(name: str, order: str, days: float, step: int = 1) -> Callable[[Path], pd.DataFrame]:
    """Read a table whose order is time, and date its rows evenly over so many days."""

    def read(folder: Path) -> pd.DataFrame:
        frame = pd.read_parquet(folder / f"{name}.parquet")
        frame = frame.sort_values(order, kind="stable").iloc[::step].reset_index(drop=True)
        seconds = np.linspace(0, days * 86_400, len(frame)).round()
        frame["when"] = pd.Timestamp("2015-01-05") + pd.to_timedelta(seconds, unit="s")
        return frame.drop(columns=[order])

    return read


def _csv(name: str, day: str, hour: str | None, **how: object) -> Callable[[Path], pd.DataFrame]:
    def read(folder: Path) -> pd.DataFrame:
        frame = pd.read_csv(folder / name, **how).dropna(how="all", axis=1)  # type: ignore[call-overload]
        frame = frame.dropna(how="all")
        frame.columns = [f"c{n}" if not c.isidentifier() else c for n, c in enumerate(frame)]
        when = pd.to_datetime(frame[day], format="%d/%m/%Y")
        if hour is not None:
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


def prepared(name: str, tables: Path, folder: Path, *, late: bool) -> Path:
    """Write the table and its pipeline file into `folder`; return the file."""
    table = TABLES[name]
    folder.mkdir(parents=True, exist_ok=True)
    table.read(tables).to_parquet(folder / "rows.parquet", index=False)
    delay = f", label_delay: {table.late}" if late else ""
    file = folder / "keepfit.yaml"
    file.write_text(
        f"name: {name.replace('_', '-')}{'-late' if late else ''}\n"
        f"target: {table.target}\nmetric: {table.metric}\ntime_column: when\n"
        f"source: {{kind: parquet, path: rows.parquet}}\nexclude: {list(table.exclude)}\n"
        f"training: {{window: {table.window}, cv: 3, candidates: [lightgbm], threads: 1}}\n"
        f"monitoring: {{window: {table.every}{delay}}}\n",
        encoding="utf-8",
    )
    return file


def even_calendar(comparison: Comparison, trainings: int) -> tuple[FittedModel, ...]:
    """Return the models of an even calendar with so many trainings."""
    n = len(comparison.fresh)
    starts = np.round(np.arange(trainings + 1) * n / (trainings + 1)).astype(int)
    return tuple(comparison.fresh[starts[starts <= w].max()] for w in range(n))


def replayed(file: Path) -> tuple[Replay, tuple[State, ...], float]:
    """Replay the pipeline of `file`; return the seconds beside replay and states."""
    began = time.monotonic()
    pipeline, asked = load_pipeline(file), run.BacktestRequest()
    replay = run.prepare_replay(pipeline, asked)
    searched = time.monotonic() - began
    first = replay.history.windows[0].start - replay.history.start
    # Eight policies: without calendars of other steps and other training windows.
    policies = policies_of(pipeline.config, replay.size, first, quick=True)
    states = replay.begin([p for p in policies if not p.name.startswith("every_") or p.every == 1])
    for window in range(replay.size):
        states = replay.step(states, window)
    return replay, states, time.monotonic() - began - searched


def line(name: str, file: Path) -> str:
    """Return a table's row."""
    replay, states, seconds = replayed(file)
    comparison = Comparison(replay, states)
    results = {r.policy: r for r in comparison.results()}
    never, every, own = (results[p] for p in ("never", "every_window", "file"))
    even = Served(even_calendar(comparison, own.fitted)).losses(comparison.losses)
    gain = never.loss - every.loss
    sure = every.gain_over_never.low is not None and every.gain_over_never.low > 0
    shares = [results[p].captured for p in ("every_window_gated", "file", "gain", "drift")]
    shares.insert(2, (never.loss - float(even.mean())) / gain if gain > 0 else None)
    shares.append(results["hindsight"].captured)
    fits = sum(fit.seconds for fit in replay.fits.made)
    cells = "".join("     –" if s is None else f" {s:5.0%}" for s in shares)
    return (
        f"{name:<20}{replay.size:>4} {never.loss:>8.4g} {every.loss:>8.4g} "
        f"{'yes' if sure else 'no':<5}{cells} {own.fitted:>4}/{every.fitted:<4}"
        f"{own.alarms_paid:>3}/{own.alarms:<4}{seconds / max(fits, 1e-9):5.2f}"
    )


def main() -> None:
    """Replay the tables that the command line names, or all."""
    turn_telemetry_off()
    arguments = sys.argv[1:]
    late = "--late" in arguments
    kept = arguments[arguments.index("--keep") + 1] if "--keep" in arguments else None
    names = [a for a in arguments if a in TABLES] or list(TABLES)
    tables = Path(os.environ["KEEPFIT_TABLES"])
    print(
        f"{'table':<20}{'n':>4} {'never':>8} {'every':>8} sure  gated  file  even  gain drift  best"
        "  fits     paid time"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            where = Path(kept or folder, f"{name}{'-late' if late else ''}")
            print(line(name, prepared(name, tables, where, late=late)), flush=True)


if __name__ == "__main__":
    main()
