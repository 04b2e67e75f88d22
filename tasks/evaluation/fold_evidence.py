"""Evidence of the validation folds: whether a candidate beats the baseline on them beyond noise.

A challenger is chosen by the folds. Where no candidate beats the baseline on them, the choice among
the candidates is chance, and so are the rounds that the folds chose. Source: Nadeau and Bengio
(2003), Inference for the generalization error, Machine Learning 52.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text.numbers import metric_words, number
from tasks.base.training_records import CandidateResult, Rounds
from tasks.evaluation.findings import FoldEvidence, Suspicion
from tasks.models.fold_noise import LEAST_PARTS, noise, shared_rows


def fold_evidence(
    baseline: CandidateResult, candidates: Sequence[CandidateResult], metric: str, *, ordered: bool
) -> FoldEvidence | None:
    """Return the gain over the baseline of the candidate furthest beyond the folds' noise."""
    # None with fewer than three folds on which both have a score.
    sign = 1.0 if greater_is_better(metric) else -1.0
    found: list[FoldEvidence] = []
    for result in candidates:
        pairs = zip(result.cv_scores, baseline.cv_scores, strict=False)
        gains = np.array([sign * (a - b) for a, b in pairs if a is not None and b is not None])
        if len(gains) < LEAST_PARTS or result.cv_mean is None or baseline.cv_mean is None:
            continue
        shared = shared_rows(len(result.cv_scores), ordered=ordered)
        found.append(
            FoldEvidence(
                candidate=result.candidate,
                score=result.cv_mean,
                baseline=baseline.cv_mean,
                gain=float(gains.mean()),
                noise=noise(gains, shared),
                folds=len(gains),
            )
        )
    return max(found, key=lambda one: one.gain - one.noise, default=None)


def fold_suspicions(
    evidence: FoldEvidence | None, challenger: CandidateResult, metric: str
) -> tuple[Suspicion, ...]:
    """Return that the folds show no signal, or not how long the challenger is to be fitted."""
    texts = []
    if evidence is not None and not evidence.shown:
        texts.append(
            "The folds show no signal: no candidate is shown to be better than the baseline there "
            f"(nearest {evidence.candidate}, {metric_words(metric)} "
            f"{number(evidence.score, evidence.noise)} against "
            f"{number(evidence.baseline, evidence.noise)} over {evidence.folds} folds), so that "
            "the choice among the candidates is chance. Train on a longer window, or look for "
            "columns that predict the target."
        )
    if challenger.rounds is not None:
        texts += _unsettled(challenger.candidate, challenger.rounds)
    return tuple(Suspicion(about="folds", level="warning", sentence=text) for text in texts)


def _unsettled(name: str, rounds: Rounds) -> list[str]:
    if rounds.unsettled == "last":
        return [
            f"{name} was still improving on the folds after {rounds.most:,} rounds, the most it "
            "is given: larger steps, found by `training: {tuning: true}`, may bring more."
        ]
    if rounds.unsettled == "first":
        return [
            f"{name} is best on the folds after {rounds.best:,} "
            f"{'round' if rounds.best == 1 else 'rounds'} of {rounds.usual:,}: they teach it "
            f"nothing that lasts from one fold to the next. It was fitted for {rounds.chosen:,}."
        ]
    return []
