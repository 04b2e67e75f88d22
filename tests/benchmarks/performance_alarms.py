"""How often an ordinary window counts as worse, and how often one that is worse is found.

    python -m tests.benchmarks.performance_alarms [--trials 400] [--worlds 'weeks differ']
    python -m tests.benchmarks.performance_alarms --histories

Rows lie in time. In every trial a holdout of some windows' length and the window after it come
from one world: the model is as good in both on average, and in some worlds has good and bad weeks
or days, or weeks that resemble the week before. An alarm on such a window is false. Then the
window's true ROC AUC is lowered by 0.05 and by 0.10. Where labels are known the limit is computed
as `assess_window` does, without the estimate that it makes besides.

With ``--histories`` no rows are drawn: the ROC AUC of 1 to 50 windows varies by a stated standard
deviation in logits around 0.94, each known to 0.007, and the next one stays or falls to 0.84.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from scipy.stats import beta

from tasks.base.monitoring_records import Window
from tasks.base.training_records import MetricValue, Schema
from tasks.monitoring.performance.expected_range import Measured, combined, measure, ordinary
from tasks.monitoring.performance.labelled_predictions import answers_of
from tasks.monitoring.performance.realised import assess_window

SCHEMA = Schema(
    target="y", task="binary", features={}, classes=("0", "1"), positive="1", time_column="t"
)
WEEK = timedelta(days=7)
FALSE_ALARMS = 0.05
SIGNAL, FALLEN, LOST = 1.20, 0.966, 0.742
"""Distance of the classes' scores: a ROC AUC of 0.80, of 0.75, and of 0.70."""
SPREAD = 0.007
"""Standard error of a window's ROC AUC with ``--histories``."""


