"""Moves of the alias that a person asks for, recorded like any other decision."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks.base.loop import Decision, decision_id, new_correlation
from tasks.base.pipeline_file import Pipeline
from tasks.registry.alias.champion_alias import Moved

if TYPE_CHECKING:
    from tasks.ledger.ledger import Ledger
    from tasks.registry.mlflow.store import Store


def promote_by_hand(pipeline: Pipeline, store: Store, ledger: Ledger, version: str) -> Decision:
    """Let `version` score from now on.

    Raises
    ------
    EvidenceError
        When there is no such version, or it was never verified.
    """
    name = pipeline.config.name
    moved = store.promote_by_hand(name, version.removeprefix("v"))
    now = datetime.now(UTC)
    if moved.former == moved.version.version:
        sentence = f"Version {moved.former} is champion already; nothing was moved."
        return _decision(pipeline, moved, now, sentence, "promoted")
    former = f" for version {moved.former}" if moved.former else ""
    sentence = f"Promoted by hand: version {moved.version.version} scores from now on{former}."
    decision = _decision(pipeline, moved, now, sentence, "promoted")
    ledger.record(decision)
    return decision


def roll_back_by_hand(pipeline: Pipeline, store: Store, ledger: Ledger) -> Decision:
    """Let the version score again that the champion replaced.

    Raises
    ------
    EvidenceError, UsageError
        When there is nothing to go back to.
    """
    moved = store.rollback(pipeline.config.name)
    sentence = (
        f"Rolled back by hand: version {moved.version.version} scores again, "
        f"version {moved.former} does not."
    )
    decision = _decision(pipeline, moved, datetime.now(UTC), sentence, "rolled_back")
    ledger.record(decision)
    return decision


def _decision(
    pipeline: Pipeline, moved: Moved, now: datetime, sentence: str, kind: str
) -> Decision:
    name = pipeline.config.name
    return Decision.model_validate(
        {
            "id": decision_id(name, kind, moved.version.version, now.isoformat()),
            "pipeline": name,
            "kind": kind,
            "at": now,
            "correlation": new_correlation(),
            "sentence": sentence,
            "version": moved.version.version,
            "config_digest": pipeline.digest,
            "mlflow_run": moved.version.run_id,
            "evidence": {"former": moved.former, "by": "hand"},
        }
    )
