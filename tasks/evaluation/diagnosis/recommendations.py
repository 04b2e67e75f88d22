"""Recommended next steps after a diagnosis, in order, and when to stop."""

from __future__ import annotations

from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import CandidateResult
from tasks.evaluation.findings import Diagnosis

MOST = 5
OFF = 0.03
"""Mean distance of stated from true shares above which calibration is worth a try."""
_DOUBTS = frozenset({"leak", "score", "duplicates"})
_REASONS = {
    "overfits": "overfits",
    "memorises": "memorises its own rows",
    "trails": "learns what does not last",
    "underfits": "underfits",
}
"""Fit to why other hyperparameters may help."""


def next_steps(
    found: Diagnosis,
    challenger: CandidateResult,
    training: TrainingConfig,
    calibration_error: float | None = None,
) -> tuple[str, ...]:
    """Return the next steps, a sentence each, the most important first; at most five."""
    # Where no setting is left to try, the first sentence advises to stop; nothing is suggested that
    # was done. `calibration_error` is the challenger's on the holdout, a fraction.
    steps = [
        *_doubts(found),
        *_fit(found, challenger),
        *_rows(found),
        *_untried(found, challenger, training, calibration_error),
    ]
    slices = _slices(found)
    sentences = [*(steps or [_stop(found, challenger, weak=bool(slices))]), *slices]
    return tuple(sentences[:MOST])


def _doubts(found: Diagnosis) -> list[str]:
    if not any(s.level == "warning" and s.about in _DOUBTS for s in found.suspicions):
        return []
    return ["First settle what makes the score doubtful: what comes after it may change."]


def _fit(found: Diagnosis, challenger: CandidateResult) -> list[str]:
    own = found.of(challenger.candidate)
    if own is None or own.fit in ("good", "unknown") or not own.advice:
        return []
    # What is searched is what the advice is about.
    return [own.advice] if challenger.trials or own.fit == "no_signal" else []


def _rows(found: Diagnosis) -> list[str]:
    curve = found.learning
    if curve is None or curve.verdict != "helps":
        return []
    return [f"Collect rows. {curve.sentence}"]


def _untried(
    found: Diagnosis,
    challenger: CandidateResult,
    training: TrainingConfig,
    calibration_error: float | None,
) -> list[str]:
    steps = []
    own = found.of(challenger.candidate)
    if training.tuning is None:
        fit = "" if own is None else _REASONS.get(own.fit, "")
        why = f", as {challenger.candidate} {fit}" if fit else ""
        steps.append(f"Search hyperparameters: `training: {{tuning: true}}`{why}.")
    if training.calibrate == "none" and calibration_error is not None and calibration_error > OFF:
        steps.append(
            f"Calibrate: `training: {{calibrate: auto}}`; stated probabilities are off by "
            f"{calibration_error * 100:.1f} points on average."
        )
    if found.learning is None and training.diagnosis == "quick":
        steps.append("See whether more rows would help: `training: {diagnosis: full}`.")
    rivals = [f for f in found.fits if f.candidate != challenger.candidate and f.fit == "good"]
    if not training.ensemble and rivals:
        steps.append("Mix the candidates: `training: {ensemble: true}`.")
    return steps


def _slices(found: Diagnosis) -> list[str]:
    blind = [s for s in found.slices if s.surprise] or list(found.slices)
    if not blind:
        return []
    return [
        f"Look at the rows where {blind[0].where}: more of them, or a column that tells them "
        "apart, is where most is to be gained."
    ]


def _stop(found: Diagnosis, challenger: CandidateResult, *, weak: bool) -> str:
    tried = ["other hyperparameters"] if challenger.trials else []
    if found.learning is not None and found.learning.verdict == "little":
        tried.append("more rows")
    what = " and ".join(tried) or "other settings"
    left = "" if weak else " Only columns with new information would."
    return f"Stop here: {what} are not shown to bring more than they cost.{left}"
