"""Earlier refits count where a refit's own rows leave it open whether it is worse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasks.base.settings.evaluation import GateConfig
from tasks.base.training_records import RefitGain, Verdict
from tasks.registry.gate.gate import decide
from tasks.registry.gate.refit_history import judged_before, refit_gain
from tests.unit.registry.gate.test_gate import evidence_of

GOOD, BAD = RefitGain(gain=0.01, error=0.02), RefitGain(gain=-0.04, error=0.02)
UNCLEAR = {"difference": 0.0, "low": -0.05, "high": 0.05}  # the margin is a tenth of 0.35
NOW = datetime(2026, 3, 9, tzinfo=UTC)


def judged(earlier: list[RefitGain], *, refit: bool = True, **changes: object) -> Verdict:
    return decide(
        evidence_of(**(changes or UNCLEAR)), GateConfig(), champion_version="3",
        new_evidence=True, refit=refit, earlier=earlier,
    )  # fmt: skip


def test_rows_that_show_too_little_refuse_a_first_refit() -> None:
    assert not judged([]).promoted


def test_good_refits_speak_for_one_that_is_unclear_by_itself() -> None:
    verdict = judged([GOOD] * 6)

    assert verdict.promoted
    assert "with 6 earlier refits the mean gain of a refit is 0.009" in verdict.sentence


def test_refits_that_were_worse_speak_against_it() -> None:
    verdict = judged([BAD] * 6)

    assert not verdict.promoted
    assert "with 6 earlier refits" in verdict.reason


def test_a_refit_that_its_own_rows_show_to_be_worse_is_refused_whatever_others_were() -> None:
    worse = {"difference": -0.02, "low": -0.042, "high": 0.002}

    assert not judged([GOOD] * 12, **worse).promoted


def test_refits_say_nothing_of_a_search() -> None:
    assert not judged([GOOD] * 12, refit=False).promoted


def test_what_rows_show_by_themselves_needs_no_other_refits() -> None:
    verdict = judged([BAD] * 6, difference=0.0, low=-0.01, high=0.01)

    assert verdict.promoted
    assert "earlier" not in verdict.sentence


def test_refits_that_were_judged_on_the_same_rows_do_not_count() -> None:
    old, same = (GOOD.model_copy(update={"until": NOW - timedelta(days=d)}) for d in (7, 0))

    assert judged_before([old, same, GOOD], NOW) == [old]
    assert judged_before([old], None) == []


def test_what_a_refit_showed_is_kept_for_those_that_follow() -> None:
    showed = refit_gain(judged([]), NOW)

    assert showed is not None
    assert (showed.gain, round(showed.error, 4), showed.until) == (0.0, 0.0255, NOW)
    assert refit_gain(judged([], refit=False), NOW) is None
