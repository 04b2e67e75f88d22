from __future__ import annotations

import pytest

from tasks.base.errors import FitError
from tasks.base.training_records import CandidateResult, Rounds
from tasks.evaluation.findings import FoldEvidence
from tasks.evaluation.fold_evidence import fold_evidence, fold_suspicions
from tasks.evaluation.leaderboard import choose

RMSE = (80.0, 75.0, 82.0, 78.0, 79.0)


def result(name: str, scores: tuple[float | None, ...], **given: object) -> CandidateResult:
    known = [score for score in scores if score is not None]
    values = {"cv_mean": sum(known) / len(known), "cv_scores": scores, **given}
    return CandidateResult.model_validate({"candidate": name, "status": "ok", **values})


def less(by: tuple[float, ...]) -> CandidateResult:
    scores = tuple(score - gain for score, gain in zip(RMSE, by, strict=True))
    return result("lightgbm", scores)


def evidence(*candidates: CandidateResult, metric: str = "rmse") -> FoldEvidence | None:
    return fold_evidence(result("baseline", RMSE), candidates, metric, ordered=True)


def test_folds_that_rate_a_model_hardly_above_the_baseline_tell_nothing() -> None:
    found = evidence(less((9.0, -7.0, 6.0, -8.0, 7.0)))
    assert found is not None
    assert not found.shown
    (told,) = fold_suspicions(found, less(RMSE), "rmse")
    assert (told.about, told.level) == ("folds", "warning")
    assert "lightgbm" in told.sentence


def test_a_gain_on_every_fold_is_shown_whatever_else_fails() -> None:
    worse = result("mlp", tuple(score + 5 for score in RMSE))
    found = evidence(worse, less((9.0, 8.0, 10.0, 9.0, 9.5)))
    assert found is not None
    assert found.candidate == "lightgbm"
    assert found.shown
    assert fold_suspicions(found, worse, "rmse") == ()


def test_a_metric_of_which_more_is_better_gains_by_rising() -> None:
    found = evidence(less((9.0, 8.0, 10.0, 9.0, 9.5)), metric="r2")
    assert found is not None
    assert not found.shown


@pytest.mark.parametrize("scores", [(1.0, 2.0), (1.0, None, 2.0, None, None)])
def test_fewer_than_three_folds_with_a_score_are_not_judged(
    scores: tuple[float | None, ...],
) -> None:
    assert evidence(result("lightgbm", scores)) is None


@pytest.mark.parametrize(("best", "words"), [(1_000, "1,000 rounds"), (5, "5 rounds of 200")])
def test_rounds_at_an_end_of_what_was_tried_are_doubtful(best: int, words: str) -> None:
    rounds = Rounds(chosen=max(best, 200), best=best, usual=200, most=1_000)
    (told,) = fold_suspicions(None, result("lightgbm", RMSE, rounds=rounds), "rmse")
    assert words in told.sentence
    settled = rounds.model_copy(update={"best": 300})
    assert fold_suspicions(None, result("lightgbm", RMSE, rounds=settled), "rmse") == ()


def test_no_candidate_at_all_is_a_fault_of_the_fits_and_not_of_the_infrastructure() -> None:
    late = CandidateResult(candidate="mlp", status="skipped", reason="late", out_of_time=True)
    with pytest.raises(FitError) as caught:
        choose([result("baseline", RMSE), late], "rmse")
    assert (caught.value.kind, caught.value.exit_status) == ("fit", 3)
    assert "training.budget" in caught.value.remedy
