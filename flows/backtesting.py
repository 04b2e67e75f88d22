"""Backtesting: history → windows → every policy looks, decides, trains → comparison."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

from prefect import flow

from flows.accounting import run_name
from tasks.backtest.results import BacktestOutcome
from tasks.backtest.run import BacktestRequest
from tasks.base.known import pipeline_in_use
from tasks.replay import begin_more, begin_replay, compare_policies, load_history, replay_window


@flow(name="backtesting", flow_run_name=run_name)
def backtesting(pipeline: str, asked: BacktestRequest) -> BacktestOutcome:
    """Replay the history of a pipeline file under several policies and recommend one.

    Neither champion nor ledger nor alerts are touched.

    Parameters
    ----------
    pipeline
        Path of the pipeline file.
    """
    began = monotonic()
    plan = pipeline_in_use(Path(pipeline))
    replay = load_history(plan, asked)
    states = begin_replay(plan, asked, replay)
    for window in range(replay.size):
        states = replay_window(replay, states, window)
    more = () if asked.quick else begin_more(replay, states)
    for window in range(replay.size if more else 0):
        more = replay_window(replay, more, window)
    return compare_policies(plan, asked, replay, (*states, *more), monotonic() - began)
