"""All candidates side by side within one time budget, and the winner once more.

This side only waits: what is heavy happens in the worker process and its children, so that the
process that calls can import and serve something else in the meantime.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.config import PipelineConfig, TrainingConfig
from tasks.base.errors import InfrastructureError
from tasks.base.records import CandidateResult, Schema, Split
from tasks.models import workers
from tasks.models.blending import blend_again, carry_adjustment, ensemble_of, members_of
from tasks.models.budget import Budget
from tasks.models.choosing import Choice, write_choice
from tasks.models.keeping import keep_result, kept
from tasks.models.running import Fits, Progress, Report
from tasks.models.work import BASELINE, ENSEMBLE, Run

__all__ = ["Progress", "fit_candidates", "refit", "warm_up"]

warm_up = workers.warm_up

REFIT_SECONDS = 24 * 3600.0


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
) -> tuple[CandidateResult, ...]:
    """Fit the baseline and every candidate of `training` on the training rows.

    Each candidate is validated on at most ``training.cv_rows`` rows, then fitted on all training
    rows, and asked for the holdout. With ``training.cv`` 0 or 1 there is one validation part, the
    newest fifth where rows have a time.

    Parameters
    ----------
    snapshot_path
        The Arrow file that the positions of `split` refer to.
    metric
        What validation measures; reported as the metric is named.
    folder
        Where models, predictions and results are kept; candidates found complete in it are
        reused, so a run that was killed goes on where it was. Its name must change with data,
        settings and versions.
    objective
        By what classes are told apart, as the pipeline file has it.
    champion
        Returns the candidate that the champion is, to be fitted before the others; asked beside
        the first work, as a registry may take its time.

    Returns
    -------
    tuple of CandidateResult
        The baseline first, then the candidates in the order of ``training.candidates``, then the
        ensemble where ``training.ensemble`` asks for it.

    Raises
    ------
    DataError
        If the training rows cannot be fitted at all.
    InfrastructureError
        If the worker process died.
    """
    budget = Budget(training.budget.total_seconds())
    found = {name: kept(folder, name) for name in (BASELINE, *training.candidates)}
    missing = tuple(name for name in training.candidates if found[name] is None)
    results = {name: result for name, result in found.items() if result is not None}
    if missing or found[BASELINE] is None:
        given = (snapshot_path, split, schema, training, metric, folder, missing)
        needed = not any(name in results for name in training.candidates)
        with _shared(*given, objective=objective) as run:
            fits = Fits(run, budget, progress or _silent, champion=champion, needed=needed)
            results = fits.results() | results
    fitted = tuple(results[name] for name in (BASELINE, *training.candidates))
    if not training.ensemble:
        return fitted
    given = (snapshot_path, split, schema, training, metric, folder, ())
    with _shared(*given, objective=objective) as run:
        budget.count(())
        left = 0.0 if budget.over else budget.left * budget.pace
        return (*fitted, ensemble_of(run, fitted, progress or _silent, left))


def refit(
    snapshot_path: str,
    split: Split,
    schema: Schema,
    training: TrainingConfig,
    winner: CandidateResult,
    folder: Path,
) -> CandidateResult:
    """Fit the winner's settings once more, on training and holdout rows together.

    Returns
    -------
    CandidateResult
        Its notes say how far its predictions of the holdout agree with the judged model's.

    Raises
    ------
    InfrastructureError
        If the fit failed.
    """
    name = winner.candidate
    known = kept(folder, name)
    if known is not None:
        return known
    if name == ENSEMBLE:
        return _refit_ensemble(snapshot_path, split, schema, training, winner, folder)
    names = () if name == BASELINE else (name,)
    metric = "mae" if winner.params.get("strategy") == "median" else _objective(winner)
    with _shared(snapshot_path, split, schema, training, metric, folder, names, whole=True) as run:
        run.at("iterations.json").write_text(json.dumps(winner.params.get("iterations")))
        write_choice(run, name, Choice(winner.tuned))
        carry_adjustment(winner, Path(run.work))
        result = Fits(run, Budget(REFIT_SECONDS), _silent).results()[name]
    if result.status != "ok":
        raise InfrastructureError(
            f"{name} could not be fitted once more: {result.reason}.",
            "Run again, or set training.refit to false.",
        )
    update = {
        "cv_mean": winner.cv_mean,
        "cv_std": winner.cv_std,
        "cv_folds": winner.cv_folds,
        "trials": winner.trials,
        "notes": (*result.notes, _agreement(winner, result)),
    }
    result = result.model_copy(update=update)
    keep_result(folder, result)
    return result


def _refit_ensemble(
    snapshot_path: str,
    split: Split,
    schema: Schema,
    training: TrainingConfig,
    winner: CandidateResult,
    folder: Path,
) -> CandidateResult:
    """Fit each member once more and weigh them as before."""
    members = []
    for name in members_of(winner):
        judged = kept(Path(winner.model_path).parents[1], name)
        if judged is None:
            raise InfrastructureError(f"the files of {name} are not there.", "Run with --fresh.")
        members.append(refit(snapshot_path, split, schema, training, judged, folder))
    with _shared(snapshot_path, split, schema, training, "", folder, (), whole=True) as run:
        result = blend_again(run, winner, members)
    result = result.model_copy(update={"notes": (*result.notes, _agreement(winner, result))})
    keep_result(folder, result)
    return result


def _objective(winner: CandidateResult) -> str:
    return "mae" if winner.params.get("objective") == "regression_l1" else ""


def _agreement(judged: CandidateResult, refitted: CandidateResult) -> str:
    with np.load(judged.predictions_path) as a, np.load(refitted.predictions_path) as b:
        name = "probability" if "probability" in a.files else "predicted"
        old, new = a[name].astype(np.float64).ravel(), b[name].astype(np.float64).ravel()
    apart = float(np.abs(old - new).mean()) if len(old) else 0.0
    steady = len(old) < 2 or min(old.std(), new.std()) == 0
    like = "" if steady else f"correlation {np.corrcoef(old, new)[0, 1]:.4f}, "
    return (
        "fitted once more on training and holdout rows; its predictions of the holdout and the "
        f"judged model's: {like}mean absolute difference {apart:.4g}"
    )


@contextmanager
def _shared(
    snapshot_path: str,
    split: Split,
    schema: Schema,
    training: TrainingConfig,
    metric: str,
    folder: Path,
    names: tuple[str, ...],
    *,
    whole: bool = False,
    objective: str | dict[str, Any] | None = None,
) -> Iterator[Run]:
    """Yield a run with a folder for its shared files, which is removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".work-*"):
        _remove_if_left(stale)
    given = (str(snapshot_path), split, schema, training, metric, str(folder.resolve()))
    work = tempfile.mkdtemp(prefix=".work-", dir=folder.resolve())
    try:
        yield Run(*given, work, names, whole, objective)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_if_left(work: Path) -> None:
    """Remove the shared files of a run that was killed long ago."""
    try:
        if time.time() - work.stat().st_mtime > 3600:
            shutil.rmtree(work, ignore_errors=True)
    except FileNotFoundError:
        return


def objective_of(config: PipelineConfig) -> str | dict[str, Any] | None:
    """Return the objective of a pipeline as JSON values."""
    given = config.objective
    return given if given is None or isinstance(given, str) else given.model_dump(mode="json")


def _silent(progress: Progress) -> None:
    """Tell nobody."""
