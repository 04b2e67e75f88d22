"""Evidence of labels about a window, and about a champion on probation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tasks.base.monitoring_records import Decision, DriftResult, Gain
from tasks.base.training_records import Snapshot
from tasks.monitoring.monitored_window import Look
from tasks.monitoring.performance.measured_gain import measure_gain
from tasks.monitoring.performance.window_performance import performances_of
from tasks.monitoring.probation.evaluation import try_champion
from tasks.monitoring.probation.promotion_chain import MOVES, chain_of, moves_of, windows_of
from tasks.monitoring.windows.conclusion import Findings
from tasks.registry.open_pipeline import OpenPipeline


def judge(
    pipeline: OpenPipeline, look: Look, snapshot: Snapshot, drift: DriftResult, now: datetime
) -> Findings:
    """Return the findings of the window so far; a failed probation has moved the alias."""
    earlier = pipeline.ledger.decisions(pipeline.config.name, kinds=("monitored", *MOVES))
    tried = tuple(windows_of(chain_of(look.champion.version, moves_of(earlier)), earlier))
    performance = performances_of(pipeline, look, snapshot, earlier, now, tried)
    verdict, moved = try_champion(pipeline, look, snapshot, earlier, now)
    return Findings(
        drift=drift,
        performance=performance,
        probation=None if verdict is None else verdict.model_dump(mode="json"),
        moved=moved.sentence if moved is not None else "",
        decided=moved,
    )


def with_gain(pipeline: OpenPipeline, look: Look, found: Findings, now: datetime) -> Findings:
    """Return the findings with what retraining would bring, where something new is known of it."""
    if found.decided is not None and found.decided.kind == "rolled_back":
        # Another version scores now.
        return found
    earlier = pipeline.ledger.decisions(pipeline.config.name, kinds=("monitored",))
    gain = measure_gain(pipeline, look, found.performance, earlier, now)
    return found.model_copy(update={"gain": gain or _measured_before(look, earlier)})


def _measured_before(look: Look, earlier: Sequence[Decision]) -> Gain | None:
    """Return the last look's measurement of the same window, so that it is stated alike."""
    same = (d for d in earlier if d.window == look.window and d.version == look.champion.version)
    last = next(same, None)
    return None if last is None else last.read(Gain, "gain")
