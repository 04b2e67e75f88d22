"""Moves of the alias that a person asks for, recorded like any other decision."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.base.loop import Decision, decision_id, new_correlation
from tasks.base.pipeline_file import Pipeline
from tasks.registry.alias.champion_alias import Moved
from tasks.registry.mlflow.shared_stores import store_of


def promote_by_hand(pipeline: Pipeline, version: str) -> Decision:
    """Let `version` score from now on.

    Raises
    ------
    EvidenceError
        When there is no such version, or it was never verified.
    """
    name = pipeline.config.name
    moved = store_of(pipeline.state).promote_by_hand(name, version.removeprefix("v"))
    now = datetime.now(UTC)
    if moved.former == moved.version.version:
        sentence = f"Version {moved.former} is champion already; nothing was moved."
        return _decision(pipeline, moved, now, sentence, "promoted", record=False)
    former = f" for version {moved.former}" if moved.former else ""
    sentence = f"Promoted by hand: version {moved.version.version} scores from now on{former}."
    return _decision(pipeline, moved, now, sentence, "promoted")


def roll_back_by_hand(pipeline: Pipeline) -> Decision:
    """Let the version score again that the champion replaced.

    Raises
    ------
    EvidenceError, UsageError
        When there is nothing to go back to.
    """
    moved = store_of(pipeline.state).rollback(pipeline.config.name)
    sentence = (
        f"Rolled back by hand: version {moved.version.version} scores again, "
        f"version {moved.former} does not."
    )
    return _decision(pipeline, moved, datetime.now(UTC), sentence, "rolled_back")


def _decision(
    pipeline: Pipeline,
    moved: Moved,
    now: datetime,
    sentence: str,
    kind: str,
    *,
    record: bool = True,
) -> Decision:
    from tasks.ledger.ledger import ledger_of

    name = pipeline.config.name
    decision = Decision.model_validate(
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
    if record:
        ledger_of(pipeline).record(decision)
    return decision
