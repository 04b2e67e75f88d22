"""What a training led to, as decisions in the ledger."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from pydantic import ValidationError

from tasks.base.loop import Cause, PolicyDecision
from tasks.base.outcomes import TrainingOutcome
from tasks.base.pipeline_file import Pipeline
from tasks.base.records import Basis, RefitGain, Verdict
from tasks.ledger.ledger import Ledger
from tasks.policy.admission import record_skip, seen_until
from tasks.registry.gate.holdout_verdict import newest_labelled
from tasks.registry.gate.refit_history import refit_gain
from tasks.registry.mlflow.store import Store
from tasks.training.interrupted_promotion import forget_verdict
from tasks.training.refit_candidacy import require_newer_rows
from tasks.training.training_decision import record_both, training_decision


def record_training(
    pipeline: Pipeline,
    ledger: Ledger,
    store: Store,
    basis: Basis,
    outcome: TrainingOutcome,
    cause: Cause,
    seconds: float,
) -> bool:
    """Record that a training ended and what the gate decided; return whether that was new."""
    trained = training_decision(pipeline, store, basis, outcome, cause, seconds)
    known = ledger.decisions(trained.pipeline, kinds=("trained",), version=trained.version)
    new = False
    if outcome.model is not None and not any(d.mlflow_run == trained.mlflow_run for d in known):
        new = record_both(ledger, trained, outcome.model)
    forget_verdict(pipeline, outcome.key)
    return new


def recorded_versions(pipeline: Pipeline, ledger: Ledger) -> frozenset[str]:
    """Return the versions whose training is recorded."""
    trained = ledger.decisions(pipeline.config.name, kinds=("trained",))
    return frozenset(d.version for d in trained if d.version is not None)


def require_news(pipeline: Pipeline, ledger: Ledger, basis: Basis, cause: Cause) -> None:
    """Raise where a refit has nothing newer to learn from, or the last training saw all of it.

    Raises
    ------
    NoNewerRowsError
        A person's refit is not held to what the last training saw.
    """
    trained = ledger.decisions(pipeline.config.name, kinds=("trained",))
    seen = None if cause.kind == "manual" else seen_until(trained)
    require_newer_rows(basis.prepared.mode, newest_labelled(basis), seen)


def earlier_refits(pipeline: Pipeline, ledger: Ledger, metric: str, family: str) -> list[RefitGain]:
    """Return what earlier refits of a family showed in `metric` at the gate, the newest last."""
    found = []
    for trained in ledger.decisions(pipeline.config.name, kinds=("trained",)):
        stated, until = trained.evidence, trained.evidence.get("seen_until")
        named = (stated.get("training"), stated.get("metric"), stated.get("challenger"))
        if named != ("refit", metric, family):
            continue
        with suppress(ValidationError):
            verdict = Verdict.model_validate(stated.get("verdict"))
            seen = datetime.fromisoformat(until) if isinstance(until, str) else None
            found.append(refit_gain(verdict, seen))
    return [one for one in reversed(found) if one is not None]


def record_unchanged(
    pipeline: Pipeline, ledger: Ledger, outcome: TrainingOutcome, cause: Cause
) -> None:
    """Record that an alarm or the calendar found nothing new to train on."""
    if cause.kind == "manual":
        return
    sentence = (
        f"Not trained: data, contract and settings are as at the training of "
        f"{outcome.finished:%Y-%m-%d %H:%M} UTC."
    )
    decision = PolicyDecision(retrain=False, withheld="unchanged", sentence=sentence)
    record_skip(pipeline, ledger, cause, decision, datetime.now(UTC))
