"""The probation of a replay's champions, by the functions that production calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.backtest.history import History
from tasks.backtest.observation import Champion, Monitor
from tasks.base.config import PipelineConfig
from tasks.base.runtime.libraries import pd
from tasks.monitoring.probation.promotion_chain import Chain, Move, chain_of, differences_of
from tasks.monitoring.probation.verdict import judge_probation


@dataclass(frozen=True)
class Trial:
    """The end of a probation: its record, and the version that scores from the next window on.

    A version that comes back is looked at from the window on at whose end it does.
    """

    move: Move
    champion: Champion
    sentence: str


def trial_of(
    history: History,
    config: PipelineConfig,
    monitor: Monitor,
    served: Sequence[Champion],
    moves: Sequence[Move],
) -> Trial | None:
    """Return the end of the probation after the last of the `served` windows; None without one.

    `served`: champion of each window so far; `moves`: promotions and ends of probations so far, the
    newest first.
    """
    champion = served[-1]
    chain = chain_of(champion.version, moves) if config.policy.probation else None
    if chain is None:
        return None
    now = history.windows[len(served) - 1].end
    by_version = {one.version: one for one in served}
    base = by_version[chain.base]
    tried = _windows(served, chain)
    verdict = judge_probation(
        [_known(history, monitor, served[w], w, now) for w in tried],
        [_known(history, monitor, base, w, now) for w in tried],
        roles=history.roles,
        metric=history.metric,
        windows=[history.windows[w] for w in tried],
        confidence=config.gate.confidence,
        needed=config.policy.probation,
        seed=config.training.seed,
        min_rows=config.monitoring.min_rows,
        earlier=differences_of(moves, history.metric),
    )
    if verdict.state == "running":
        return None
    if verdict.state == "rolled_back":
        judged, champion = base, base.model_copy(update={"since": len(served) - 1})
    else:
        judged = next(served[w] for w in tried if history.windows[w] == verdict.until)
    move = Move(
        kind=verdict.state,
        version=judged.version,
        metric=history.metric,
        differences=verdict.differences,
    )
    return Trial(move, champion, verdict.sentence)


def promotion(champion: Champion, former: Champion, *, refit: bool) -> Move:
    """Return the move by which a replay's `champion` replaces the `former` one."""
    return Move(kind="promoted", version=champion.version, former=former.version, refit=refit)


def _windows(served: Sequence[Champion], chain: Chain) -> list[int]:
    """Return the windows that members of the chain scored since they replaced its base."""
    found: list[int] = []
    for window in reversed(range(len(served))):
        if served[window].version not in chain.members:
            break
        found.insert(0, window)
    return found


def _known(
    history: History, monitor: Monitor, champion: Champion, window: int, now: datetime
) -> pd.DataFrame:
    """Return predictions of the rows of a window whose label is known at `now`."""
    first, last = history.bounds(window)
    last = min(last, history.labelled(now))
    if last <= first:
        return pd.DataFrame()
    return monitor.rows(champion.model, first, last, known=True).assign(key=range(first, last))
