"""The gate: by which evidence a challenger becomes champion. Pure.

A number that a rule needs and that is absent or not finite refuses; nothing is defaulted.
A gain is a difference in the metric, turned so that greater is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from tasks.base.settings.evaluation import GateConfig, greater_is_better
from tasks.base.text.numbers import number
from tasks.base.text.phrases import listed
from tasks.base.training_records import GateEvidence, RefitGain, Verdict
from tasks.registry.gate.probability_gain import ProbabilityGain, probability_gain
from tasks.registry.gate.recipe_comparison import Joined, joined
from tasks.registry.gate.refit_history import Together, together

LEAST_ROWS = 30
LEAST_BLOCKS = 10
ROUNDING = 1e-6  # share of a score
REFIT_SHARE = 0.10  # share of the champion's lead over the trivial baseline that a refit may lose
_MEGABYTE = 1_000_000
Support = Together | Joined | ProbabilityGain  # evidence beside the holdout's own interval


def decide(
    evidence: GateEvidence,
    gate: GateConfig,
    *,
    champion_version: str | None,
    new_evidence: bool,
    skipped: Sequence[str] = (),
    champion_family: str | None = None,
    refit: bool = False,
    earlier: Sequence[RefitGain] = (),
    withdrawn: Sequence[str] = (),
) -> Verdict:
    """Return whether the challenger becomes champion, and why.

    Without a champion the challenger must beat the trivial baseline. With one it must besides
    be superior (the lower end of the interval above ``gate.min_gain``, or the same shown together
    with the training's folds, see `tasks.registry.gate.recipe_comparison`) or, under that rule,
    non-inferior (above minus ``gate.margin``). A refit of the champion's own recipe has to be
    non-inferior, see `refit_margin`, whatever ``gate.rule`` is. Each of them must stay within the
    latency and the size that the gate allows.

    `champion_version`: None where there is no champion; `new_evidence`: whether the rows are ones
    that neither model was trained on; `skipped`: candidates that were not fitted because the time
    budget was used up. A champion whose own family is among them stays: nothing shows that it is
    the family which is worse; `champion_family`: the candidate that the champion is; `refit`:
    whether the challenger is the champion's recipe fitted on newer rows. It also passes where its
    probabilities are better, see `tasks.registry.gate.probability_gain`. Shown to be better than
    the champion, it need not beat the trivial baseline: a champion that is worse still would score
    on; `earlier`: what earlier refits showed, the newest last. Where a refit's own rows leave it
    open whether it is worse, they count with it, see `tasks.registry.gate.refit_history`.

    >>> evidence = GateEvidence(
    ...     metric="roc_auc", rows=5000, challenger_score=0.8, champion_score=None,
    ...     baseline_score=0.5, difference=None, low=None, high=None, baseline_difference=0.3,
    ...     baseline_low=0.28, baseline_high=0.32, challenger="lightgbm")
    >>> verdict = decide(evidence, GateConfig(), champion_version=None, new_evidence=True)
    >>> verdict.promoted, verdict.rule
    (True, 'first champion')
    """
    against = None if withdrawn else champion_version
    first = against is None
    stop = _cannot_judge(evidence, gate, first=first, new_evidence=new_evidence)
    if stop is None and not first and champion_family in skipped:
        stop = (
            "incomplete comparison",
            (
                f"incomplete comparison: {champion_family}, which the champion is, was not fitted "
                "within the time budget"
            ),
        )
    support: Support | None = None
    if refit and not first and stop is None:
        margin = refit_margin(evidence, gate)
        gate = gate.model_copy(update={"rule": "non_inferior", "margin": margin})
        if _known(evidence.low) <= -margin:
            support = together(evidence, earlier, margin, gate.confidence)
        settled = _known(evidence.low) > -margin or _passes(support, gate)
        if not settled or _known(evidence.baseline_low) <= 0:
            support = probability_gain(evidence, gate.confidence) or support
    elif not first and stop is None and gate.rule == "superior":
        least = _least(evidence, gate)
        if _known(evidence.low) <= least:
            support = joined(evidence, least, gate.confidence)
    alone = "withdrawn champion" if withdrawn else "first champion"
    rule = stop[0] if stop else alone if first else "refit" if refit else gate.rule
    spared = refit and not first and stop is None and _known(evidence.low) > 0
    refusals = [stop[1]] if stop else _refusals(evidence, gate, against, support, spared)
    achieved = _achieved(evidence, gate, champion_version, support, withdrawn)
    reasons = tuple(refusals) or (achieved,)
    gain, low, high = _gain(evidence, first=first)
    return Verdict(
        promoted=not refusals,
        rule=rule,
        reason="; ".join(reasons),
        sentence=" ".join(
            (
                _sentence(evidence, champion_version, refusals, achieved, judged=stop is None),
                *([incomplete_words(skipped)] if skipped else []),
            )
        ),
        reasons=reasons,
        difference=gain,
        interval=(low, high) if low is not None and high is not None else None,
        confidence=gate.confidence,
        champion_version=champion_version,
        evidence=evidence,
        skipped=tuple(skipped),
        margin=None if stop or first or gate.rule == "superior" else gate.margin,
    )


def refit_margin(evidence: GateEvidence, gate: GateConfig) -> float:
    """Return the largest loss against the champion that a refit may have, in units of the metric.

    Without ``gate.refit_margin`` it is a share of what the champion is better than the trivial
    baseline: a refit keeps at least nine tenths of that.

    >>> evidence = GateEvidence(
    ...     metric="roc_auc", rows=5000, challenger_score=0.8, champion_score=0.8,
    ...     baseline_score=0.5, difference=0.0, low=-0.01, high=0.01, baseline_difference=0.3,
    ...     baseline_low=0.28, baseline_high=0.32)
    >>> round(refit_margin(evidence, GateConfig()), 6)
    0.03
    """
    if gate.refit_margin is not None:
        return gate.refit_margin
    sign = 1 if greater_is_better(evidence.metric) else -1
    lead = sign * (_known(evidence.champion_score) - _known(evidence.baseline_score))
    return max(0.0, REFIT_SHARE * lead)


def incomplete_words(skipped: Sequence[str]) -> str:
    """Return a sentence on an incomplete comparison, with the remedy.

    >>> incomplete_words(["svm"])
    'The comparison is incomplete: svm was not fitted within training.budget. Run again, which \
fits the rest only, or raise it.'
    """
    were = "was" if len(skipped) == 1 else "were"
    return (
        f"The comparison is incomplete: {', '.join(skipped)} {were} not fitted within "
        "training.budget. Run again, which fits the rest only, or raise it."
    )


def _cannot_judge(
    evidence: GateEvidence, gate: GateConfig, *, first: bool, new_evidence: bool
) -> tuple[str, str] | None:
    """Return the rule and the reason that end the case before it is weighed."""
    if not first and (not new_evidence or evidence.rows == 0):
        return "no new evidence", (
            "no new evidence: there are no rows that neither model was trained on"
        )
    if evidence.rows < LEAST_ROWS:
        return "too few rows", (
            f"too few rows: {evidence.rows:,} to judge on, at least {LEAST_ROWS} are needed"
        )
    if evidence.blocks is not None and evidence.blocks < LEAST_BLOCKS:
        return "too few rows", (
            f"too few {evidence.blocks_of}: {evidence.blocks} to judge on, "
            f"at least {LEAST_BLOCKS} are needed: load more, or raise split.holdout"
        )
    missing = _missing(evidence, gate, first=first)
    if missing:
        return "absent evidence", f"absent evidence: {', '.join(missing)}"
    return None


def _missing(evidence: GateEvidence, gate: GateConfig, *, first: bool) -> list[str]:
    """Return the evidence that the rules need and that is missing, as text."""
    needed: dict[str, tuple[float | None, ...]] = {
        f"the challenger's {evidence.metric}": (evidence.challenger_score,),
        f"the baseline's {evidence.metric}": (evidence.baseline_score,),
        "the gain over the baseline": (evidence.baseline_difference,),
        "the interval of that gain": (evidence.baseline_low, evidence.baseline_high),
    }
    if not first:
        needed[f"the champion's {evidence.metric}"] = (evidence.champion_score,)
        needed["the gain over the champion"] = (evidence.difference,)
        needed["its interval"] = (evidence.low, evidence.high)
    if gate.max_latency_ms_per_1k is not None:
        needed["the latency"] = (evidence.latency_ms_per_1k,)
    if gate.max_size_mb is not None:
        needed["the model's size"] = (evidence.model_bytes,)
    return [
        name for name, values in needed.items() if any(v is None or not isfinite(v) for v in values)
    ]


def _refusals(
    evidence: GateEvidence,
    gate: GateConfig,
    champion_version: str | None,
    support: Support | None,
    spared: bool = False,
) -> list[str]:
    """Return every rule that the challenger fails; all numbers are known to be there."""
    # A refit shown to be better than the champion, which scores on else, is `spared` the baseline.
    found = []
    spared = spared or isinstance(support, ProbabilityGain)
    if _known(evidence.baseline_low) <= 0 and not spared:
        measured = _measured(evidence, gate, first=True)
        found.append(f"not shown to beat the trivial baseline in {evidence.metric} ({measured})")
    shown = champion_version is None or _known(evidence.low) > _least(evidence, gate)
    if not shown and not _passes(support, gate):
        words = "beat" if gate.rule == "superior" else "be about as good as"
        measured = _measured(evidence, gate, first=False)
        found.append(
            f"not shown to {words} champion v{champion_version} in {evidence.metric} "
            f"({measured}; the lower end must lie above {_bound(gate):.3g}{_beside(support)})"
        )
    return found + _guardrails(evidence, gate)


def _passes(support: Support | None, gate: GateConfig) -> bool:
    """Return whether what stands beside the holdout's own interval settles it."""
    if isinstance(support, Joined):
        return support.chance < (1 - gate.confidence) / 2
    if isinstance(support, Together):
        return support.low > -gate.margin and not support.worse
    return support is not None


def _guardrails(evidence: GateEvidence, gate: GateConfig) -> list[str]:
    found = []
    slowest, largest = gate.max_latency_ms_per_1k, gate.max_size_mb
    if slowest is not None and (latency := _known(evidence.latency_ms_per_1k)) > slowest:
        found.append(f"too slow: {latency:.4g} ms for 1,000 rows, at most {slowest:g} are allowed")
    if largest is not None and (size := _known(evidence.model_bytes) / _MEGABYTE) > largest:
        found.append(f"too large: {size:.4g} MB, at most {largest:g} are allowed")
    return found


def _bound(gate: GateConfig) -> float:
    """Return the bound that the lower end of the gain must exceed."""
    return gate.min_gain if gate.rule == "superior" else -gate.margin if gate.margin else 0.0


def _least(evidence: GateEvidence, gate: GateConfig) -> float:
    """Return the bound with what rounding may add where the challenger has to be superior."""
    return _bound(gate) + (_rounding(evidence) if gate.rule == "superior" else 0.0)


def _rounding(evidence: GateEvidence) -> float:
    """Return the gain that floating-point summation order alone can cause."""
    # The same model scored twice, from its file and from its parts, differs by as much.
    scores = (evidence.challenger_score, evidence.champion_score)
    return ROUNDING * max((abs(s) for s in scores if s is not None and isfinite(s)), default=0.0)


def _known(value: float | None) -> float:
    if value is None:
        raise AssertionError("absent evidence is refused before it is weighed")
    return value


def _gain(
    evidence: GateEvidence, *, first: bool
) -> tuple[float | None, float | None, float | None]:
    """Return the gain that matters with its interval: over the champion, else the baseline."""
    if first:
        return evidence.baseline_difference, evidence.baseline_low, evidence.baseline_high
    return evidence.difference, evidence.low, evidence.high


def _measured(evidence: GateEvidence, gate: GateConfig, *, first: bool) -> str:
    """Return a gain, its interval and what it was measured on, in words."""
    gain, low, high = _gain(evidence, first=first)
    if gain is None or low is None or high is None:
        return "gain not known"
    if max(abs(gain), abs(low), abs(high)) <= _rounding(evidence):
        return f"equal on all {evidence.rows:,} rows"
    half = (high - low) / 2
    blocks = ""
    if evidence.blocks is not None:
        blocks = f"{evidence.blocks:,} {evidence.blocks_of.partition(' ')[0]}, "
    return (
        f"gain {number(gain, half)}, {gate.confidence * 100:g} % interval "
        f"{number(low, half)} to {number(high, half)}, {blocks}{evidence.rows:,} rows"
    )


def _beside(support: Support | None) -> str:
    """Return the evidence of earlier refits or folds, to end a sentence; empty without any."""
    if support is None:
        return ""
    if isinstance(support, ProbabilityGain):
        gain, low, high = (
            number(value, support.gain - support.low)
            for value in (support.gain, support.low, support.high)
        )
        return f"; its log loss is lower by {gain} ({low} to {high})"
    if isinstance(support, Joined):
        recipes = support.recipes
        return (
            f"; with the {number(recipes.gain, recipes.error)} that its recipe gains on "
            f"{recipes.rows:,} out-of-fold rows, a challenger no better would do as well in "
            f"{100 * support.chance:.2g} % of cases"
        )
    refits = "the earlier refit" if support.earlier == 1 else f"{support.earlier} earlier refits"
    low, mean = (number(value, support.mean - support.low) for value in (support.low, support.mean))
    return f"; with {refits} the mean gain of a refit is {mean}, at least {low}"


def _achieved(
    evidence: GateEvidence,
    gate: GateConfig,
    champion_version: str | None,
    support: Support | None,
    withdrawn: Sequence[str],
) -> str:
    measured = _measured(evidence, gate, first=champion_version is None or bool(withdrawn))
    metric = evidence.metric
    if withdrawn:
        return (
            f"replaces champion v{champion_version}, which uses {listed(list(withdrawn), 5)}, "
            f"excluded now, and beats the trivial baseline in {metric} ({measured})"
        )
    if champion_version is None:
        return f"is the first champion and beats the trivial baseline in {metric} ({measured})"
    if gate.rule == "superior":
        return f"beats champion v{champion_version} in {metric} ({measured}{_beside(support)})"
    if isinstance(support, ProbabilityGain):
        return (
            f"gives better probabilities than champion v{champion_version} and is not shown to be "
            f"worse in {metric} ({measured}{_beside(support)})"
        )
    return (
        f"is not worse than champion v{champion_version} in {metric} "
        f"by more than {gate.margin:.3g} ({measured}{_beside(support)})"
    )


def _sentence(
    evidence: GateEvidence,
    champion_version: str | None,
    refusals: list[str],
    achieved: str,
    *,
    judged: bool,
) -> str:
    name = evidence.challenger or "the challenger"
    if not refusals:
        return f"Promoted: {name} {achieved}."
    kept = "No champion" if champion_version is None else f"Kept champion v{champion_version}"
    sentence = f"{kept}, {name} refused: {'; '.join(refusals)}."
    unseen = evidence.detectable
    if not judged or champion_version is None or unseen is None or not isfinite(unseen):
        return sentence
    if unseen <= _rounding(evidence):
        return sentence
    seen = number(unseen, unseen)
    return f"{sentence} A difference below {seen} could not have been seen on these rows."
