from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.base.settings.evaluation import GateConfig
from tasks.base.training_records import GateEvidence, Verdict
from tasks.registry.gate.gate import decide

NEEDED = (
    "challenger_score", "champion_score", "baseline_score", "difference", "low", "high",
    "baseline_difference", "baseline_low", "baseline_high",
)  # fmt: skip


def evidence_of(**changes: Any) -> GateEvidence:
    good = GateEvidence(
        metric="roc_auc",
        rows=52_000,
        challenger_score=0.862,
        champion_score=0.850,
        baseline_score=0.5,
        difference=0.012,
        low=0.004,
        high=0.020,
        baseline_difference=0.362,
        baseline_low=0.35,
        baseline_high=0.37,
        detectable=0.008,
        blocks=31,
        challenger="lightgbm",
    )
    return good.model_copy(update=changes)


def judged(gate: GateConfig | None = None, *, new: bool = True, **changes: Any) -> Verdict:
    return decide(
        evidence_of(**changes), gate or GateConfig(), champion_version="3", new_evidence=new
    )


def test_a_challenger_shown_to_be_better_is_promoted() -> None:
    verdict = judged()
    assert verdict.promoted
    assert verdict.rule == "superior"
    assert verdict.interval == (0.004, 0.020)
    assert verdict.sentence == (
        "Promoted: lightgbm beats champion v3 in roc_auc "
        "(gain 0.0120, 95 % interval 0.0040 to 0.0200, 31 blocks, 52,000 rows)."
    )


def test_a_better_point_value_alone_is_refused_and_says_what_could_be_seen() -> None:
    verdict = judged(low=-0.001)
    assert not verdict.promoted
    assert verdict.sentence.startswith("Kept champion v3, lightgbm refused: not shown to beat")
    assert "A difference below 0.0080 could not have been seen" in verdict.sentence


def test_the_gain_must_exceed_what_is_asked() -> None:
    assert not judged(GateConfig(min_gain=0.004)).promoted
    assert judged(GateConfig(min_gain=0.003)).promoted


def test_a_champion_whose_family_was_skipped_stays() -> None:
    given = {"champion_version": "3", "new_evidence": True, "skipped": ("lightgbm", "svm")}
    verdict = decide(evidence_of(), GateConfig(), champion_family="lightgbm", **given)
    assert not verdict.promoted
    assert (verdict.rule, verdict.skipped) == ("incomplete comparison", ("lightgbm", "svm"))
    assert not verdict.complete
    assert "training.budget" in verdict.sentence
    other = decide(evidence_of(), GateConfig(), champion_family="mlp", **given)
    assert other.promoted
    assert not other.complete
    assert "incomplete: lightgbm, svm were not fitted" in other.sentence


def test_a_first_champion_of_an_incomplete_comparison_is_promoted_and_says_so() -> None:
    bare = evidence_of(champion_score=None, difference=None, low=None, high=None)
    given = {"champion_version": None, "new_evidence": True}
    verdict = decide(bare, GateConfig(), skipped=("mlp",), **given)
    assert verdict.promoted
    assert verdict.skipped == ("mlp",)
    assert "Run again" in verdict.sentence
    assert decide(bare, GateConfig(), **given).complete


def test_a_tie_is_no_superiority() -> None:
    verdict = judged(difference=0.0, low=-0.0, high=-0.0, detectable=0.0)
    assert not verdict.promoted
    assert "(equal on all 52,000 rows; the lower end must lie above 0)" in verdict.sentence
    assert "could not have been seen" not in verdict.sentence


def test_a_gain_of_rounding_is_none() -> None:
    verdict = judged(difference=3e-9, low=1e-9, high=6e-9, detectable=3e-9)
    assert not verdict.promoted
    assert "equal on all 52,000 rows" in verdict.sentence
    assert judged(difference=3e-6, low=2e-6, high=4e-6).promoted


def test_non_inferior_accepts_up_to_the_margin() -> None:
    gate = GateConfig(rule="non_inferior", margin=0.01)
    assert judged(gate, difference=0.0, low=-0.009, high=0.009).promoted
    assert not judged(gate, difference=0.0, low=-0.011, high=0.009).promoted


def test_the_baseline_must_be_beaten_whatever_the_champion() -> None:
    verdict = judged(baseline_low=-0.001)
    assert not verdict.promoted
    assert "trivial baseline" in verdict.reason


