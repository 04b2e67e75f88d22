"""All candidates side by side within one time budget.

This side only waits: what is heavy happens in the worker process and its children, so that the
process that calls can import and serve something else in the meantime.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.base.config import PipelineConfig
from tasks.base.settings.training import HERE, Engine, TrainingConfig
from tasks.base.training_records import CandidateResult, Schema, Split
from tasks.models.ensemble.blend_call import ensemble_of
from tasks.models.execution.scheduler import Fits, Progress, Report, silent
from tasks.models.execution.time_budget import Budget
from tasks.models.persistence.artifacts import kept
from tasks.models.recipe import refit
from tasks.models.run_context import BASELINE, shared_files

__all__ = ["Progress", "fit_candidates", "refit"]


def fit_candidates(
    snapshot_path: str,
    split: Split,
    schema: Schema,
    training: TrainingConfig,
    metric: str,
    folder: Path,
    *,
    progress: Report | None = None,
    objective: str | dict[str, Any] | None = None,
    champion: Callable[[], str | None] | None = None,
    engine: Engine = HERE,
) -> tuple[CandidateResult, ...]:
    """Fit the baseline and every candidate of `training` on the training rows.

    Each candidate is validated on at most ``training.cv_rows`` rows, then fitted on all training
    rows, and predicts the holdout. With ``training.cv`` 0 or 1 there is one validation part, the
    newest fifth where rows have a time. `folder` keeps models, predictions and results; candidates
    found complete in it are reused, so a run that was killed goes on where it was, and its name
    must change with data, settings and versions. `champion` returns the champion's candidate, to be
    fitted before the others; it is called while the first fits run, as a registry may be slow.
    Returned are the baseline, the candidates in the order of ``training.candidates``, then the
    ensemble where ``training.ensemble`` requires it. Raises DataError if the training rows cannot
    be fitted at all, InfrastructureError if the worker process died or the engine cannot be used.
    """
    budget = Budget(training.budget.total_seconds())
    found = {name: kept(folder, name) for name in (BASELINE, *training.candidates)}
    missing = tuple(name for name in training.candidates if found[name] is None)
    results = {name: result for name, result in found.items() if result is not None}
    if missing or found[BASELINE] is None:
        given = (snapshot_path, split, schema, training, metric, folder, missing)
        needed = not any(name in results for name in training.candidates)
        with shared_files(*given, objective=objective, engine=engine) as run:
            fits = Fits(run, budget, progress or silent, champion=champion, needed=needed)
            results = fits.results() | results
    fitted = tuple(results[name] for name in (BASELINE, *training.candidates))
    if not training.ensemble:
        return fitted
    given = (snapshot_path, split, schema, training, metric, folder, ())
    with shared_files(*given, objective=objective) as run:
        budget.count(())
        left = 0.0 if budget.over else budget.left * budget.pace
        return (*fitted, ensemble_of(run, fitted, progress or silent, left))


def objective_of(config: PipelineConfig) -> str | dict[str, Any] | None:
    """Return the objective of a pipeline as JSON values."""
    given = config.objective
    return given if given is None or isinstance(given, str) else given.model_dump(mode="json")
