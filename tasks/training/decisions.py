"""Outcomes of a training, as decisions in the ledger."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from tasks.base.command_results import TrainingOutcome
from tasks.base.monitoring_records import Cause, Decision, PolicyDecision, decision_id
from tasks.base.servers.stack_file import mlflow_run_page, prefect_run_page
from tasks.base.training_records import Basis, ModelVersion, RefitGain, TrainingMode, Verdict
from tasks.ledger.ledger import Ledger
from tasks.policy.admission import record_skip, seen_until
from tasks.registry.gate.holdout_verdict import newest_labelled
from tasks.registry.gate.refit_history import refit_gain
from tasks.registry.open_pipeline import OpenPipeline
from tasks.training.refit_candidacy import require_newer_rows


def record_training(
    pipeline: OpenPipeline, basis: Basis, outcome: TrainingOutcome, cause: Cause, seconds: float
) -> bool:
    """Record that a training ended and what the gate decided; return whether that was new."""
    trained = training_decision(pipeline, basis, outcome, cause, seconds)
    known = pipeline.ledger.decisions(trained.pipeline, kinds=("trained",), version=trained.version)
    if outcome.model is None or any(d.mlflow_run == trained.mlflow_run for d in known):
        return False
    return record_both(pipeline.ledger, trained, outcome.model)


def recorded_versions(pipeline: OpenPipeline) -> frozenset[str]:
    """Return the versions whose training is recorded."""
    trained = pipeline.ledger.decisions(pipeline.config.name, kinds=("trained",))
    return frozenset(d.version for d in trained if d.version is not None)


def require_news(pipeline: OpenPipeline, basis: Basis, cause: Cause) -> None:
    """Raise where a refit has nothing newer to learn from, or the last training saw all of it."""
    # A person's refit is not held to what the last training saw.
    trained = pipeline.ledger.decisions(pipeline.config.name, kinds=("trained",))
    seen = None if cause.kind == "manual" else seen_until(trained)
    require_newer_rows(basis.prepared.mode, newest_labelled(basis), seen)


def earlier_refits(pipeline: OpenPipeline, metric: str, family: str) -> list[RefitGain]:
    """Return the results of earlier refits of a family in `metric` at the gate, the newest last."""
    found = []
    for trained in pipeline.ledger.decisions(pipeline.config.name, kinds=("trained",)):
        stated, until = trained.evidence, trained.evidence.get("seen_until")
        named = (stated.get("training"), stated.get("metric"), stated.get("challenger"))
        if named != ("refit", metric, family):
            continue
        with suppress(ValidationError):
            verdict = Verdict.model_validate(stated.get("verdict"))
            seen = datetime.fromisoformat(until) if isinstance(until, str) else None
            found.append(refit_gain(verdict, seen))
    return [one for one in reversed(found) if one is not None]


def record_unchanged(pipeline: OpenPipeline, outcome: TrainingOutcome, cause: Cause) -> None:
    """Record that an alarm or the calendar found nothing new to train on."""
    if cause.kind == "manual":
        return
    sentence = (
        f"Not trained: data, contract and settings are as at the training of "
        f"{outcome.finished:%Y-%m-%d %H:%M} UTC."
    )
    decision = PolicyDecision(retrain=False, withheld="unchanged", sentence=sentence)
    record_skip(pipeline, cause, decision, datetime.now(UTC))


def training_decision(
    pipeline: OpenPipeline,
    basis: Basis,
    outcome: TrainingOutcome,
    cause: Cause,
    seconds: float | None = None,
) -> Decision:
    """Return the record of a training, but for its version; without `seconds` it has not ended."""
    score = outcome.metrics.get(outcome.metric)
    value = score.value if score else None
    reached = "not defined" if value is None else f"{value:.4g}"
    end = newest_labelled(basis)
    evidence: dict[str, Any] = {
        "challenger": outcome.challenger,
        "metric": outcome.metric,
        "score": value,
        "low": score.low if score else None,
        "high": score.high if score else None,
        "verdict": outcome.verdict.model_dump(mode="json"),
        "rows_train": outcome.rows_train,
        "rows_holdout": outcome.rows_holdout,
        "seconds": None if seconds is None else round(seconds, 3),
        "seen_until": end.isoformat() if end else None,
        "window": [m and m.isoformat() for m in (basis.snapshot.start, end)] if end else None,
        "key": outcome.key,
        "training": outcome.mode.kind,
        "training_reason": outcome.mode.reason,
        "recipe_of": outcome.mode.recipe_of,
        "refit_obstacle": outcome.mode.obstacle or None,
        "cause": cause.model_dump(mode="json"),
    }
    return Decision(
        id="",
        pipeline=pipeline.config.name,
        kind="trained",
        at=outcome.finished,
        correlation=cause.correlation,
        sentence=(
            f"{_done(outcome.mode)} on {outcome.rows_train:,} rows: {outcome.challenger} has "
            f"{outcome.metric} {reached} on {outcome.rows_holdout:,} held-out rows."
        ),
        version=outcome.model.version if outcome.model else None,
        data_digest=basis.snapshot.digest,
        contract_digest=basis.contract.contract_digest,
        config_digest=pipeline.digest,
        prefect_run=outcome.prefect_run_id or "",
        mlflow_run=outcome.mlflow_run_id,
        evidence=evidence,
        links=_links(pipeline, outcome),
    )


def verdict_of(trained: Decision) -> Verdict:
    """Return the gate's decision at the end of a training."""
    return Verdict.model_validate(trained.evidence["verdict"])


