"""Tasks: candidates are fitted; the winner is fitted once more."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.progress import Step, report
from tasks.base.training_records import Assessment, Basis, CandidateResult, Verdict
from tasks.orchestration.declarations import task
from tasks.registry.open_pipeline import OpenPipeline
from tasks.training.fits import fit_all, winner_of


@task(name="fit candidates")
def fit_candidates(
    pipeline: OpenPipeline, basis: Basis, *, fresh: bool = False
) -> tuple[CandidateResult, ...]:
    """Fit every candidate side by side within the time budget; finished ones are reused."""
    results = fit_all(pipeline, basis, fresh=fresh)
    fitted = sum(result.status == "ok" for result in results)
    report(Step("fit", f"{fitted} of {len(results)} fitted, the baseline among them"))
    return results


@task(name="refit winner")
def refit_winner(
    pipeline: Pipeline,
    basis: Basis,
    results: Sequence[CandidateResult],
    assessment: Assessment,
    verdict: Verdict,
) -> CandidateResult:
    """Return the model to register: the judged one, or its refit on the whole window."""
    winner = winner_of(pipeline, basis, results, assessment, verdict)
    report(Step("refit", f"{winner.candidate}, fitted on {winner.rows_fitted:,} rows"))
    return winner
