"""Small histories whose target's dependence changes, replayed with a model that fits at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.backtest.engine import Replay, State
from tasks.backtest.fits import Fits, FittedModel
from tasks.backtest.history import History
from tasks.backtest.observation import Monitor
from tasks.backtest.policies import Policy, policies_of
from tasks.base.config import PipelineConfig
from tasks.base.monitoring_records import Window
from tasks.base.training_records import Schema, Snapshot

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = timedelta(days=7)
ROLES = Schema(
    target="y", task="regression", features={"a": "numeric", "b": "numeric"}, time_column="t"
)


def table(
    weeks: int = 12, rows: int = 60, *, seed: int = 0, change: int | None = 6
) -> pd.DataFrame:
    """Return `rows` rows a week, of which the target depends otherwise from week `change` on."""
    rng = np.random.default_rng(seed)
    n = weeks * rows
    frame = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n)})
    micros = np.sort(rng.choice(int(WEEK.total_seconds()) * weeks, n, replace=False)) * 1_000_000
    frame["t"] = micros + int(START.timestamp()) * 1_000_000
    slope = np.ones(n)
    if change is not None:
        slope[micros >= change * WEEK.total_seconds() * 1e6] = -1.0
    frame["y"] = 3 * slope * frame["a"] + frame["b"] + rng.normal(scale=0.5, size=n)
    return frame


def history_of(frame: pd.DataFrame, *, first: int = 3, delay: timedelta = timedelta(0)) -> History:
    """Return the history of a table, cut into weeks; the first training has `first` of them."""
    weeks = int((frame["t"].max() / 1e6 - START.timestamp()) // WEEK.total_seconds()) + 1
    windows = tuple(
        Window(start=START + w * WEEK, end=START + (w + 1) * WEEK) for w in range(first, weeks)
    )
    made = History(
        snapshot=Snapshot(path="", digest="", rows=len(frame), kinds={}),
        roles=ROLES,
        metric="rmse",
        times=frame["t"].to_numpy(np.int64),
        y=frame["y"].to_numpy(np.float64),
        windows=windows,
        delay=delay,
        start=START,
    )
    made.__dict__["frame"] = frame[["a", "b"]]
    return made


def config_of(**policy: object) -> PipelineConfig:
    """Return the settings of a pipeline over such a table."""
    return PipelineConfig.model_validate(
        {
            "name": "small",
            "target": "y",
            "task": "regression",
            "metric": "rmse",
            "time_column": "t",
            "source": {"kind": "parquet", "path": "small.parquet"},
            "training": {"window": "21d"},
            "monitoring": {"window": "7d", "min_rows": 20},
            "policy": {"cooldown": "0s", "persistence": "1 of 1", **policy},
        }
    )


@dataclass(frozen=True)
class LeastSquares:
    """Fits a plane, in this process."""

    identity: str = "plane"

    def __call__(self, history: History, first: int, last: int, folder: Path) -> FittedModel:
        """Fit rows [first, last) and predict the rows from `last` on."""
        X = np.column_stack([history.frame.to_numpy(), np.ones(history.rows)])
        weights, *_ = np.linalg.lstsq(X[first:last], history.y[first:last], rcond=None)
        path = folder / "later.npz"
        np.savez(path, predicted=X[last:] @ weights)
        return FittedModel(
            key=f"{first}-{last}",
            first=first,
            last=last,
            seconds=0.01,
            predictions_path=str(path),
        )


def replay_of(
    history: History, config: PipelineConfig, folder: Path, *, side_by_side: int = 1
) -> Replay:
    """Return a replay that keeps its files in `folder`."""
    fits = Fits(history, LeastSquares(), folder / "fits", side_by_side=side_by_side)
    return Replay(
        history, config, fits, Monitor(history, config, folder / "windows", fits), "plane"
    )


def played(
    replay: Replay, policies: tuple[Policy, ...] | None = None, until: int | None = None
) -> tuple[State, ...]:
    """Return the states after all windows, or after those before `until`."""
    history = replay.history
    first = history.windows[0].start - history.start
    states = replay.begin(policies or policies_of(replay.config, len(history.windows), first))
    for window in range(len(history.windows) if until is None else until):
        states = replay.step(states, window)
    return states


def without(frame: pd.DataFrame, moment: datetime, *, seed: int) -> pd.DataFrame:
    """Return the table with all rows from `moment` on drawn anew, their times apart."""
    rng = np.random.default_rng(seed)
    later = (frame["t"] >= moment.timestamp() * 1e6).to_numpy()
    changed = frame.copy()
    for column in ("a", "b", "y"):
        values = rng.normal(5, 9, size=int(later.sum()))
        changed.loc[later, column] = values
    return changed


def labels_changed(frame: pd.DataFrame, moment: datetime, *, seed: int) -> pd.DataFrame:
    """Return the table with the labels of all rows from `moment` on drawn anew."""
    rng = np.random.default_rng(seed)
    later = (frame["t"] >= moment.timestamp() * 1e6).to_numpy()
    changed = frame.copy()
    changed.loc[later, "y"] = rng.normal(5, 9, size=int(later.sum()))
    return changed


def decisions(state: State) -> tuple[object, ...]:
    """Return what a policy decided and on what, without the files it is kept in."""
    return (
        tuple((c.model.first, c.model.last, c.held, c.since) for c in state.served),
        state.flags,
        state.gains,
        tuple((a.window, a.champion.model.last) for a in state.alarmed),
        state.events,
        state.moves,
        state.last_training,
        state.seen,
    )
