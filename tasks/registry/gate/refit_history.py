"""Evidence of earlier refits of a recipe, joined with the refit that is judged; pure.

A refit is judged on few rows, often of days that differ more than the margin allows for, so that
half of the refits that are as good as the champion are refused for want of evidence. How a recipe
performs on newer rows is measured at each refit, so the results are pooled: each is the mean
gain of a refit here, its own deviation, and noise. The deviation has a weakly informative prior, of
the margin's size, so that one earlier refit settles nothing.

What is tested is then the mean of refits by this recipe, not this refit alone. So this refit must
not be shown to be worse by its own rows, and probation reverts what turns out worse. Levels and
power are measured by ``tests/benchmarks/gate_error.py``.

References
----------
Gelman (2006), Prior distributions for variance parameters in hierarchical models, Bayesian
Analysis 1. Schmidli et al. (2014), Robust meta-analytic-predictive priors in clinical trials with
historical control information, Biometrics 70.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from tasks.base.training_records import GateEvidence, RefitGain, Verdict
from tasks.base.utc_times import as_utc
from tasks.metrics.random_effects import is_worse, random_effects, standard_error

MOST = 12  # earlier refits that count, the newest: a recipe's fitness may change


@dataclass(frozen=True)
class Together:
    """The mean gain of a refit by this recipe, over earlier ones and this one."""

    earlier: int  # how many earlier refits count
    mean: float
    low: float  # its lower end at the gate's confidence
    worse: bool  # whether this refit's own rows show it to be worse than the champion


def together(
    evidence: GateEvidence, earlier: Sequence[RefitGain], margin: float, confidence: float
) -> Together | None:
    """Return the joint evidence of earlier refits and this one; None without one, or a margin.

    >>> now = GateEvidence(
    ...     metric="roc_auc", rows=400, challenger_score=0.79, champion_score=0.79,
    ...     baseline_score=0.5, difference=0.0, low=-0.04, high=0.04, baseline_difference=0.3,
    ...     baseline_low=0.28, baseline_high=0.32)
    >>> found = together(now, [RefitGain(gain=0.01, error=0.02)] * 8, 0.029, 0.95)
    >>> found.earlier, found.low > -0.029, found.worse
    (8, True, False)
    """
    known = [one for one in earlier if one.error > 0][-MOST:]
    if evidence.difference is None or evidence.low is None or evidence.high is None:
        return None
    error = standard_error(evidence.low, evidence.high, confidence)
    if not known or margin <= 0 or error <= 0:
        return None
    gains = np.array([*(one.gain for one in known), evidence.difference])
    errors = np.array([*(one.error for one in known), error])
    found = random_effects(gains, errors**2, margin)
    return Together(
        earlier=len(known),
        mean=found.centre,
        low=found.centre_quantile((1 - confidence) / 2),
        worse=is_worse(evidence.difference, evidence.low, evidence.high, confidence),
    )


def refit_gain(verdict: Verdict, until: datetime | None) -> RefitGain | None:
    """Return the result of a judged refit, for later ones; None where nothing was measured."""
    if verdict.difference is None or verdict.interval is None or verdict.margin is None:
        return None
    error = standard_error(*verdict.interval, verdict.confidence)
    return RefitGain(gain=verdict.difference, error=error, until=until)


def judged_before(earlier: Sequence[RefitGain], boundary: datetime | None) -> list[RefitGain]:
    """Return the refits that were judged on older rows than those from `boundary` on."""
    # Without times it is unknown which rows they were judged on, and none counts.
    if boundary is None:
        return []
    return [one for one in earlier if one.until and as_utc(one.until) < as_utc(boundary)]
