"""The end of a training: its report, its record, and what a rerun finds of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tasks.base.command_results import TrainingOutcome
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.files import write_whole
from tasks.base.servers.mlflow_pages import MlflowPages, pages_of
from tasks.base.text.commands import command
from tasks.base.training_records import (
    Assessment,
    Basis,
    CandidateResult,
    Figures,
    ModelVersion,
    Verdict,
)
from tasks.evaluation.findings import Diagnosis
from tasks.ledger.training_outcomes import find_outcome, save_outcome
from tasks.registry.open_pipeline import OpenPipeline
from tasks.registry.tracking import training_runs
from tasks.training.report_contents import card_of, report_html


def finished_training(
    pipeline: OpenPipeline, key: str, computed_since: datetime | None = None
) -> TrainingOutcome | None:
    """Return the outcome with `key` if all that it names is still there."""
    # A training whose time budget was used up is not finished: done again, it fits what it skipped.
    # With `computed_since` only one counts that ended later and computed everything anew.
    found = find_outcome(pipeline.work, key)
    if (
        found is None
        or (computed_since is not None and (found.finished < computed_since or found.reused))
        or not found.verdict.complete
        or found.model is None
        or not Path(found.report).exists()
    ):
        return None
    if pipeline.store.version(found.model.name, found.model.version) is None:
        return None
    champion = pipeline.store.champion(pipeline.config.name)
    return found.model_copy(
        update={
            "unchanged": True,
            "champion_version": champion.version if champion else None,
            "next_command": next_command(pipeline, champion is not None, found.model.version),
            "mlflow_pages": _pages(pipeline, found),
        }
    )


def _pages(pipeline: Pipeline, outcome: TrainingOutcome) -> MlflowPages | None:
    """Return where a training is in MLflow now: the addresses of servers change."""
    if not outcome.mlflow_experiment:
        return None
    return pages_of(
        pipeline.state,
        outcome.mlflow_uri,
        outcome.mlflow_experiment,
        outcome.mlflow_run_id,
        outcome.candidate_runs,
    )


def outline(
    pipeline: OpenPipeline,
    basis: Basis,
    results: Sequence[CandidateResult],
    assessment: Assessment,
    verdict: Verdict,
    runs: Mapping[str, str],
    run_id: str,
    prefect_run: str | None,
) -> TrainingOutcome:
    """Return the outcome of a training, but for the model and what is written about it."""
    return TrainingOutcome(
        key=basis.prepared.key,
        pipeline=pipeline.config.name,
        task=basis.roles.task,
        metric=basis.prepared.metric,
        rows_train=basis.split.n_train,
        rows_holdout=basis.split.n_holdout,
        leaderboard=assessment.leaderboard,
        challenger=assessment.challenger,
        metrics=assessment.of(assessment.challenger).metrics,
        verdict=verdict,
        model=None,
        champion_version=verdict.champion_version,
        mlflow_run_id=run_id,
        mlflow_uri=pipeline.store.address,
        mlflow_experiment=pipeline.store.experiment(pipeline.config.name),
        candidate_runs=tuple(
            runs[row.candidate] for row in assessment.leaderboard if row.candidate in runs
        ),
        prefect_run_id=prefect_run,
        contract_page=basis.contract.page,
        contract_warnings=len(basis.contract.warnings),
        assumptions=(*basis.snapshot.remarks, *basis.roles.assumptions, *basis.split.notes),
        findings=(*basis.snapshot.findings, *basis.roles.twins),
        reused=_reused(basis, results),
        data_digest=basis.snapshot.digest,
        finished=datetime.now(UTC),
        mode=basis.prepared.mode,
    )


def conclude(
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
    """Write the report, end the MLflow run, and keep the outcome; the last of these is the mark
    that the training is done.
    """  # noqa: D205
    champion = pipeline.store.champion(pipeline.config.name)
    report = pipeline.work / "reports" / f"{basis.prepared.key[:16]}.v{version.version}.html"
    outcome = draft.model_copy(
        update={
            "model": version,
            "champion_version": champion.version if champion else None,
            "report": str(report),
            "diagnosis": diagnosis.lines,
            "finished": datetime.now(UTC),
            "next_command": next_command(pipeline, champion is not None, version.version),
        }
    )
    run_id, verdict = outcome.mlflow_run_id, outcome.verdict
    outcome = outcome.model_copy(update={"mlflow_pages": _pages(pipeline, outcome)})
    page = report_html(pipeline, basis, assessment, figures, outcome, diagnosis)
    write_whole(report, page)
    files = {"report.html": str(report)}
    pictures = (*diagnosis.pictures, *figures.pictures)
    files |= {f"figures/{picture.name}.svg": picture.file for picture in pictures}
    training_runs.log_candidate_figures(pipeline.store, runs, figures.of_candidates)
    card = card_of(pipeline, basis, results, assessment, verdict, version, diagnosis)
    training_runs.keep_card(pipeline.store, version, run_id, card)
    training_runs.log_diagnosis(pipeline.store, run_id, diagnosis)
    training_runs.close_run(pipeline.store, run_id, assessment, verdict, version, files)
    save_outcome(pipeline.work, outcome)
    return outcome


def next_command(pipeline: Pipeline, has_champion: bool, version: str) -> str:
    """Return the next command after a training; without a champion, the one that shows why."""
    words = ("score", "--all") if has_champion else ("why", version)
    return command(*words, file=pipeline.path)


def _reused(basis: Basis, results: Sequence[CandidateResult]) -> tuple[str, ...]:
    reused = []
    if basis.snapshot.cached:
        reused.append("data")
    if basis.contract.cached:
        reused.append("contract check")
    fitted = [r for r in results if r.status == "ok"]
    cached = [r.candidate for r in fitted if r.cached]
    if cached:
        everything = len(cached) == len(fitted)
        reused.append("all fits" if everything else f"fits of {', '.join(cached)}")
    return tuple(reused)
