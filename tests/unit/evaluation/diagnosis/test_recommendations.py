"""What is advised follows from what was found and from what was not tried yet."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import CandidateResult, Trial
from tasks.evaluation.diagnosis.recommendations import next_steps
from tasks.evaluation.findings import (
    Diagnosis,
    Fit,
    FitVerdict,
    LearningCurve,
    Suspicion,
    WeakSlice,
)

EVERYTHING = {"tuning": True, "calibrate": "auto", "ensemble": True, "diagnosis": "full"}
UNTUNED = CandidateResult(candidate="lightgbm", status="ok")
TUNED = UNTUNED.model_copy(update={"trials": (Trial(number=0, state="complete", chosen=True),)})


def fit(kind: Fit, candidate: str = "lightgbm") -> FitVerdict:
    return FitVerdict(
        candidate=candidate,
        fit=kind,
        train=0.9,
        holdout=0.8,
        sentence=f"{candidate} {kind}.",
        advice="Try fewer leaves.",
    )


def curve(verdict: Literal["helps", "little", "unclear"]) -> LearningCurve:
    return LearningCurve(
        candidate="lightgbm",
        metric="roc_auc",
        points=(),
        verdict=verdict,
        sentence=f"It {verdict}.",
    )


def steps(found: Diagnosis, result: CandidateResult = TUNED, **training: Any) -> tuple[str, ...]:
    return next_steps(found, result, TrainingConfig.model_validate(training), 0.05)


def test_where_all_was_tried_and_nothing_is_left_it_says_stop() -> None:
    found = Diagnosis(fits=(fit("good"),), learning=curve("little"))
    (only,) = steps(found, **EVERYTHING)
    assert only.startswith("Stop here: other hyperparameters and more rows are not shown to bring")
    assert only.endswith("Only columns with new information would.")


def test_a_weak_spot_is_left_where_settings_are_not() -> None:
    weak = WeakSlice(
        where="age > 40", rows=9, share=0.1, loss=2.0, rest=1.0, score=None, p_value=0.01
    )
    found = Diagnosis(fits=(fit("good"),), learning=curve("little"), slices=(weak,))
    stop, look = steps(found, **EVERYTHING)
    assert stop.startswith("Stop here")
    assert "new" not in stop
    assert look.startswith("Look at the rows where age > 40")


def test_what_was_not_asked_for_is_offered_with_its_key_and_its_reason() -> None:
    found = Diagnosis(fits=(fit("overfits"), fit("good", "svm")))
    told = steps(found, UNTUNED)
    assert "`training: {tuning: true}`, as lightgbm overfits" in told[0]
    assert "`training: {calibrate: auto}`; stated probabilities are off by 5.0 points" in told[1]
    assert "`training: {diagnosis: full}`" in told[2]
    assert "`training: {ensemble: true}`" in told[3]
    assert not [text for text in told if "Stop" in text]


@pytest.mark.parametrize("key", EVERYTHING)
def test_what_was_asked_for_is_not_offered_again(key: str) -> None:
    found = Diagnosis(fits=(fit("good"), fit("good", "svm")))
    without = {name: value for name, value in EVERYTHING.items() if name != key}
    assert not [text for text in steps(found, **EVERYTHING) if "training:" in text]
    assert [text for text in steps(found, **without) if f"{key}:" in text]


def test_doubts_come_first_then_the_fit_then_rows() -> None:
    doubt = Suspicion(about="leak", level="warning", sentence="x looks like a leak.")
    weak = WeakSlice(
        where="age > 40", rows=9, share=0.1, loss=2.0, rest=1.0, score=None, p_value=0.01
    )
    found = Diagnosis(
        fits=(fit("overfits"),), learning=curve("helps"), suspicions=(doubt,), slices=(weak,)
    )
    told = steps(found, **EVERYTHING)
    assert [text.split(":")[0].split(".")[0] for text in told] == [
        "First settle what makes the score doubtful",
        "Try fewer leaves",
        "Collect rows",
        "Look at the rows where age > 40",
    ]


def test_a_note_is_no_doubt() -> None:
    note = Suspicion(about="duplicates", level="note", sentence="None.")
    found = Diagnosis(fits=(fit("good"),), suspicions=(note,), learning=curve("unclear"))
    (only,) = steps(found, **EVERYTHING)
    assert only.startswith("Stop here: other hyperparameters are not shown")
