"""A promoted version on probation: compared with the former champion on the same rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks.base.errors import KeepfitError, TransientError
from tasks.base.monitoring_records import Decision, Window, decision_id
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import ModelVersion, Snapshot
from tasks.monitoring.monitored_window import Look
from tasks.monitoring.performance.window_performance import made_by, metric_of, unseen_rows
from tasks.monitoring.probation.promotion_chain import (
    Chain,
    Move,
    chain_of,
    differences_of,
    moves_of,
    windows_of,
)
from tasks.monitoring.probation.verdict import judge_probation
from tasks.registry.open_pipeline import OpenPipeline
from tasks.registry.version_files.holdouts import reference_predictions
from tasks.scoring.version_predictions import predictions_of
from tasks.serving.answered_rows import monitored_rows
from tasks.training.interrupted_promotion import move_and_record

_LOGGER = logging.getLogger(__name__)

if TYPE_CHECKING:
    from tasks.monitoring.probation.verdict import ProbationVerdict


def try_champion(
    pipeline: OpenPipeline,
    look: Look,
    snapshot: Snapshot,
    earlier: Sequence[Decision],
    now: datetime,
) -> tuple[ProbationVerdict | None, Decision | None]:
    """Judge the champion's probation with this window; move the alias back where it failed.

    Refits that replaced each other before a verdict are judged together, each on the windows that
    it scored, against the last champion that was confirmed.

    `earlier`: decisions about this pipeline, newest first. Returns: None when the champion is not
    on probation. of kind ``confirmed`` or ``rolled_back``, recorded; None while it goes on.
    """
    if not pipeline.config.policy.probation or look.window is None:
        return None, None
    moves = moves_of(earlier)
    chain = chain_of(look.champion.version, moves)
    base = None if chain is None else pipeline.store.version(pipeline.config.name, chain.base)
    if chain is None or base is None:
        return None, None
    _shadow(pipeline, snapshot, base)
    scored = _scored(pipeline, look, chain, earlier)
    if not scored:
        return None, None
    verdict = _judged(pipeline, look.champion, base, scored, moves)
    if verdict.state == "running":
        return verdict, None
    return verdict, _concluded(pipeline, look, base, scored, verdict, now)


def _shadow(pipeline: OpenPipeline, snapshot: Snapshot, former: ModelVersion) -> None:
    """Keep the former champion's predictions; none if its columns are missing."""
    if not snapshot.rows:
        return
    try:
        found = predictions_of(pipeline, snapshot, former)
    except TransientError:
        raise
    except KeepfitError:
        return
    pipeline.ledger.write_predictions(
        pipeline.config.name, found.predictions, former.roles, version=former.version,
        run_id=former.run_id, batch=snapshot.digest, role="shadow", rows=found.rows,
    )  # fmt: skip


def _scored(
    pipeline: OpenPipeline, look: Look, chain: Chain, earlier: Sequence[Decision]
) -> dict[Window, ModelVersion]:
    """Return the windows after each member's training and who scored them, oldest first."""
    assert look.window is not None  # noqa: S101 - the caller looked
    found = {look.window: look.champion.version, **windows_of(chain, earlier)}
    name = pipeline.config.name
    members = {
        v: pipeline.store.version(name, v) for v in set(found.values()) - {look.champion.version}
    }
    members[look.champion.version] = look.champion
    ordered = sorted(found.items(), key=lambda pair: pair[0].start)
    return {
        window: member
        for window, version in ordered
        if (member := members[version]) is not None
        and (member.trained_until is None or window.end > member.trained_until)
    }


def _judged(
    pipeline: OpenPipeline,
    champion: ModelVersion,
    base: ModelVersion,
    scored: Mapping[Window, ModelVersion],
    moves: Sequence[Move],
) -> ProbationVerdict:
    config = pipeline.config
    metric = metric_of(pipeline, champion)
    ours = [_rows(pipeline, version, window) for window, version in scored.items()]
    theirs = [
        _of_base(pipeline, base, window) if len(rows) else rows
        for window, rows in zip(scored, ours, strict=True)
    ]
    return judge_probation(
        ours,
        theirs,
        roles=champion.roles.running(OwnCode.of(config.hooks, pipeline.base)),
        metric=metric,
        windows=list(scored),
        confidence=config.gate.confidence,
        needed=config.policy.probation,
        seed=config.training.seed,
        min_rows=config.monitoring.min_rows,
        champion_reference=reference_predictions(pipeline.store, champion),
        former_reference=reference_predictions(pipeline.store, base),
        versions=[version.version for version in scored.values()],
        against=base.version,
        earlier=differences_of(moves, metric),
    )


def _of_base(pipeline: OpenPipeline, base: ModelVersion, window: Window) -> pd.DataFrame:
    """Return the predictions of `base` for a window; if there are none, they are made now."""
    known = _rows(pipeline, base, window)
    if len(known):
        return known
    try:
        snapshot = monitored_rows(pipeline, base.roles, window)
    except TransientError:
        raise
    except KeepfitError:
        return known
    _shadow(pipeline, snapshot, base)
    return _rows(pipeline, base, window)


def _rows(pipeline: OpenPipeline, version: ModelVersion, window: Window) -> pd.DataFrame:
    rows = pipeline.ledger.window_rows(
        pipeline.config.name, window, version.roles, role="shadow", version=version.version
    )
    return unseen_rows(made_by(rows, version), version)


def _concluded(
    pipeline: OpenPipeline,
    look: Look,
    base: ModelVersion,
    scored: Mapping[Window, ModelVersion],
    verdict: ProbationVerdict,
    now: datetime,
) -> Decision | None:
    name, champion = pipeline.config.name, look.champion
    # Who scored the newest window judged is confirmed; its successors are compared with it.
    judged = scored.get(verdict.until, champion) if verdict.until is not None else champion
    back = verdict.state == "rolled_back"
    # A version that is promoted again is on another probation.
    since = champion.promoted_at.isoformat() if champion.promoted_at else ""
    decision = Decision(
        id=decision_id(name, verdict.state, champion.version, base.version, judged.version, since),
        pipeline=name,
        kind="rolled_back" if back else "confirmed",
        at=now.astimezone(UTC),
        correlation=look.cause.correlation,
        sentence=verdict.sentence,
        version=base.version if back else judged.version,
        window=look.window,
        evidence={
            "former": champion.version if back else base.version,
            "difference": verdict.difference,
            "interval": list(verdict.interval) if verdict.interval else None,
            "metric": metric_of(pipeline, champion),
            "differences": [list(one) for one in verdict.differences],
            "windows": verdict.windows,
            "rows": verdict.rows,
            "by": "probation",
        },
    )
    if not back:
        pipeline.ledger.record(decision)
        return decision
    try:
        move_and_record(
            pipeline, decision,
            lambda: pipeline.store.rollback(name, champion.version, base.version)
        )  # fmt: skip
    except TransientError:
        raise
    except KeepfitError as error:
        # Moved by hand meanwhile, or no version to return to: the finding is reported anyway.
        _LOGGER.warning("%s: %s", name, error)
        return None
    return decision
