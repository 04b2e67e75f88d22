"""Tasks: a history is cut into windows, each window replayed, policies compared."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.backtest import run
from tasks.backtest.run import conclude_replay, more_policies, prepare_replay
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.progress import Step, report
from tasks.orchestration.declarations import task
from tasks.registry.open_pipeline import OpenPipeline

if TYPE_CHECKING:
    from tasks.backtest.engine import Replay, State
    from tasks.backtest.results import BacktestOutcome
    from tasks.backtest.run import BacktestRequest


@task(name="load history")
def load_history(pipeline: Pipeline, request: BacktestRequest) -> Replay:
    """Read the source, cut it into windows, and search the first model."""
    replay = prepare_replay(pipeline, request)
    history = replay.history
    report(Step("history", f"{history.rows:,} rows, {len(history.windows)} windows to replay"))
    return replay


@task(name="begin replay")
def begin_replay(pipeline: Pipeline, request: BacktestRequest, replay: Replay) -> tuple[State, ...]:
    """Fit the model that every policy starts with."""
    states = run.begin_replay(pipeline, request, replay)
    report(Step("policies", ", ".join(state.policy.name for state in states)))
    return states


@task(name="choose training window")
def begin_more(replay: Replay, states: Sequence[State]) -> tuple[State, ...]:
    """Return policies to replay besides, where another training window is better beyond noise."""
    more = more_policies(replay, states)
    if more:
        report(Step("policies", ", ".join(state.policy.name for state in more)))
    return more


@task(name="replay window", run_name="window {window}")
def replay_window(
    replay: Replay, states: Sequence[State], window: int, began: float
) -> tuple[State, ...]:
    """Let every policy look at one window, decide and train; `began` is when the first was."""
    found = replay.step(states, window)
    left = (time.monotonic() - began) / (window + 1) * (replay.size - window - 1)
    named = str(replay.history.windows[window])
    report(Step("replay", named, window + 1, replay.size, left))
    return found


@task(name="compare policies")
def compare_policies(
    pipeline: OpenPipeline,
    request: BacktestRequest,
    replay: Replay,
    states: Sequence[State],
    began: float,
) -> BacktestOutcome:
    """Compare the policies on the same rows, recommend one, write page and MLflow runs."""
    outcome = conclude_replay(pipeline, request, replay, states, time.monotonic() - began)
    report(Step("compare", f"{len(outcome.policies)} policies"))
    return outcome
