"""The ensemble as one more candidate, requested from outside the worker process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tasks.base.errors import InfrastructureError
from tasks.base.text.durations import format_duration
from tasks.base.training_records import CandidateResult
from tasks.models.execution.child_calls import call
from tasks.models.execution.scheduler import Progress, Report
from tasks.models.persistence.artifacts import kept
from tasks.models.run_context import BASELINE, BLEND_FILE, ENSEMBLE, FitRun


def ensemble_of(
    run: FitRun, fitted: Sequence[CandidateResult], report: Report, seconds: float
) -> CandidateResult:
    """Return the weighted mean of fitted candidates, or why there is none."""
    # It competes only where it beats the best single candidate out of fold beyond noise, and with
    # nothing left of the time budget there is none.
    able = [
        r.candidate
        for r in fitted
        if r.status == "ok" and r.candidate != BASELINE and r.cv_mean is not None
    ]
    known = kept(Path(run.folder), ENSEMBLE)
    # One made while a candidate was missing, which a later run has fitted, is made anew.
    if known is not None and set(able) <= _weighed(known).keys():
        return known
    if len(able) < 2:
        late = any(r.out_of_time for r in fitted)
        return _none("an ensemble needs two fitted candidates", late=late)
    over = f"would overrun the time budget of {format_duration(run.training.budget)}"
    if seconds <= 0:
        return _none(f"{over}, which the candidates have used up; raise training.budget", late=True)
    report(Progress(ENSEMBLE, "weighing the candidates", 0, 1, None))
    try:
        reason = call(
            "tasks.models.ensemble.blend:blend", within=seconds, run=run.plain(), names=able
        )
    except TimeoutError:
        remedy = "raise training.budget, or set training.ensemble to false"
        return _none(f"{over}; {remedy}", late=True)
    if reason:
        return _none(str(reason))
    return _made(run)


def _made(run: FitRun) -> CandidateResult:
    made = kept(Path(run.folder), ENSEMBLE)
    if made is None:
        raise InfrastructureError("the files of the ensemble are not complete.", "Run again.")
    return made.model_copy(update={"cached": False})


def _none(reason: str, *, late: bool = False) -> CandidateResult:
    return CandidateResult(candidate=ENSEMBLE, status="skipped", reason=reason, out_of_time=late)


def weights_of(result: CandidateResult) -> dict[str, float]:
    """Return the candidates that an ensemble is made of, with their weights."""
    return {name: weight for name, weight in _weighed(result).items() if weight}


def _weighed(result: CandidateResult) -> dict[str, float]:
    text = Path(result.model_path).with_name(BLEND_FILE).read_text(encoding="utf-8")
    return {str(name): float(weight) for name, weight in json.loads(text).items()}


def made_of(result: CandidateResult) -> tuple[str, ...]:
    """Return the candidates whose models a fitted one holds: itself, or an ensemble's members."""
    return tuple(weights_of(result)) if result.candidate == ENSEMBLE else (result.candidate,)


def blend_again(run: FitRun) -> CandidateResult:
    """Return the ensemble of a run's recipe, whose members are fitted."""
    call("tasks.models.ensemble.blend:blend_known", run=run.plain())
    return _made(run)
