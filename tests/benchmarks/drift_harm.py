"""How often windows are unusual or harmful where nothing changed, and what is found where it did.

    python tests/benchmarks/drift_harm.py [--windows 40] [--tables adult,electricity] [--quick]

Everything that production hands to `measure` is here: a LightGBM champion with its permutation
importance, predictions out of fold and of the window, a reference in time with its blocks, and
training rows to predict. Tables are shuffled first, so that nothing changes between reference
and window but what is done to the window:

- nothing: any alarm is false;
- shift: a column that the champion depends on, moved by 0.3 standard deviations;
- new level: 10 % of the rows get a level of a column that was never seen;
- broken correlation: an important column of numbers, correlated with another one by 0.5 or more,
  is shuffled among the rows of the window.

Then the labels of one segment, a level of 5 to 50 % of the rows, are flipped in three windows of
1,000 rows in a row: how often `judge_segments` finds that segment, and any where no label is
flipped. At last employment, untouched and in its own order: a negative control.

KEEPFIT_TABLES may name a folder with more tables, as Parquet.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.base.monitoring_records import DriftResult
from tasks.base.training_records import Kind
from tasks.data.sources.demos import demo_table
from tasks.monitoring.drift.compared_rows import MOST_ROWS, Side
from tasks.monitoring.drift.detector import measure, watched
from tasks.monitoring.drift.harm.ordinary_blocks import ordinary_blocks
from tasks.monitoring.drift.harm.verdict import Evidence
from tasks.monitoring.drift.reference_summary import Reference, build_reference
from tasks.monitoring.performance.labelled_predictions import Answers
from tasks.monitoring.performance.segments import Scored, judge_segments
from tests.benchmarks.drift_alarms import ALPHA, upper

WEEK = timedelta(days=7)
WEEKS = 8
TRAINING = 8_000
_SECOND = np.timedelta64(1_000_000, "us")
_LEFT_OUT = {
    "flights": ("arr_late", "flight_id time_hour dep_time dep_delay arr_time arr_delay air_time"),
    "adult": ("income", "split"),
    "electricity": ("price_up", "timestamp nswprice"),
    "bank_marketing": ("y", "seq contact_month duration"),
    "credit_default_taiwan": ("default_next_month", "ID"),
    "bike_hourly": ("cnt", "timestamp casual registered instant dteday"),
    "employment_ma": ("employed", "year prediction predicted_probability id"),
}


@dataclass(frozen=True)
class Table:
    """A real table, its target as numbers, and the kinds of its features."""

    name: str
    frame: pd.DataFrame
    y: NDArray[np.float64]
    kinds: dict[str, Kind]


@dataclass(frozen=True)
class Champion:
    """A champion with all that monitoring has of it; `rest` are rows that it never saw."""

    table: Table
    reference: Reference
    importance: dict[str, float]
    seen: NDArray[np.float64]
    times: NDArray[np.datetime64]
    evidence: Evidence
    learned: NDArray[np.int64]
    rest: NDArray[np.int64]

    def look(self, window: pd.DataFrame, times: NDArray[np.datetime64]) -> DriftResult:
        """Return what monitoring says of a window."""
        predict = self.evidence.predict
        assert predict is not None
        return measure(
            self.reference, window, false_alarms=ALPHA, min_rows=50, importance=self.importance,
            predictions=predict(window), reference_predictions=self.seen,
            reference_prediction_times=self.times, evidence=replace(self.evidence, times=times),
        )  # fmt: skip

    def window(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows that the champion never saw."""
        return self.table.frame.iloc[rng.choice(self.rest, rows, replace=False)]


def tables(wanted: list[str]) -> Iterator[Table]:
    """Return flights, and those of the folder KEEPFIT_TABLES."""
    folder = os.environ.get("KEEPFIT_TABLES", "")
    for name in wanted:
        path = Path(folder) / f"{name}.parquet"
        if name == "flights":
            yield _table(name, demo_table("flights").to_pandas())
        elif folder and path.exists():
            yield _table(name, pd.read_parquet(path))


