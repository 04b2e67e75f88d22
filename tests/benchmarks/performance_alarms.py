"""How often an ordinary window counts as worse, and how often one that is worse is found.

    python tests/benchmarks/performance_alarms.py [--trials 400]

Rows lie in time. In every trial a holdout of some windows' length and the window after it come
from one world: the model is as good in both on average, and in some worlds has good and bad weeks
or days. An alarm on such a window is false. Then the window's true ROC AUC is lowered by 0.05.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from scipy.stats import beta

from tasks.base.loop import Window
from tasks.base.records import Schema
from tasks.monitoring.performance import assess_window

SCHEMA = Schema(
    target="y", task="binary", features={}, classes=("0", "1"), positive="1", time_column="t"
)
WEEK = timedelta(days=7)
FALSE_ALARMS = 0.05
SIGNAL, FALLEN = 1.20, 0.966
"""Distance of the classes' scores: a ROC AUC of 0.80, and of 0.75."""


@dataclass(frozen=True)
class World:
    """Weeks of so many rows; the model's signal varies from week to week and day to day."""

    name: str
    rows: int
    weeks: int
    weekly: float = 0.0
    daily: float = 0.0
    labelled: bool = True

    def draw(self, weeks: int, signal: float, rng: np.random.Generator) -> pd.DataFrame:
        """Return labelled predictions of so many weeks from 2026 on."""
        n = self.rows * weeks
        days = np.sort(rng.random(n)) * 7 * weeks
        y = (rng.random(n) < 0.3).astype(np.int64)
        of_week = rng.standard_normal(weeks)[(days // 7).astype(int)]
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
    World("days differ", 5_000, 1, daily=0.15),
    World("days differ", 5_000, 4, daily=0.15),
    World("no labels", 5_000, 4, labelled=False),
)


def alarm(world: World, signal: float, seed: int) -> bool:
    """Return whether a window whose model is as strong as `signal` counts as worse."""
    rng = np.random.default_rng(seed)
    holdout = world.draw(world.weeks, SIGNAL, rng)
    rows = world.draw(1, signal, rng)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    found = assess_window(
        rows if world.labelled else rows.assign(label=None),
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


def main() -> None:
    """Print both rates of every world with exact 95 % bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=400)
    trials = parser.parse_args().trials
    print(f"{trials} trials each; an alarm is due in {FALSE_ALARMS:.0%} of ordinary windows")
    print(f"{'world':14}{'rows':>7}{'holdout':>10}  false alarms (95 %)   found, AUC -0.05")
    for world in WORLDS:
        began = time.monotonic()
        false = sum(alarm(world, SIGNAL, seed) for seed in range(trials))
        low = beta.ppf(0.025, false, trials - false + 1) if false else 0.0
        high = beta.ppf(0.975, false + 1, trials - false)
        few = max(1, trials // 4)
        found = sum(alarm(world, FALLEN, 10_000 + seed) for seed in range(few))
        print(
            f"{world.name:14}{world.rows:7,}{world.weeks:6} wk.  "
            f"{false / trials:6.1%} ({low:.1%} to {high:.1%})   {found / few:6.1%}"
            f"   {time.monotonic() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
