"""Does a candidate learn too much, too little, or as it should: a verdict in words.

The model's score on rows it learned from is held against its score on the holdout and against the
trivial baseline. A gap alone is no harm: a forest memorises its own rows and may still be the best
on others. So a candidate *overfits* only where it also falls behind another one on unseen rows, or
where there is none to compare with.

Sources: Hastie, Tibshirani and Friedman (2009), The elements of statistical learning, sections 7.2,
7.4. Belkin and others (2019), Reconciling modern machine-learning practice and the classical
bias-variance trade-off, PNAS 116: a perfect score on the training rows need not cost anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text.numbers import metric_words, number
from tasks.base.training_records import MetricValue
from tasks.evaluation.findings import Diagnosis, Fit, FitVerdict

LARGE_GAP = 0.25
SMALL_GAP = 0.10

_LESS = {
    "decision_tree": "larger leaves (fewer splits), or a forest of such trees",
    "random_forest": "larger leaves and fewer columns a split",
    "lightgbm": "fewer leaves, more rows a leaf, a stronger `reg_lambda`, a slower learning rate",
    "mlp": "fewer units, a stronger `alpha`, an earlier stop",
    "svm": "a smaller C",
    "logistic_regression": "a stronger penalty, or fewer columns",
}
_MORE = {
    "decision_tree": "smaller leaves, or boosted trees",
    "random_forest": "smaller leaves, more rows a tree",
    "lightgbm": "more leaves, more rounds",
    "mlp": "more units, more epochs",
    "svm": "a larger C",
    "logistic_regression": "crossed or curved columns, or trees, which find them alone",
}


def fit_verdict(
    candidate: str,
    metric: str,
    *,
    train: float | None,
    holdout: MetricValue,
    baseline: float | None,
    behind: MetricValue | None,
    gained: MetricValue | None = None,
    rival_train: float | None = None,
    ordered: bool = False,
) -> FitVerdict:
    """Return the verdict on one candidate, by the metric as it is named."""
    # It is `behind` the best other candidate on the holdout by so much (greater is further), and
    # has `gained` so much over the baseline on the same rows; None where it is not known.
    # `rival_train` is that other candidate's metric on rows it learned from: who learns more of its
    # own rows than a better one does not learn too little. If the holdout is later than the
    # training rows (`ordered`), a gap may be change too.
    value = holdout.value
    if train is None or value is None or baseline is None or not isfinite(train):
        return FitVerdict(
            candidate=candidate,
            fit="unknown",
            train=train,
            holdout=value,
            behind=behind,
            sentence=f"{candidate}: not judged, as {metric} is not defined on both sides.",
        )
    sign = 1.0 if greater_is_better(metric) else -1.0
    learned, kept = sign * (train - baseline), sign * (value - baseline)
    gap = None if learned <= 0 else (learned - kept) / learned
    noise = holdout.half or 0.0
    shown = kept > noise if gained is None or gained.low is None else gained.low > 0
    fit = _judged(learned, kept, gap, noise, behind, shown=shown)
    if fit == "underfits" and rival_train is not None and sign * (train - rival_train) > noise:
        fit = "trails"
    scores = (
        f"{number(train, noise)} on rows it learned from, {number(value, noise)} on unseen ones"
    )
    return FitVerdict(
        candidate=candidate,
        fit=fit,
        train=train,
        holdout=value,
        gap=gap,
        behind=behind,
        sentence=f"{candidate} {_words(fit, gap, ordered)}: {metric_words(metric)} {scores}.",
        advice=_advice(candidate, fit, gap, ordered),
    )


def _judged(
    learned: float,
    kept: float,
    gap: float | None,
    noise: float,
    behind: MetricValue | None,
    *,
    shown: bool,
) -> Fit:
    apart = learned - kept > noise
    large = gap is not None and gap > LARGE_GAP and apart
    if not shown and not large:
        return "no_signal"
    trails = behind is None or (behind.low is not None and behind.low > 0)
    if large:
        return "overfits" if trails or not shown else "memorises"
    small = gap is None or gap <= SMALL_GAP or not apart
    return "underfits" if small and behind is not None and trails else "good"


def _words(fit: Fit, gap: float | None, ordered: bool) -> str:
    lost = (
        "" if gap is None else f" ({min(gap, 9.99):.0%} of what it gains on its own rows is lost)"
    )
    change = "; part of it may be change over time" if ordered else ""
    return {
        "overfits": f"overfits{lost}{change}",
        "memorises": f"is much better on its own rows{lost}, yet no other candidate is shown to "
        f"do better on unseen ones{change}",
        "underfits": "underfits: as good on unseen rows as on its own, and another candidate is "
        "better",
        "trails": "is better on its own rows than another candidate, and worse on unseen ones",
        "no_signal": "is not shown to be better than the baseline",
        "good": "fits well",
        "unknown": "is not judged",
    }[fit]


def _advice(candidate: str, fit: Fit, gap: float | None, ordered: bool) -> str:
    less = _LESS.get(candidate, "a simpler model")
    if fit == "overfits":
        return f"Try {less}; or more rows."
    if fit == "trails":
        newer = "; or newer rows: what it has learned may have changed" if ordered else ""
        return f"Try {less}{newer}."
    if fit == "memorises":
        newer = "; or newer rows, if the world has changed" if ordered else ""
        return f"Try {less}, or more rows{newer}: what it loses may be gained."
    if fit == "underfits":
        return f"Try {_MORE.get(candidate, 'a more flexible model')}."
    if fit == "no_signal":
        return "The columns may not predict the target: try others, and check the target itself."
    if fit == "good" and (gap or 0.0) > SMALL_GAP:
        return f"A little may be left in {less}."
    return "Better columns are likelier to help than other settings." if fit == "good" else ""


def headline(fits: Sequence[FitVerdict], challenger: str) -> str:
    """Return one or two sentences: on the challenger, and on who else fails and how."""
    own = next((f for f in fits if f.candidate == challenger), None)
    parts = [] if own is None else [f"{own.sentence} {own.advice}".strip()]
    others: Mapping[str, list[str]] = {
        kind: [f.candidate for f in fits if f.fit == kind and f.candidate != challenger]
        for kind in ("overfits", "underfits")
    }
    rest = [
        f"{', '.join(names)} {kind if len(names) == 1 else kind.removesuffix('s')}"
        for kind, names in others.items()
        if names
    ]
    return " ".join([*parts, *([f"{'; '.join(rest)}."] if rest else [])])


def lines_of(found: Diagnosis, challenger: str) -> tuple[tuple[str, str], ...]:
    """Return words and sentences for a terminal."""
    # On the fit, configured options, weak rows, mistakes, doubts and next steps.
    options = [(about, " ".join(map(capitalised, notes))) for about, notes in found.asked.items()]
    lines = [("fit", headline(found.fits, challenger)), *options]
    if found.learning is not None:
        lines.append(("data", found.learning.sentence))
    lines.append(("weak", found.slices_sentence))
    lines += [("mistakes", text) for text in found.errors[:1]]
    warned = [s.sentence for s in found.suspicions if s.level == "warning"]
    if not found.left_out:
        lines.append(("doubt", " ".join(warned[:2]) or "Nothing makes the score doubtful."))
    if found.groups:
        lines.append(("groups", " ".join(g.sentence for g in found.groups)))
    lines.append(("try next", " ".join(found.steps[:2])))
    lines.append(("left out", found.left_out))
    return tuple((name, text) for name, text in lines if text)


def capitalised(text: str) -> str:
    """Return a note as a sentence.

    >>> capitalised("tuning made 3 trials")
    'Tuning made 3 trials.'
    """
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