@dataclass(frozen=True)
class World:
    """Weeks of so many rows; the model's signal varies from week to week and day to day.

    Attributes
    ----------
    weekly, daily
        Standard deviation of the signal.
    like
        Correlation of a week with the week before.
    """

    name: str
    rows: int
    weeks: int
    weekly: float = 0.0
    daily: float = 0.0
    like: float = 0.0
    labelled: bool = True

    def history(self, signal: float, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the holdout, and the week after it with a model as strong as `signal`."""
        shocks = rng.standard_normal(self.weeks + 1)
        for week in range(1, self.weeks + 1):
            shocks[week] = self.like * shocks[week - 1] + (1 - self.like**2) ** 0.5 * shocks[week]
        return self.draw(SIGNAL, shocks[:-1], rng), self.draw(signal, shocks[-1:], rng)

    def draw(self, signal: float, of_weeks: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        """Return labelled predictions of some weeks from 2026 on."""
        weeks = len(of_weeks)
        n = self.rows * weeks
        days = np.sort(rng.random(n)) * 7 * weeks
        y = (rng.random(n) < 0.3).astype(np.int64)
        of_week = of_weeks[(days // 7).astype(int)]
        of_day = rng.standard_normal(7 * weeks)[days.astype(int)]
        strength = signal + self.weekly * of_week + self.daily * of_day
        score = strength * y + rng.standard_normal(n)
        p = 1 / (1 + np.exp(1.57 - 1.2 * score))
        return pd.DataFrame(
            {
                "time": pd.Timestamp("2026-01-01") + pd.to_timedelta(days, unit="D"),
                "label": y,
                "prediction": (p > 0.5).astype(np.int64),
                "probability_0": 1 - p,
                "probability_1": p,
            }
        )


WORLDS = (
    World("steady", 5_000, 1),
    World("steady", 5_000, 2),
    World("steady", 5_000, 4),
    World("steady", 1_000, 4),
    World("weeks differ", 5_000, 1, weekly=0.08),
    World("weeks differ", 5_000, 2, weekly=0.08),
    World("weeks differ", 5_000, 4, weekly=0.08),
    World("weeks differ", 5_000, 8, weekly=0.08),
    World("weeks differ", 5_000, 4, weekly=0.16),
    World("weeks alike", 5_000, 4, weekly=0.08, like=0.5),
    World("weeks alike", 5_000, 8, weekly=0.08, like=0.5),
    World("days differ", 5_000, 1, daily=0.15),
    World("days differ", 5_000, 4, daily=0.15),
    World("no labels", 5_000, 4, labelled=False),
)


def alarm(world: World, signal: float, seed: int) -> bool:
    """Return whether a window whose model is as strong as `signal` counts as worse."""
    rng = np.random.default_rng(seed)
    holdout, rows = world.history(signal, rng)
    if world.labelled:
        return _beyond(holdout, rows, seed)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    found = assess_window(
        rows.assign(label=None),
        roles=SCHEMA,
        metric="roc_auc",
        version="1",
        window=Window(start=start, end=start + WEEK),
        holdout=holdout,
        label_delay=None,
        now=start + 2 * WEEK,
        false_alarms=FALSE_ALARMS,
        length=WEEK,
        seed=seed,
    )
    return found.worse


def _beyond(holdout: pd.DataFrame, rows: pd.DataFrame, seed: int) -> bool:
    known, new = answers_of(holdout, SCHEMA), answers_of(rows, SCHEMA)
    usual = ordinary(known, SCHEMA, "roc_auc", length=WEEK, min_rows=200, seed=seed)
    found = measure(new, SCHEMA, "roc_auc", seed=seed)
    assert usual is not None
    assert found is not None
    return found.value < usual.limit(found.spread, FALSE_ALARMS, greater=True)


def histories(trials: int) -> None:
    """Print how often the next window is an alarm, with few windows of history and with many."""
    print(f"{'windows':>8}{'sd':>6}  false alarms   found at 0.84")
    for windows in (1, 2, 4, 12, 50):
        for deviation in (0.1, 0.2, 0.4, 0.8):
            rng = np.random.default_rng(windows)
            moved = deviation * rng.standard_normal((trials, windows + 1))
            true = 1 / (1 + np.exp(-2.752 - moved))
            seen = np.clip(true + SPREAD * rng.standard_normal(true.shape), 0.01, 0.999)
            false = found = 0
            for *before, last in seen:
                known = [Measured(value, SPREAD, MetricValue(value=value)) for value in before]
                usual = combined(known[0], known, [], "roc_auc")
                limit = usual.limit(SPREAD, FALSE_ALARMS, greater=True)
                false += last < limit
                found += 0.84 + SPREAD * rng.standard_normal() < limit
            print(
                f"{windows:8}{deviation:6.1f}{false / trials:14.1%}{found / trials:16.1%}",
                flush=True,
            )


def main() -> None:
    """Print both rates of every world with exact 95 % bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--worlds", default="", help="names; absent: all")
    parser.add_argument("--histories", action="store_true", help="windows drawn without rows")
    given = parser.parse_args()
    trials = given.trials
    if given.histories:
        histories(trials)
        return
    print(
        f"{trials} trials each; an alarm is due in at most {FALSE_ALARMS:.0%} of ordinary windows"
    )
    print(
        f"{'world':14}{'sd':>5}{'rows':>7}{'holdout':>10}  false alarms (95 %)"
        "   found at AUC -0.05, -0.10"
    )
    for world in (w for w in WORLDS if not given.worlds or w.name in given.worlds.split(",")):
        began = time.monotonic()
        false = sum(alarm(world, SIGNAL, seed) for seed in range(trials))
        low = beta.ppf(0.025, false, trials - false + 1) if false else 0.0
        high = beta.ppf(0.975, false + 1, trials - false)
        few = max(1, trials // 4)
        found = [
            sum(alarm(world, signal, 10_000 + seed) for seed in range(few)) / few
            for signal in (FALLEN, LOST)
        ]
        varies = f"{world.weekly or world.daily or 0:.2f}"
        print(
            f"{world.name:14}{varies:>5}{world.rows:7,}{world.weeks:6} wk.  "
            f"{false / trials:6.1%} ({low:.1%} to {high:.1%})   {found[0]:6.1%} {found[1]:6.1%}"
            f"   {time.monotonic() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
