"""Tasks: a training is recorded, its challenger judged, registered, and perhaps made champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.base.command_results import TrainingOutcome
from tasks.base.monitoring_records import Cause
from tasks.base.runtime.progress import Step, report
from tasks.base.training_records import (
    Assessment,
    Basis,
    CandidateResult,
    Figures,
    ModelVersion,
    Verdict,
)
from tasks.evaluation.findings import Diagnosis
from tasks.orchestration.artifacts import leave
from tasks.orchestration.declarations import PATIENT, task
from tasks.registry.gate.holdout_verdict import judge
from tasks.registry.open_pipeline import OpenPipeline
from tasks.registry.tracking import training_runs
from tasks.training.decisions import (
    earlier_refits,
    record_training,
    record_unchanged,
    recorded_versions,
    require_news,
    training_decision,
)
from tasks.training.interrupted_promotion import (
    forget_verdict,
    judged_once,
    registered_once,
    unfinished_version,
)
from tasks.training.training_record import conclude, finished_training


@task(name="find training")
def find_training(
    pipeline: OpenPipeline, basis: Basis, cause: Cause, fresh: bool = False
) -> TrainingOutcome | None:
    """Return the finished training of the same data, contract, settings and versions.

    Without one, a refit that has too few newer rows ends here. Where everything is to be computed
    anew, only what another run did while this one waited for it counts.
    """
    found = finished_training(pipeline, basis.prepared.key, cause.at if fresh else None)
    if found is not None:
        report(Step("unchanged", f"trained already on {found.finished:%Y-%m-%d %H:%M} UTC"))
        # A process that was killed may have left its last step undone.
        if not record_training(pipeline, basis, found, cause, found.seconds):
            record_unchanged(pipeline, found, cause)
        forget_verdict(pipeline, found.key)
    elif not fresh:
        require_news(pipeline, basis, cause)
    return found


@task(name="open run", retried=PATIENT)
def open_run(pipeline: OpenPipeline, basis: Basis, prefect_run: str | None) -> str:
    """Start the training's MLflow run, with a link to the Prefect run."""
    return training_runs.open_run(pipeline, basis, prefect_run)


@task(name="record candidates", retried=PATIENT)
def record_candidates(
    pipeline: OpenPipeline,
    basis: Basis,
    results: Sequence[CandidateResult],
    assessment: Assessment,
    run_id: str,
) -> dict[str, str]:
    """Log a child run for every candidate; return their ids by name."""
    runs = training_runs.record_candidates(pipeline, basis, results, assessment, run_id)
    report(Step("record", f"{len(runs)} candidates logged to MLflow"))
    return runs


@task(name="judge challenger", retried=PATIENT)
def judge_challenger(
    pipeline: OpenPipeline, basis: Basis, results: Sequence[CandidateResult], assessment: Assessment
) -> Verdict:
    """Let the gate decide, on rows that neither champion nor challenger was trained on."""
    store, challenger = pipeline.store, assessment.challenger
    earlier = earlier_refits(pipeline, basis.prepared.metric, challenger)
    verdict = judged_once(
        pipeline,
        basis.prepared.key,
        challenger,
        lambda: judge(
            store, pipeline.config, basis, results, challenger, assessment.skipped, earlier
        ),
    )
    leave(
        "markdown",
        key=f"verdict-{pipeline.key}",
        markdown=verdict.sentence,
        description=f"What the gate decided about {pipeline.config.name}",
    )
    report(Step("gate", "promoted" if verdict.promoted else f"refused: {verdict.rule}"))
    return verdict


@task(name="register challenger", retried=PATIENT)
def register_challenger(
    pipeline: OpenPipeline,
    basis: Basis,
    winner: CandidateResult,
    assessment: Assessment,
    figures: Figures,
    draft: TrainingOutcome,
    runs: Mapping[str, str],
    cause: Cause,
) -> ModelVersion:
    """Register the model, verify it, and move the alias if the gate promotes it."""
    version = registered_once(
        pipeline,
        basis.prepared.key,
        training_decision(pipeline, basis, draft, cause),
        lambda: training_runs.register_challenger(
            pipeline,
            basis,
            winner,
            assessment,
            draft.verdict,
            runs[assessment.challenger],
            figures.importance,
            recorded_versions(pipeline) - unfinished_version(pipeline, basis.prepared.key),
        ),
    )
    report(Step("register", f"{version.name} v{version.version}"))
    return version


@task(name="conclude training", retried=PATIENT)
def conclude_training(
    pipeline: OpenPipeline,
    basis: Basis,
    results: Sequence[CandidateResult],
    assessment: Assessment,
    figures: Figures,
    draft: TrainingOutcome,
    version: ModelVersion,
    runs: Mapping[str, str],
    diagnosis: Diagnosis,
) -> TrainingOutcome:
    """Write the report, end the MLflow run, keep the outcome."""
    outcome = conclude(
        pipeline, basis, results, assessment, figures, draft, version, runs, diagnosis
    )
    leave(
        "link",
        key=f"report-{pipeline.key}",
        link=Path(outcome.report).as_uri(),
        link_text="report",
        description=f"The report of the last training of {pipeline.config.name}",
    )
    leave(
        "markdown",
        key=f"mlflow-{pipeline.key}",
        markdown=_in_mlflow(outcome),
        description="The same training in MLflow",
    )
    report(Step("report", outcome.report))
    return outcome


def _in_mlflow(outcome: TrainingOutcome) -> str:
    pages = outcome.mlflow_pages
    if pages is None:
        return f"MLflow run `{outcome.mlflow_run_id}` at {outcome.mlflow_uri}"
    start = f" (with `{pages.server}`)" if pages.server else ""
    return (
        f"[Candidates compared]({pages.compare}), [candidates of every training]({pages.table}), "
        f"[MLflow run]({pages.run}){start}"
    )


@task(name="record decisions", retried=PATIENT)
def record_decisions(
    pipeline: OpenPipeline, basis: Basis, outcome: TrainingOutcome, cause: Cause, seconds: float
) -> None:
    """Record in the ledger that the training ended and what the gate decided."""
    record_training(pipeline, basis, outcome, cause, seconds)
    forget_verdict(pipeline, outcome.key)


def fail_open_run(pipeline: OpenPipeline, prefect_run: str) -> None:
    """Mark the MLflow run that a failed flow left open."""
    left = pipeline.store.find_run({"keepfit.prefect_flow_run": prefect_run}, status="RUNNING")
    if left is not None:
        pipeline.store.finish_run(left.run_id, "FAILED")
