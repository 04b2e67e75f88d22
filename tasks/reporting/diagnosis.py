"""The diagnosis of a training with its pictures, made in a child beside the gate and the refit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.base.pipeline_file import Pipeline
from tasks.base.settings.evaluation import ReportConfig
from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import Assessment, Basis, CandidateResult, Picture
from tasks.evaluation.diagnosis.context import Case
from tasks.evaluation.diagnosis.diagnosis import TrainingDiagnosis
from tasks.evaluation.findings import Diagnosis
from tasks.models.execution.child_calls import call
from tasks.reporting.figures import diagnostic_figures, style
from tasks.reporting.figures.training_figures import pictures, save_figures

NOT_OF_RANKINGS = (
    "Verdicts on the fit, weak slices and suspects look at single rows, and a "
    "ranking is judged by its groups; the figures show the first places and the sizes of groups."
)
TASKS = frozenset({"binary", "multiclass", "regression"})


def diagnose_training(
    pipeline: Pipeline, basis: Basis, results: Sequence[CandidateResult], assessment: Assessment
) -> Diagnosis:
    """Return the diagnosis of the training; of a ranking only that there is none."""
    if basis.roles.task not in TASKS:
        return Diagnosis(lines=(("left out", NOT_OF_RANKINGS),))
    return call(
        diagnose,
        imports=style.LIBRARIES,
        basis=basis,
        results=results,
        assessment=assessment,
        training=pipeline.config.training,
        report=pipeline.config.report,
        folder=pipeline.work / "figures" / basis.prepared.key[:16],
    )


def diagnose(
    basis: Basis,
    results: Sequence[CandidateResult],
    assessment: Assessment,
    training: TrainingConfig,
    report: ReportConfig,
    folder: Path,
) -> Diagnosis:
    """Diagnose and draw into `folder`; runs where models can be loaded."""
    about = TrainingDiagnosis(basis, results, assessment, training, report)
    found = about.diagnosis()
    return found.model_copy(update={"pictures": _pictures(found, about, folder)})


def _pictures(found: Diagnosis, about: Case, folder: Path) -> tuple[Picture, ...]:
    name = about.challenger.candidate
    drawings = [
        drawing
        for drawing in (
            diagnostic_figures.draw_fits(found.fits, about.metric, name, about.baseline),
            diagnostic_figures.draw_curve(found.learning),
            diagnostic_figures.draw_pareto(about.assessment.leaderboard, about.metric, name),
            diagnostic_figures.draw_slices(found.slices, found.slices_sentence),
            *(diagnostic_figures.draw_groups(one) for one in found.groups),
        )
        if drawing is not None
    ]
    return pictures(drawings, save_figures(drawings, folder))
