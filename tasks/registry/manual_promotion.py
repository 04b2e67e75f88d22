"""Manual moves of the alias, recorded like any other decision."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Literal

from tasks.base.errors import InfrastructureError
from tasks.base.monitoring_records import Decision, decision_id
from tasks.base.pipeline_file import Pipeline
from tasks.registry.alias.champion_alias import Moved
from tasks.registry.alias.journal import Intent, unrecorded
from tasks.registry.mlflow.sqlite_reader import PROMOTIONS
from tasks.registry.open_pipeline import OpenPipeline


def promote_by_hand(pipeline: OpenPipeline, version: str) -> Decision:
    """Let `version` score from now on; raises EvidenceError when it was never verified."""
    try:
        moved = pipeline.store.promote_by_hand(pipeline.config.name, version.removeprefix("v"))
    finally:
        record_moves(pipeline)
    return _decided(pipeline, moved, "promote")


def roll_back_by_hand(pipeline: OpenPipeline) -> Decision:
    """Let the version score again that the champion replaced; raises where there is none."""
    try:
        moved = pipeline.store.rollback(pipeline.config.name)
    finally:
        # Where nothing is left to do, a killed process may have done it.
        record_moves(pipeline)
    return _decided(pipeline, moved, "rollback")


def record_moves(pipeline: OpenPipeline) -> None:
    """Record moves by hand that the ledger lacks: their processes were killed before they could."""
    for file, intent in unrecorded(pipeline.store.state / PROMOTIONS, pipeline.config.name):
        version = pipeline.store.found(intent.name, intent.version)
        pipeline.ledger.record(_decision(pipeline, intent, version.run_id if version else ""))
        file.unlink(missing_ok=True)


def moved_unrecorded(pipeline: Pipeline) -> frozenset[str]:
    """Return the versions of moves by hand that the ledger may not hold yet."""
    with contextlib.suppress(InfrastructureError):
        moves = unrecorded(pipeline.state / PROMOTIONS, pipeline.config.name)
        return frozenset(intent.version for _, intent in moves)
    return frozenset()


def _decided(pipeline: Pipeline, moved: Moved, reason: Literal["promote", "rollback"]) -> Decision:
    """Return the decision of a move; others at the same time may have recorded it."""
    intent = Intent(
        name=pipeline.config.name, version=moved.version.version, previous=moved.former,
        written=moved.at or datetime.now(UTC), reason=reason,
    )  # fmt: skip
    return _decision(pipeline, intent, moved.version.run_id)


def _decision(pipeline: Pipeline, intent: Intent, run_id: str) -> Decision:
    kind = "promoted" if intent.reason == "promote" else "rolled_back"
    named = decision_id(intent.name, kind, intent.version, intent.written.isoformat())
    return Decision.model_validate(
        {
            "id": named,
            "pipeline": intent.name,
            "kind": kind,
            "at": intent.written,
            "correlation": named,
            "sentence": _sentence(intent),
            "version": intent.version,
            "config_digest": pipeline.digest,
            "mlflow_run": run_id,
            "evidence": {"former": intent.previous, "by": "hand"},
        }
    )


def _sentence(intent: Intent) -> str:
    version, former = intent.version, intent.previous
    if version == former:
        return f"Version {former} is champion already; nothing was moved."
    if intent.reason == "promote":
        left = f" for version {former}" if former else ""
        return f"Promoted by hand: version {version} scores from now on{left}."
    return f"Rolled back by hand: version {version} scores again, version {former} does not."
