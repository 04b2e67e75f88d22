"""How often monitoring raises a false alarm, and what it finds.

    python tests/benchmarks/drift_alarms.py [--trials 400] [--quick]

- Permuted: reference and window are drawn from the same shuffled table, so nothing drifted; any
  alarm is false. It proves the tests.
- Ordinary weeks: a week of flights held out of its reference, and the week that follows it. It
  proves the operating limits.
- Power: one column shifted by 0.3 standard deviations in 1,000 rows.
- Gradual: one column shifted by 0.05 standard deviations more in each window.
- Gross faults: a column of an ordinary week of flights broken, with the limits of two months.

KEEPFIT_TABLES may name a folder with more tables, as Parquet.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta

from tasks.base.monitoring_records import DriftResult
from tasks.base.settings.sources import DemoName
from tasks.base.training_records import Kind
from tasks.data.sources.demos import demo_table
from tasks.monitoring.drift.detector import measure
from tasks.monitoring.drift.reference_summary import Reference, build_reference

ALPHA = 0.05
WEEK = timedelta(days=7)
REFERENCE, WINDOW = 5_000, 1_000
_NO_FEATURES = {
    "flight_id", "time_hour", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time",
    "arr_late",
}  # fmt: skip
_MORE = (
    "adult", "bank_marketing", "credit_default_taiwan", "electricity", "telco_churn", "diamonds",
    "lending_club",
)  # fmt: skip
_DEMOS: tuple[DemoName, ...] = ("flights", "digits", "diabetes", "breast_cancer")


@dataclass(frozen=True)
class Table:
    """A real table and what its columns are."""

    name: str
    frame: pd.DataFrame
    features: dict[str, Kind]

    @property
    def numeric(self) -> list[str]:
        """Columns of numbers with at least 30 values."""
        return [
            name
            for name, kind in self.features.items()
            if kind == "numeric" and self.frame[name].nunique() >= 30
        ]


def tables() -> Iterator[Table]:
    """Return the bundled tables, and those of the folder KEEPFIT_TABLES."""
    for name in _DEMOS:
        yield _table(name, demo_table(name).to_pandas())
    folder = os.environ.get("KEEPFIT_TABLES")
    for name in _MORE if folder else ():
        path = Path(str(folder)) / f"{name}.parquet"
        if path.exists():
            yield _table(name, pd.read_parquet(path))


def _table(name: str, frame: pd.DataFrame) -> Table:
    features: dict[str, Kind] = {}
    for column in frame.columns:
        kind = frame[column].dtype.kind
        if column not in _NO_FEATURES and kind != "M":
            features[str(column)] = "numeric" if kind in "iuf" else "categorical"
    return Table(name, frame, features)


def _sides(table: Table, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return reference and window, drawn from the table without replacement."""
    rows = len(table.frame)
    wanted = min(REFERENCE, rows * 2 // 3), min(WINDOW, rows // 3)
    chosen = rng.choice(rows, sum(wanted), replace=False)
    return table.frame.iloc[chosen[: wanted[0]]], table.frame.iloc[chosen[wanted[0] :]]


def _look(reference: Reference, window: pd.DataFrame) -> DriftResult:
    return measure(reference, window, false_alarms=ALPHA, min_rows=50)


def upper(count: int, trials: int) -> float:
    """Return the one-sided 95 % upper bound of a rate (Clopper and Pearson 1934)."""
    return 1.0 if count == trials else float(beta.ppf(0.95, count + 1, trials - count))


def permuted(table: Table, trials: int, seed: int = 0) -> int:
    """Return the alarms of `trials` windows that are drawn as their reference is."""
    rng = np.random.default_rng(seed)
    count = 0
    for _ in range(trials):
        reference, window = _sides(table, rng)
        made = build_reference(reference, table.features, None, WEEK)
        count += _look(made, window).alarm
    return count


def power(table: Table, shift: float, trials: int, seed: int = 0) -> float:
    """Return the share of windows in which a column shifted by `shift` deviations is found."""
    rng = np.random.default_rng(seed)
    found = 0
    for trial in range(trials):
        reference, window = _sides(table, rng)
        column = table.numeric[trial % len(table.numeric)]
        made = build_reference(reference, table.features, None, WEEK)
        result = _look(made, _shifted(window, column, shift * float(table.frame[column].std())))
        found += result.alarm and column in {finding.column for finding in result.drifted}
    return found / trials


def _shifted(window: pd.DataFrame, column: str, by: float) -> pd.DataFrame:
    return window.assign(**{column: window[column].astype(float) + by})


def flights() -> tuple[Table, pd.Series[Any]]:
    """Return the flights and their times."""
    table = _table("flights", demo_table("flights").to_pandas())
    return table, table.frame["time_hour"].dt.tz_localize(None)


def _weeks(times: pd.Series[Any], first: int, last: int) -> Any:
    """Return which rows lie in the weeks `first` to `last`, the last one left out."""
    start = pd.Timestamp("2012-12-31")
    return ((times >= start + first * WEEK) & (times < start + last * WEEK)).to_numpy()


def ordinary(weeks: int, most: int, seed: int = 0) -> tuple[int, int, int, int]:
    """Return alarms and windows: of weeks held out of the reference, and of following weeks.

    Parameters
    ----------
    weeks
        Length of the reference.
    most
        How many references at most.
    """
    table, times = flights()
    rng = np.random.default_rng(seed)
    starts = rng.permutation(np.arange(1, 52 - weeks - 1))[:most]
    held = following = 0
    for start in starts:
        whole = _weeks(times, start, start + weeks + 1)
        out = int(rng.integers(start, start + weeks + 1))
        missing = _weeks(times, out, out + 1)
        held += _alarm(table, times, whole & ~missing, missing)
        reference = _weeks(times, start, start + weeks)
        window = _weeks(times, start + weeks, start + weeks + 1)
        following += _alarm(table, times, reference, window)
    return held, len(starts), following, len(starts)


def _alarm(table: Table, times: pd.Series[Any], reference: Any, window: Any) -> bool:
    made = build_reference(
        table.frame[reference], table.features, times[reference].to_numpy(), WEEK
    )
    return _look(made, table.frame[window]).alarm


Fault = Callable[["pd.Series[Any]", np.random.Generator], "pd.Series[Any]"]


def _nulls(share: float) -> Fault:
    return lambda column, rng: column.mask(rng.random(len(column)) < share)


def _constant(column: pd.Series[Any], rng: np.random.Generator) -> pd.Series[Any]:
    return pd.Series(column.dropna().iloc[0], index=column.index)


def _thousandfold(column: pd.Series[Any], rng: np.random.Generator) -> pd.Series[Any]:
    return column * 1000 + 1000


def _sentinel(column: pd.Series[Any], rng: np.random.Generator) -> pd.Series[Any]:
    return column.mask(rng.random(len(column)) < 0.5, -1)


def _unseen(column: pd.Series[Any], rng: np.random.Generator) -> pd.Series[Any]:
    return column.mask(rng.random(len(column)) < 0.5, "never seen")


FAULTS: dict[str, tuple[Fault, str]] = {
    "all null": (_nulls(1.0), "any"),
    "80 % null": (_nulls(0.8), "any"),
    "constant": (_constant, "any"),
    "other unit": (_thousandfold, "numeric"),
    "half are -1": (_sentinel, "numeric"),
    "half are unseen": (_unseen, "categorical"),
}


def gross(quick: bool = False) -> dict[str, tuple[int, int, list[str]]]:
    """Return per fault how often it is found, of how many columns, and where it is not."""
    table, times = flights()
    made = _two_months(table, times)
    window = table.frame[_weeks(times, 9, 10)]
    rng = np.random.default_rng(0)
    found = {}
    for name, (fault, kind) in FAULTS.items():
        missed, tried = [], 0
        columns = [c for c, k in table.features.items() if kind in ("any", k)]
        for column in columns[:: 4 if quick else 1]:
            result = _look(made, window.assign(**{column: fault(window[column], rng)}))
            seen = column in {finding.column for finding in result.drifted}
            tried += 1
            if not (result.alarm and seen):
                missed.append(column)
        found[name] = tried - len(missed), tried, missed
    return found


def _two_months(table: Table, times: pd.Series[Any]) -> Reference:
    first = (times < pd.Timestamp("2013-03-01")).to_numpy()
    return build_reference(table.frame[first], table.features, times[first].to_numpy(), WEEK)


def gradual(table: Table, trials: int, seed: int = 0) -> list[int]:
    """Return in which window (1 to 10, 11: never) a shift of 0.05 deviations each is found."""
    rng = np.random.default_rng(seed)
    at = []
    for trial in range(trials):
        column = table.numeric[trial % len(table.numeric)]
        reference, _ = _sides(table, rng)
        made = build_reference(reference, table.features, None, WEEK)
        deviation = float(table.frame[column].std())
        at.append(11)
        for window in range(1, 11):
            rows = _sides(table, rng)[1]
            result = _look(made, _shifted(rows, column, 0.05 * window * deviation))
            if result.alarm and column in {finding.column for finding in result.drifted}:
                at[-1] = window
                break
    return at


def gradual_weeks() -> dict[str, int]:
    """Return per column of the flights in which of the weeks after two months it is found."""
    table, times = flights()
    made = _two_months(table, times)
    at = {}
    for column in table.numeric:
        deviation = float(table.frame[column].std())
        at[column] = 11
        for window in range(1, 11):
            rows = table.frame[_weeks(times, 8 + window, 9 + window)]
            result = _look(made, _shifted(rows, column, 0.05 * window * deviation))
            if result.alarm and column in {finding.column for finding in result.drifted}:
                at[column] = window
                break
    return at


def main() -> int:
    """Print the figures; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="few trials, to see that it runs")
    asked = parser.parse_args()
    trials = 10 if asked.quick else asked.trials
    started = time.perf_counter()
    missed = False
    print(f"{'permuted tables':<26}{'windows':>9}{'alarms':>9}{'95 % upper':>12}")
    everything = list(tables())
    for table in everything:
        count = permuted(table, trials)
        missed |= not asked.quick and upper(count, trials) > 1.5 * ALPHA
        print(f"{table.name:<26}{trials:>9}{count / trials:>9.1%}{upper(count, trials):>12.1%}")
    print(f"\n{'weeks of flights':<26}{'windows':>9}{'alarms':>9}")
    for weeks, most in ((8, 40), (13, 36), (26, 24)):
        held, n, following, m = ordinary(weeks, 2 if asked.quick else most)
        print(f"{f'held out of {weeks + 1}':<26}{n:>9}{held / n:>9.1%}")
        print(f"{f'following {weeks}':<26}{m:>9}{following / m:>9.1%}")
    print(f"\n{'shift of one column':<26}{'rows':>9}{'found':>9}{'gradual, found in window':>28}")
    for table in everything:
        rows = min(WINDOW, len(table.frame) // 3)
        found = power(table, 0.3, max(4, trials // 4))
        at = gradual(table, max(4, trials // 10))
        if rows == WINDOW and not asked.quick:
            missed |= found < 0.9 or float(np.quantile(at, 0.9)) > 6
        said = f"median {np.median(at):.0f}, 90 % {np.quantile(at, 0.9):.0f}"
        print(f"{table.name + ', 0.3 SD':<26}{rows:>9}{found:>9.1%}{said:>28}")
    print("\ngradual shift in real weeks after January and February, found in week (11: never)")
    for column, week in ({} if asked.quick else gradual_weeks()).items():
        print(f"  {column:<24}{week:>9}")
    print("\ngross faults in a week of March, limits of January and February")
    for name, (found_in, tried, where) in gross(asked.quick).items():
        print(f"  {name:<24}{found_in:>4} of {tried:<4}{', '.join(where)}")
    print(f"\n{time.perf_counter() - started:.0f} s")
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
