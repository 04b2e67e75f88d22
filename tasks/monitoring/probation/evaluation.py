"""A promoted version on probation: compared with the former champion on the same rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks.base.errors import KeepfitError, TransientError
from tasks.base.loop import Decision, Window, decision_id
from tasks.base.own_code import OwnCode
from tasks.base.pipeline_file import Pipeline
from tasks.base.records import ModelVersion, Snapshot
from tasks.base.runtime.libraries import pd
from tasks.ledger.ledger import Ledger
from tasks.monitoring.monitored_window import Look
from tasks.monitoring.performance.window_performance import made_by, unseen_rows
from tasks.monitoring.probation.verdict import judge_probation
from tasks.registry.mlflow.store import Store
from tasks.registry.version_files.holdouts import reference_predictions
from tasks.scoring.version_predictions import predictions_of

_LOGGER = logging.getLogger(__name__)

if TYPE_CHECKING:
    from tasks.monitoring.probation.verdict import ProbationVerdict


def try_champion(
    pipeline: Pipeline,
    ledger: Ledger,
    store: Store,
    look: Look,
    snapshot: Snapshot,
    earlier: Sequence[Decision],
    now: datetime,
) -> tuple[ProbationVerdict | None, Decision | None]:
    """Judge the champion's probation with this window; move the alias back where it failed.

    Parameters
    ----------
    earlier
        Decisions about this pipeline, newest first.

    Returns
    -------
    verdict
        None when the champion is not on probation.
    decision
        Of kind ``confirmed`` or ``rolled_back``, recorded; None while it goes on.
    """
    former = _former(pipeline, store, look, earlier)
    if former is None or look.window is None:
        return None, None
    _shadow(pipeline, ledger, store, snapshot, former)
    windows = _windows(look, earlier)
    if not windows:
        return None, None
    verdict = _judged(pipeline, ledger, store, look.champion, former, windows)
    if verdict.state == "running":
        return verdict, None
    return verdict, _concluded(pipeline, ledger, store, look, former, verdict, now)


def _former(
    pipeline: Pipeline, store: Store, look: Look, earlier: Sequence[Decision]
) -> ModelVersion | None:
    """Return the version that the champion replaced, while it is on probation."""
    if not pipeline.config.policy.probation:
        return None
    moves = [d for d in earlier if d.kind in {"promoted", "confirmed", "rolled_back"}]
    if not moves or moves[0].kind != "promoted" or moves[0].version != look.champion.version:
        return None
    former = moves[0].evidence.get("former")
    if not isinstance(former, str):
        return None
    return store.version(pipeline.config.name, former)


def _shadow(
    pipeline: Pipeline, ledger: Ledger, store: Store, snapshot: Snapshot, former: ModelVersion
) -> None:
    """Keep what the former champion would have said; without its columns it says nothing."""
    if not snapshot.rows:
        return
    try:
        found = predictions_of(pipeline, store, snapshot, former)
    except TransientError:
        raise
    except KeepfitError:
        return
    ledger.write_predictions(
        pipeline.config.name, found.predictions, former.roles, version=former.version,
        run_id=former.run_id, batch=snapshot.digest, role="shadow", rows=found.rows,
    )  # fmt: skip


def _windows(look: Look, earlier: Sequence[Decision]) -> list[Window]:
    """Return the windows after the champion's training, oldest first."""
    assert look.window is not None  # noqa: S101 - the caller looked
    until = look.champion.trained_until
    known = {
        d.window
        for d in earlier
        if d.kind == "monitored" and d.version == look.champion.version and d.window is not None
    }
    windows = sorted({*known, look.window}, key=lambda w: w.start)
    return [w for w in windows if until is None or w.end > until]


def _judged(
    pipeline: Pipeline,
    ledger: Ledger,
    store: Store,
    champion: ModelVersion,
    former: ModelVersion,
    windows: Sequence[Window],
) -> ProbationVerdict:
    config = pipeline.config
    ours = [_rows(pipeline, ledger, champion, window) for window in windows]
    theirs = [_rows(pipeline, ledger, former, window) for window in windows]
    return judge_probation(
        ours,
        theirs,
        roles=champion.roles.running(OwnCode.of(config.hooks, pipeline.base)),
        metric=champion.tags.get("keepfit.metric", config.metric or ""),
        windows=windows,
        confidence=config.gate.confidence,
        needed=config.policy.probation,
        seed=config.training.seed,
        min_rows=config.monitoring.min_rows,
        champion_reference=reference_predictions(store, champion),
        former_reference=reference_predictions(store, former),
    )


def _rows(
    pipeline: Pipeline, ledger: Ledger, version: ModelVersion, window: Window
) -> pd.DataFrame:
    rows = ledger.window_rows(
        pipeline.config.name, window, version.roles, role="shadow", version=version.version
    )
    return unseen_rows(made_by(rows, version), version)


def _concluded(
    pipeline: Pipeline,
    ledger: Ledger,
    store: Store,
    look: Look,
    former: ModelVersion,
    verdict: ProbationVerdict,
    now: datetime,
) -> Decision | None:
    name, champion = pipeline.config.name, look.champion
    version, other, sentence = champion.version, former.version, verdict.sentence
    if verdict.state == "rolled_back":
        try:
            moved = store.rollback(name, champion.version)
        except TransientError:
            raise
        except KeepfitError as error:
            # Moved by hand meanwhile, or nothing to go back to: the finding is told all the same.
            _LOGGER.warning("%s: %s", name, error)
            return None
        version, other = moved.version.version, champion.version
    decision = Decision(
        id=decision_id(name, verdict.state, champion.version, former.version),
        pipeline=name,
        kind="rolled_back" if verdict.state == "rolled_back" else "confirmed",
        at=now.astimezone(UTC),
        correlation=look.cause.correlation,
        sentence=sentence,
        version=version,
        window=look.window,
        evidence={
            "former": other,
            "difference": verdict.difference,
            "interval": list(verdict.interval) if verdict.interval else None,
            "windows": verdict.windows,
            "rows": verdict.rows,
            "by": "probation",
        },
    )
    ledger.record(decision)
    return decision
