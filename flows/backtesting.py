"""Backtesting: history → windows → every policy looks, decides, trains → comparison."""

from __future__ import annotations

from time import monotonic

from flows.run_lifecycle import named, pipeline_of_run
from tasks.backtest.engine import Replay, State
from tasks.backtest.results import BacktestOutcome
from tasks.backtest.run import BacktestRequest
from tasks.orchestration.declarations import flow
from tasks.replay import begin_more, begin_replay, compare_policies, load_history, replay_window


@flow("backtesting", run_name=named)
def backtesting(pipeline: str, request: BacktestRequest) -> BacktestOutcome:
    """Replay the history of a pipeline file under several policies and recommend one."""
    # Neither champion nor ledger nor alerts are touched.
    began = monotonic()
    plan = pipeline_of_run(pipeline)
    replay = load_history(plan, request)
    states = _replayed(replay, begin_replay(plan, request, replay))
    more = () if request.quick else _replayed(replay, begin_more(replay, states))
    return compare_policies(plan, request, replay, (*states, *more), monotonic() - began)


def _replayed(replay: Replay, states: tuple[State, ...]) -> tuple[State, ...]:
    began = monotonic()
    for window in range(replay.size if states else 0):
        states = replay_window(replay, states, window, began)
    return states
