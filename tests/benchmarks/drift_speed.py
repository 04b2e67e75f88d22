"""What monitoring a window costs beside Evidently's default on the same rows.

    python tests/benchmarks/drift_speed.py [--rows 1000000] [--repeat 3]

The reference has 1.6 times as many rows, 19 columns: 12 of numbers and 7 of levels, some with
nulls. keepfit's summary of the reference is made once a version and is timed on its own. Imports
are not timed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pandas as pd

from tasks.base.environment import turn_telemetry_off
from tasks.base.records import Kind
from tasks.monitoring.drift.detector import measure
from tasks.monitoring.drift.operating_limits import calibrate
from tasks.monitoring.drift.reference_summary import build_reference

FEATURES: dict[str, Kind] = {
    **dict.fromkeys([f"number {k}" for k in range(12)], "numeric"),
    **dict.fromkeys([f"level {k}" for k in range(7)], "categorical"),
}


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
    """Print the table; 1 if a million rows take more than five seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--without-evidently", action="store_true")
    asked = parser.parse_args()
    before, window = made(int(asked.rows * 1.6), 0), made(asked.rows, 1)
    start = np.datetime64("2026-01-01", "us")
    times = start + np.sort(np.random.default_rng(2).integers(0, 180 * 86_400, len(before))).astype(
        "timedelta64[s]"
    )
    week = timedelta(days=7)
    started = time.perf_counter()
    reference = build_reference(before, FEATURES, times, week)
    summary = time.perf_counter() - started
    ours = timed(lambda: measure(reference, window, false_alarms=0.05, min_rows=200), asked.repeat)
    limits = timed(lambda: calibrate(reference, false_alarms=0.05), asked.repeat)
    print(f"{len(before):,} reference rows, {asked.rows:,} rows of the window, 19 columns\n")
    print(f"{'reference, once a version':<34}{summary:>8.2f} s")
    print(f"{'window, limits included':<34}{ours:>8.2f} s")
    print(f"{'  of which limits':<34}{limits:>8.2f} s")
    if not asked.without_evidently:
        theirs = timed(lambda: _evidently(before, window), 1)
        print(f"{'Evidently, its defaults':<34}{theirs:>8.2f} s")
        print(f"\nEvidently takes {theirs / ours:.0f} times as long")
    return int(ours > 5.0 * max(asked.rows / 1e6, 0.2))


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
