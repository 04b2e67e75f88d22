"""What monitoring a window costs beside Evidently's default on the same rows.

    python tests/benchmarks/drift_speed.py [--before 1600000] [--rows 288000] [--repeat 3]

The tables have 19 columns: 12 of numbers and 7 of levels, some with nulls. keepfit's summary of
the reference and its ordinary blocks are made once a version and are timed on their own. A window
is judged by all that ships: limits, predictions, importance and harm with its domain classifier.
Imports are not timed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pandas as pd

from tasks.base.monitoring_records import DriftResult
from tasks.base.runtime.environment import turn_telemetry_off
from tasks.base.training_records import Kind
from tasks.monitoring.drift.compared_rows import MOST_ROWS, Side
from tasks.monitoring.drift.detector import measure, watched
from tasks.monitoring.drift.harm.ordinary_blocks import OrdinaryBlocks, ordinary_blocks
from tasks.monitoring.drift.harm.verdict import Evidence
from tasks.monitoring.drift.operating_limits import calibrate
from tasks.monitoring.drift.reference_summary import Reference, build_reference

FEATURES: dict[str, Kind] = {
    **dict.fromkeys([f"number {k}" for k in range(12)], "numeric"),
    **dict.fromkeys([f"level {k}" for k in range(7)], "categorical"),
}


IMPORTANCE = {name: 0.01 * (k + 1) for k, name in enumerate([*FEATURES][5:15])}


def made(rows: int, seed: int) -> pd.DataFrame:
    """Return a table of numbers and levels."""
    rng = np.random.default_rng(seed)
    columns: dict[str, object] = {}
    for k in range(12):
        values = rng.normal(size=rows) if k % 3 else rng.integers(0, 500, rows).astype(float)
        if k % 4 == 0:
            values[rng.random(rows) < 0.1] = np.nan
        columns[f"number {k}"] = values
    for k in range(7):
        levels = np.array([f"level {n}" for n in range(3 + 20 * k)])
        columns[f"level {k}"] = pd.Series(levels[rng.integers(0, len(levels), rows)], dtype="str")
    return pd.DataFrame(columns)


def timed(work: Callable[[], object], repeat: int) -> float:
    """Return the least seconds of `repeat` runs."""
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> int:
    """Print the table; 1 if Evidently takes less than fifty times as long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=int, default=1_600_000)
    parser.add_argument("--rows", type=int, default=288_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--without-evidently", action="store_true")
    asked = parser.parse_args()
    before, window = made(asked.before, 0), made(asked.rows, 1)
    start = np.datetime64("2026-01-01", "us")
    times = start + np.sort(np.random.default_rng(2).integers(0, 180 * 86_400, len(before))).astype(
        "timedelta64[s]"
    )
    week = timedelta(days=7)
    started = time.perf_counter()
    reference = build_reference(before, FEATURES, times, week)
    summary = time.perf_counter() - started
    weights = watched(reference, IMPORTANCE)
    started = time.perf_counter()
    blocks = ordinary_blocks(reference, lambda at: before.iloc[at], times, weights)
    ordinary = time.perf_counter() - started
    ours = timed(lambda: _judge(reference, before, window, times, blocks), asked.repeat)
    limits = timed(lambda: calibrate(reference, false_alarms=0.05), asked.repeat)
    print(f"{len(before):,} reference rows, {asked.rows:,} rows of the window, 19 columns\n")
    print(f"{'reference, once a version':<34}{summary:>8.2f} s")
    print(f"{'ordinary blocks, once a version':<34}{ordinary:>8.2f} s")
    print(f"{'window, all that ships':<34}{ours:>8.2f} s")
    print(f"{'  of which limits':<34}{limits:>8.2f} s")
    if not asked.without_evidently:
        theirs = timed(lambda: _evidently(before, window), 1)
        print(f"{'Evidently, its defaults':<34}{theirs:>8.2f} s")
        print(f"\nEvidently takes {theirs / ours:.0f} times as long")
        return int(theirs / ours < 50)
    return 0


def predict(frame: pd.DataFrame) -> np.ndarray:
    """Return a score of each row, as a champion would."""
    return frame["number 1"].to_numpy() + 0.1 * frame["number 2"].to_numpy()


def _judge(
    reference: Reference,
    before: pd.DataFrame,
    window: pd.DataFrame,
    times: np.ndarray,
    blocks: OrdinaryBlocks,
) -> DriftResult:
    """Judge a window by all that ships; predictions are made elsewhere."""
    chosen = np.linspace(0, len(before) - 1, MOST_ROWS).astype(int)
    seen = np.linspace(0, len(before) - 1, min(200_000, len(before))).astype(int)
    evidence = Evidence(Side(before.iloc[chosen], times[chosen]), None, predict, blocks)
    return measure(
        reference, window, false_alarms=0.05, min_rows=200, importance=IMPORTANCE,
        predictions=predict(window), reference_predictions=predict(before.iloc[seen]),
        reference_prediction_times=times[seen], evidence=evidence,
    )  # fmt: skip


def _evidently(before: pd.DataFrame, window: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        definition = DataDefinition(
            numerical_columns=[c for c, kind in FEATURES.items() if kind == "numeric"],
            categorical_columns=[c for c, kind in FEATURES.items() if kind != "numeric"],
        )
        sides = [Dataset.from_pandas(frame, definition) for frame in (window, before)]
        Report([DataDriftPreset()]).run(*sides).dict()


if __name__ == "__main__":
    turn_telemetry_off()
    raise SystemExit(main())