def record_both(ledger: Ledger, trained: Decision, model: ModelVersion) -> bool:
    """Record a training and what the gate decided about its model; return whether that was new."""
    # Both are named by the run of the model: it is the same where a killed process registered it,
    # and another where the same rows are trained on again, as after a model was deleted in MLflow.
    identity = f"{trained.evidence['key']} {model.run_id}"
    whole = trained.model_copy(
        update={"id": decision_id(trained.pipeline, "trained", identity), "version": model.version}
    )
    # The verdict first: a training that is recorded is recorded whole.
    ledger.record(_judged(whole, identity))
    return ledger.record(whole)


def _judged(trained: Decision, identity: str) -> Decision:
    verdict, stated = verdict_of(trained), trained.evidence
    kind = "promoted" if verdict.promoted else "refused"
    found = verdict.evidence
    return trained.model_copy(
        update={
            "id": decision_id(trained.pipeline, kind, identity),
            "kind": kind,
            "sentence": verdict.sentence,
            "evidence": {
                "former": verdict.champion_version,
                "difference": verdict.difference,
                "interval": list(verdict.interval) if verdict.interval else None,
                "rows": found.rows if found else None,
                "detectable": found.detectable if found else None,
                "confidence": verdict.confidence,
                "rule": verdict.rule,
                "margin": verdict.margin,
                "training": stated["training"],
                "recipe_of": stated["recipe_of"],
                "skipped": list(verdict.skipped),
                "metric": stated["metric"],
                "by": "gate",
                "cause": stated["cause"],
            },
        }
    )


def _done(mode: TrainingMode) -> str:
    return "Trained" if mode.recipe_of is None else f"Refitted by the recipe of v{mode.recipe_of}"


def _links(pipeline: OpenPipeline, outcome: TrainingOutcome) -> dict[str, str]:
    experiment = pipeline.store.experiment(pipeline.config.name)
    pages = outcome.mlflow_pages
    shown = pages is not None and not pages.server
    links = {
        "report": outcome.report,
        "compare": pages.compare if pages is not None and shown else "",
        "table": pages.table if pages is not None and shown else "",
        "mlflow": mlflow_run_page(pipeline.state, experiment, outcome.mlflow_run_id) or "",
        "prefect": prefect_run_page(pipeline.state, outcome.prefect_run_id or "") or "",
    }
    return {name: link for name, link in links.items() if link}
