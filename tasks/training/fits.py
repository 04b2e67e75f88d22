"""Fits of a pipeline: candidates side by side, and the winner once more."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.base.errors import KeepfitError
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime import progress
from tasks.base.training_records import FAMILY_TAG, Assessment, Basis, CandidateResult, Verdict
from tasks.models.fitting import fit_candidates, objective_of, refit
from tasks.models.recipe import fit_baseline, fit_forward, fit_recipe
from tasks.registry.mlflow.store import Store
from tasks.registry.open_pipeline import OpenPipeline

if TYPE_CHECKING:
    from tasks.models.fitting import Progress

_CHEAP = 30.0
"""Seconds of a refit up to which its recipe is fitted on older rows too, see `fit_forward`."""


def fit_all(
    pipeline: OpenPipeline, basis: Basis, *, fresh: bool = False
) -> tuple[CandidateResult, ...]:
    """Fit every candidate; those that an earlier run of the same fits finished are reused."""
    # A refit fits the trivial baseline and the recipe alone.
    folder = Path(basis.prepared.folder) / "candidates"
    if fresh:
        for stale in (folder, folder.with_name("refit")):
            shutil.rmtree(stale, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    recipe = basis.prepared.mode.recipe
    if recipe is not None:
        progress.report(progress.Step("fit", f"{recipe.family}, by its recipe", 0, 1))
        rows = (basis.snapshot.path, basis.split, basis.roles, pipeline.config.competing)
        metric, objective = basis.prepared.metric, objective_of(pipeline.config)
        fitted = fit_recipe(*rows, metric, recipe, folder, objective=objective)
        cheap = fitted.fit_seconds is not None and fitted.fit_seconds <= _CHEAP
        if cheap and basis.split.rule == "time" and basis.roles.task != "ranking":
            fit_forward(*rows, metric, recipe, folder, objective=objective)
        trivial = fit_baseline(*rows, metric, folder)
        # It was fitted beside the recipe.
        return trivial.model_copy(update={"cached": fitted.cached}), fitted
    return fit_candidates(
        basis.snapshot.path,
        basis.split,
        basis.roles,
        pipeline.config.competing,
        basis.prepared.metric,
        folder,
        progress=_report,
        objective=objective_of(pipeline.config),
        champion=lambda: _family(pipeline.store, pipeline.config.name),
        engine=pipeline.config.engine,
    )


def _family(store: Store, name: str) -> str | None:
    """Return the candidate that the champion is; None where there is none, or no registry now."""
    try:
        champion = store.champion(name)
    except KeepfitError:
        return None
    return None if champion is None else champion.tags.get(FAMILY_TAG)


def winner_of(
    pipeline: Pipeline,
    basis: Basis,
    results: Sequence[CandidateResult],
    assessment: Assessment,
    verdict: Verdict,
) -> CandidateResult:
    """Return the model to register."""
    # A promoted challenger is fitted once more on training and holdout rows together where the
    # pipeline refits, so that the newest rows are learned too; else it is the judged model. After
    # an incomplete comparison it is the judged model too: the holdout still has to judge the rest.
    judged = next(r for r in results if r.candidate == assessment.challenger)
    if not (verdict.promoted and verdict.complete and basis.prepared.refit):
        return judged
    folder = Path(basis.prepared.folder) / "refit"
    folder.mkdir(parents=True, exist_ok=True)
    progress.report(progress.Step("refit", f"{judged.candidate} on the whole window", 0, 1))
    rows = (basis.snapshot.path, basis.split, basis.roles, pipeline.config.competing)
    return refit(*rows, judged, folder, basis.prepared.mode.recipe)


def _report(moved: Progress) -> None:
    text = f"{moved.candidate}: {moved.stage}" if moved.candidate else moved.stage
    progress.report(progress.Step("fit", text, moved.done, moved.total, moved.seconds_left))