def _table(name: str, frame: pd.DataFrame) -> Table:
    target, others = _LEFT_OUT[name]
    frame = frame[frame[target].notna()].reset_index(drop=True)
    y = frame[target]
    if y.dtype.kind not in "iuf":
        y = y.astype(str) == sorted(y.astype(str).unique())[-1]
    frame = frame.drop(columns=[target, *(c for c in others.split() if c in frame)])
    numbers = {str(c): frame[c].dtype.kind in "iuf" for c in frame.columns}
    kinds: dict[str, Kind] = {c: "numeric" if n else "categorical" for c, n in numbers.items()}
    return Table(name, frame, y.to_numpy(dtype=float), kinds)


def champion(table: Table, rng: np.random.Generator, *, shuffled: bool = True) -> Champion:
    """Return a champion of some of the rows, with times over eight weeks."""
    n = min(TRAINING, len(table.frame) * 6 // 10)
    order = rng.permutation(len(table.frame)) if shuffled else np.arange(len(table.frame))
    rows = order[:n]
    frame, y = table.frame.iloc[rows], table.y[rows]
    times = (
        np.datetime64("2026-01-05", "us")
        + np.sort(rng.integers(0, WEEKS * 7 * 86_400, n)).astype(np.int64) * _SECOND
    )
    codes = _codes(table)
    model = _fit(codes(frame), y)
    seen = np.zeros(n)
    for fold in range(5):
        out = np.arange(n) * 10 // n % 5 == fold
        seen[out] = np.asarray(_fit(codes(frame[~out]), y[~out]).predict(codes(frame[out])))

    def predict(some: pd.DataFrame) -> NDArray[np.generic]:
        return np.asarray(model.predict(codes(some)))

    reference = build_reference(frame, table.kinds, times, WEEK)
    importance = _importance(predict, frame, y, rng)
    weights = watched(reference, importance)
    blocks = ordinary_blocks(reference, lambda at: frame.iloc[at], times, weights)
    sample = np.linspace(0, n - 1, min(MOST_ROWS, n)).astype(int)
    evidence = Evidence(Side(frame.iloc[sample], times[sample]), None, predict, blocks)
    return Champion(table, reference, importance, seen, times, evidence, rows, order[n:])


def _codes(table: Table) -> Callable[[pd.DataFrame], NDArray[np.float64]]:
    levels = {c: sorted(_texts(table.frame[c]).unique()) for c, k in table.kinds.items()
              if k == "categorical"}  # fmt: skip

    def codes(frame: pd.DataFrame) -> NDArray[np.float64]:
        columns = [
            pd.Index(levels[c]).get_indexer(_texts(frame[c])).astype(float) if c in levels
            else frame[c].to_numpy(dtype=float) for c in table.kinds
        ]  # fmt: skip
        return np.column_stack(columns)

    return codes


def _texts(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.astype(object).where(column.notna(), "").astype(str)


def _fit(x: NDArray[np.float64], y: NDArray[np.float64]) -> lightgbm.Booster:
    binary = set(np.unique(y)) <= {0.0, 1.0}
    settings = {"objective": "binary" if binary else "l2", "num_threads": 1, "verbosity": -1}
    return lightgbm.train(settings, lightgbm.Dataset(x, y), 50)


def _importance(
    predict: Callable[[pd.DataFrame], NDArray[np.generic]],
    frame: pd.DataFrame,
    y: NDArray[np.float64],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Return the increase of the squared error when a column is shuffled, the greatest ten."""
    rows = rng.choice(len(frame), min(2_000, len(frame)), replace=False)
    some, truth = frame.iloc[rows], y[rows]

    def error(of: pd.DataFrame) -> float:
        return float(((np.asarray(predict(of), dtype=float) - truth) ** 2).mean())

    base = error(some)
    found = {
        str(c): error(some.assign(**{str(c): rng.permutation(some[c].array)})) - base
        for c in some.columns
    }
    return dict(sorted(found.items(), key=lambda item: -item[1])[:10])


Fault = Callable[[pd.DataFrame, Champion, np.random.Generator], "tuple[pd.DataFrame, str] | None"]


def _important(at: Champion, kind: str) -> list[str]:
    weights = watched(at.reference, at.importance)
    return [c for c, w in weights.items() if at.table.kinds[c] == kind and w >= 0.3]


def shift(
    window: pd.DataFrame, at: Champion, rng: np.random.Generator
) -> tuple[pd.DataFrame, str] | None:
    """Move an important column of numbers by 0.3 standard deviations."""
    columns = [c for c in _important(at, "numeric") if at.table.frame[c].nunique() >= 30]
    if not columns:
        return None
    column = columns[int(rng.integers(len(columns)))]
    by = 0.3 * float(at.table.frame[column].std())
    return window.assign(**{column: window[column].astype(float) + by}), column


def new_level(
    window: pd.DataFrame, at: Champion, rng: np.random.Generator
) -> tuple[pd.DataFrame, str] | None:
    """Give a tenth of the rows a level that was never seen."""
    columns = [c for c, kind in at.table.kinds.items() if kind == "categorical"]
    if not columns:
        return None
    column = columns[int(rng.integers(len(columns)))]
    new = rng.permutation(len(window)) < len(window) // 10
    return window.assign(**{column: window[column].astype(str).mask(new, "never seen")}), column


def broken_correlation(
    window: pd.DataFrame, at: Champion, rng: np.random.Generator
) -> tuple[pd.DataFrame, str] | None:
    """Shuffle an important column that is correlated with another important one."""
    columns = _important(at, "numeric")
    ranks = at.table.frame[columns].corr("spearman").abs()
    found = [c for c in columns if (ranks[c].drop(c) >= 0.5).any()]
    if not found:
        return None
    column = found[int(rng.integers(len(found)))]
    return window.assign(**{column: rng.permutation(window[column].array)}), column


FAULTS: dict[str, Fault] = {
    "shift": shift, "new level": new_level, "broken correlation": broken_correlation,
}  # fmt: skip


def permuted(at: Champion, rows: int, windows: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return how many of the windows are unusual, and how many harmful."""
    found = [at.look(at.window(rows, rng), _times(rows)) for _ in range(windows)]
    return sum(one.alarm for one in found), sum(one.harmful for one in found)


def power(
    at: Champion, fault: Fault, rows: int, windows: int, rng: np.random.Generator
) -> tuple[int, int, int]:
    """Return windows, and how many are unusual and harmful."""
    tried = unusual = harmful = 0
    for _ in range(windows):
        broken = fault(at.window(rows, rng), at, rng)
        if broken is None:
            break
        result = at.look(broken[0], _times(rows))
        tried += 1
        unusual += result.alarm
        harmful += result.harmful
    return tried, unusual, harmful


def segments(at: Champion, windows: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """Return how often labels of a segment were flipped, it was found, and any without a flip."""
    learned = at.table.frame.iloc[at.learned]
    shares = {
        (c, v): share
        for c, kind in at.table.kinds.items() if kind == "categorical"
        for v, share in _texts(learned[c]).value_counts(normalize=True).items()
    }  # fmt: skip
    chosen = [place for place, share in shares.items() if 0.05 <= share <= 0.5]
    if not chosen or not set(np.unique(at.table.y)) <= {0.0, 1.0}:
        return 0, 0, 0
    found = false = 0
    for _ in range(windows):
        column, value = chosen[int(rng.integers(len(chosen)))]
        rows = rng.choice(at.rest, 3_000, replace=False)
        own = (_texts(at.table.frame[column].iloc[rows]) == value).to_numpy()
        predict, truth = at.evidence.predict, at.table.y[rows]
        assert predict is not None
        p = np.asarray(predict(at.table.frame.iloc[rows]), dtype=float)
        reference = _scored(at, at.learned, at.table.y[at.learned], at.seen, at.times, column)
        looks = [
            [
                judge_segments(
                    [
                        _scored(at, rows[a:b], labels[a:b], p[a:b], _times(b - a), column)
                        for a in range(b - 1_000, -1, -1_000)
                    ],
                    reference, min_rows=100, false_alarms=ALPHA, length=WEEK,
                )
                for b in (1_000, 2_000, 3_000)
            ]
            for labels in (np.where(own, 1 - truth, truth), truth)
        ]  # fmt: skip
        found += any(one.worse and one.value == value for look in looks[0] for one in look)
        false += any(one.worse for one in looks[1][0])
    return windows, found, false


def _scored(
    at: Champion,
    rows: NDArray[np.int64],
    truth: NDArray[np.float64],
    p: NDArray[np.float64],
    times: NDArray[np.datetime64],
    column: str,
) -> Scored:
    both = np.column_stack([1 - p, p])
    known = np.ones(len(rows), dtype=bool)
    answers = Answers(truth.astype(np.int64), (p > 0.5).astype(np.int64), both, times, known)
    return Scored(answers, {column: _texts(at.table.frame[column].iloc[rows]).to_numpy()})


def _times(rows: int) -> NDArray[np.datetime64]:
    start = np.datetime64("2026-01-05", "us") + WEEKS * 7 * 86_400 * _SECOND
    return start + (np.arange(rows) * (7 * 86_400 / rows)).astype(np.int64) * _SECOND


def untouched(table: Table, rows: int, windows: int) -> tuple[int, int, int]:
    """Return windows of a table in its own order, and how many are unusual and harmful."""
    at = champion(table, np.random.default_rng(0), shuffled=False)
    starts = np.linspace(0, len(at.rest) - rows, windows).astype(int)
    found = [at.look(table.frame.iloc[at.rest[s : s + rows]], _times(rows)) for s in starts]
    return len(found), sum(one.alarm for one in found), sum(one.harmful for one in found)


def main() -> int:
    """Print the figures; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=40, help="a table, size and champion")
    parser.add_argument("--champions", type=int, default=2)
    parser.add_argument("--tables", default=",".join(n for n in _LEFT_OUT if n != "employment_ma"))
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    windows = 4 if asked.quick else asked.windows
    started = time.perf_counter()
    level: dict[int, list[int]] = {rows: [0, 0, 0] for rows in (200, 1_000, 5_000)}
    faults: dict[str, list[int]] = {name: [0, 0, 0] for name in FAULTS}
    print(f"{'table':<24}{'rows':>7}{'windows':>9}{'unusual':>9}{'harmful':>9}")
    for number, table in enumerate(tables(asked.tables.split(","))):
        for seed in range(1 if asked.quick else asked.champions):
            rng = np.random.default_rng([number, seed])
            at = champion(table, rng)
            for rows, sums in level.items():
                if rows <= len(at.rest):
                    counted = (windows, *permuted(at, rows, windows, rng))
                    _add(sums, counted)
                    _line(f"{table.name}, nothing", rows, counted)
            for name, fault in FAULTS.items():
                found = power(at, fault, 1_000, max(2, windows // 4), rng)
                if found[0]:
                    _add(faults[name], found)
                    _line(f"{table.name}, {name}", 1_000, found)
            tried, seen, false = segments(at, windows, rng)
            if tried:
                print(f"{table.name}: flipped segment found {seen} of {tried}, any {false}")
    for table in tables(["employment_ma"]):
        _line("employment, untouched", 1_000, untouched(table, 1_000, windows))
    missed = _told(level, faults)
    print(f"{time.perf_counter() - started:.0f} s")
    return int(missed and not asked.quick)


def _told(level: dict[int, list[int]], faults: dict[str, list[int]]) -> bool:
    """Print the sums; return whether a bar is missed."""
    missed = False
    for rows, (n, unusual, harmful) in level.items():
        most = [upper(count, max(n, 1)) for count in (unusual, harmful)]
        missed |= max(most) > 1.5 * ALPHA
        print(f"nothing changed, {rows:,} rows: unusual {unusual / max(n, 1):.1%} (at most "
              f"{most[0]:.1%}), harmful {harmful / max(n, 1):.1%} (at most {most[1]:.1%}) of "
              f"{n} windows")  # fmt: skip
    for name, (n, unusual, harmful) in faults.items():
        if n:
            print(f"{name}: unusual {unusual / n:.0%}, harmful {harmful / n:.0%} of {n} windows")
    return missed


def _add(sums: list[int], found: tuple[int, ...]) -> None:
    for place, count in enumerate(found):
        sums[place] += count


def _line(name: str, rows: int, found: tuple[Any, ...]) -> None:
    n, unusual, harmful = found
    print(f"{name:<34}{rows:>7,}{n:>6}{unusual / n:>9.1%}{harmful / n:>9.1%}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
