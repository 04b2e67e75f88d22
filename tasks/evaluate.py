"""Tasks: candidates are compared on the holdout and drawn."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.progress import Step, report
from tasks.base.training_records import Assessment, Basis, CandidateResult, Figures
from tasks.evaluation.findings import Diagnosis
from tasks.evaluation.leaderboard import assess
from tasks.orchestration.artifacts import leave
from tasks.orchestration.declarations import task
from tasks.reporting.diagnosis import diagnose_training as diagnose
from tasks.reporting.figures.gallery import draw_all, warm_up


@task(name="evaluate candidates")
def evaluate_candidates(
    pipeline: Pipeline, basis: Basis, results: Sequence[CandidateResult]
) -> Assessment:
    """Score every candidate on the holdout and choose the challenger by validation."""
    warm_up()
    assessment = assess(results, basis, pipeline.config.training.seed)
    leave(
        "table",
        key=f"leaderboard-{pipeline.key}",
        table=[row.model_dump(mode="json") for row in assessment.leaderboard],
        description=f"Candidates of {pipeline.config.name}, best validation first",
    )
    report(Step("evaluate", f"challenger: {assessment.challenger}"))
    return assessment


@task(name="draw figures")
def draw_figures(
    pipeline: Pipeline, basis: Basis, results: Sequence[CandidateResult], assessment: Assessment
) -> Figures:
    """Draw the challenger's figures and the leaderboard."""
    figures = draw_all(pipeline, basis, results, assessment)
    report(Step("figures", f"{len(figures.pictures)} drawn"))
    return figures


@task(name="diagnose")
def diagnose_training(
    pipeline: Pipeline, basis: Basis, results: Sequence[CandidateResult], assessment: Assessment
) -> Diagnosis:
    """Report how the candidates fit, where the challenger is weak, and what is doubtful."""
    diagnosis = diagnose(pipeline, basis, results, assessment)
    report(Step("diagnose", f"{len(diagnosis.fits)} candidates"))
    return diagnosis