def test_the_first_champion_must_beat_the_baseline_only() -> None:
    bare = evidence_of(champion_score=None, difference=None, low=None, high=None)
    verdict = decide(bare, GateConfig(), champion_version=None, new_evidence=False)
    assert verdict.promoted
    assert verdict.rule == "first champion"
    assert verdict.interval == (0.35, 0.37)
    worse = bare.model_copy(update={"baseline_low": -0.1})
    verdict = decide(worse, GateConfig(), champion_version=None, new_evidence=True)
    assert not verdict.promoted
    assert verdict.sentence.startswith("No champion, lightgbm refused")


@pytest.mark.parametrize("field", NEEDED)
@pytest.mark.parametrize("absent", [None, math.nan, math.inf, -math.inf])
def test_absent_evidence_refuses(field: str, absent: float | None) -> None:
    verdict = judged(**{field: absent})
    assert not verdict.promoted
    assert verdict.rule == "absent evidence"
    assert verdict.reason.startswith("absent evidence: ")


@pytest.mark.parametrize("field", [f for f in NEEDED if f.startswith(("ch", "base"))])
def test_a_first_champion_needs_its_evidence_too(field: str) -> None:
    absent = evidence_of(**{field: None})
    verdict = decide(absent, GateConfig(), champion_version=None, new_evidence=True)
    assert verdict.promoted == (field == "champion_score")


@pytest.mark.parametrize(("new", "rows"), [(False, 52_000), (True, 0)])
def test_no_new_evidence_keeps_the_champion(new: bool, rows: int) -> None:
    verdict = judged(new=new, rows=rows)
    assert not verdict.promoted
    assert verdict.rule == "no new evidence"
    assert "could not have been seen" not in verdict.sentence


def test_too_few_groups_are_named_with_a_remedy() -> None:
    verdict = judged(blocks=2, blocks_of="groups of speaker")
    assert "too few groups of speaker: 2 to judge on" in verdict.sentence
    assert "raise split.holdout" in verdict.sentence


@pytest.mark.parametrize("few", [{"rows": 29}, {"blocks": 9}])
def test_too_few_rows_or_blocks_refuse(few: dict[str, int]) -> None:
    verdict = judged(**few)
    assert not verdict.promoted
    assert verdict.rule == "too few rows"


def test_rows_without_time_need_no_blocks() -> None:
    assert judged(blocks=None).promoted


def test_a_slow_or_large_model_is_refused_with_both_reasons() -> None:
    gate = GateConfig(max_latency_ms_per_1k=50, max_size_mb=1)
    verdict = judged(gate, latency_ms_per_1k=80.0, model_bytes=2_000_000)
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["too slow", "too large"]
    assert judged(gate, latency_ms_per_1k=50.0, model_bytes=1_000_000).promoted


@pytest.mark.parametrize("field", ["latency_ms_per_1k", "model_bytes"])
def test_a_guardrail_without_its_number_refuses(field: str) -> None:
    gate = GateConfig(max_latency_ms_per_1k=50, max_size_mb=1)
    known = {"latency_ms_per_1k": 1.0, "model_bytes": 10} | {field: None}
    assert judged(gate, **known).rule == "absent evidence"


def test_a_gate_without_guardrails_does_not_ask_for_their_numbers() -> None:
    assert judged(latency_ms_per_1k=None, model_bytes=None).promoted


def test_the_verdict_keeps_its_evidence_and_is_frozen() -> None:
    verdict = judged()
    assert verdict.evidence == evidence_of()
    with pytest.raises(ValueError, match="frozen"):
        verdict.promoted = False  # type: ignore[misc]


_numbers = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
_gates = st.builds(
    GateConfig,
    rule=st.sampled_from(["superior", "non_inferior"]),
    min_gain=st.floats(0, 0.1),
    margin=st.floats(0, 0.1),
    max_size_mb=st.one_of(st.none(), st.floats(0.1, 10)),
)
_evidence = st.builds(
    evidence_of,
    rows=st.integers(0, 10**6),
    blocks=st.one_of(st.none(), st.integers(0, 100)),
    model_bytes=st.one_of(st.none(), st.integers(0, 10**7)),
    **{name: st.one_of(_numbers, st.floats(-1, 1)) for name in NEEDED},  # type: ignore[arg-type]
)
_versions = st.one_of(st.none(), st.just("3"))


@given(_evidence, _gates, _versions, st.booleans())
def test_a_promotion_always_has_all_its_numbers(
    evidence: GateEvidence, gate: GateConfig, version: str | None, new: bool
) -> None:
    verdict = decide(evidence, gate, champion_version=version, new_evidence=new)
    assert verdict.sentence
    assert verdict.reasons
    if not verdict.promoted:
        return
    assert math.isfinite(evidence.baseline_low or math.nan)
    assert evidence.baseline_low > 0  # type: ignore[operator]
    if version is not None:
        assert new
        assert evidence.low > (gate.min_gain if gate.rule == "superior" else -gate.margin)  # type: ignore[operator]


@given(_evidence, _gates, _versions, st.floats(0, 1), st.sampled_from(["low", "baseline_low"]))
def test_better_evidence_never_turns_a_promotion_into_a_refusal(
    evidence: GateEvidence, gate: GateConfig, version: str | None, more: float, field: str
) -> None:
    def promoted(given: GateEvidence) -> bool:
        return decide(given, gate, champion_version=version, new_evidence=True).promoted

    value = getattr(evidence, field)
    if promoted(evidence) and value is not None and math.isfinite(value):
        assert promoted(evidence.model_copy(update={field: value + more}))


@given(_evidence, _gates, _versions)
def test_a_stricter_gate_never_promotes_what_a_looser_one_refuses(
    evidence: GateEvidence, gate: GateConfig, version: str | None
) -> None:
    stricter = gate.model_copy(update={"min_gain": gate.min_gain + 0.05, "margin": 0.0})
    strict = decide(evidence, stricter, champion_version=version, new_evidence=True)
    loose = decide(evidence, gate, champion_version=version, new_evidence=True)
    assert loose.promoted or not strict.promoted


def refitted(gate: GateConfig | None = None, **changes: Any) -> Verdict:
    given = {"champion_version": "3", "new_evidence": True, "refit": True}
    return decide(evidence_of(**changes), gate or GateConfig(), **given)


def test_a_refit_that_keeps_what_the_champion_is_worth_is_promoted() -> None:
    # A tenth of 0.85 - 0.5.
    verdict = refitted(difference=-0.002, low=-0.034, high=0.006)
    assert verdict.promoted
    assert verdict.rule == "refit"
    assert verdict.margin == pytest.approx(0.035)
    assert "not worse than champion v3 in roc_auc by more than 0.035" in verdict.sentence


def test_a_refit_that_may_lose_more_than_the_margin_is_refused() -> None:
    assert not refitted(difference=-0.002, low=-0.036, high=0.006).promoted
    assert not refitted(GateConfig(refit_margin=0.01), low=-0.011).promoted
    assert refitted(GateConfig(refit_margin=0.02), low=-0.019).promoted


def test_a_refit_of_a_champion_no_better_than_the_baseline_has_no_margin() -> None:
    assert refitted(champion_score=0.49, low=-0.001).promoted is False


def test_the_margin_of_a_loss_is_turned_as_the_loss_is() -> None:
    verdict = refitted(metric="rmse", champion_score=40.0, baseline_score=60.0, low=-1.9)
    assert verdict.margin == pytest.approx(2.0)
    assert verdict.promoted


def test_a_refit_has_to_beat_the_baseline_and_stay_within_the_guardrails() -> None:
    assert not refitted(baseline_low=-0.01, low=-0.001).promoted
    slow = GateConfig(max_latency_ms_per_1k=10)
    assert not refitted(slow, latency_ms_per_1k=11.0).promoted
    assert not refitted(champion_score=None).promoted


def test_the_baseline_does_not_stop_a_refit_that_is_shown_to_be_better_than_the_champion() -> None:
    # Refused, a champion that is worse than both would score on.
    assert refitted(baseline_low=-0.01, low=0.001).promoted
    assert not judged(baseline_low=-0.01, low=0.001).promoted


def test_a_champion_that_uses_what_the_file_excludes_defends_nothing() -> None:
    bare = evidence_of(champion_score=None, difference=None, low=None, high=None)
    given: dict[str, Any] = {"champion_version": "1", "new_evidence": True, "withdrawn": ("paid",)}
    verdict = decide(bare, GateConfig(), **given)
    assert verdict.promoted
    assert verdict.rule == "withdrawn champion"
    assert verdict.champion_version == "1"
    assert "replaces champion v1, which uses paid, excluded now" in verdict.sentence
    worse = bare.model_copy(update={"baseline_low": -0.1})
    verdict = decide(worse, GateConfig(), **given)
    assert not verdict.promoted
    assert verdict.sentence.startswith("Kept champion v1")
