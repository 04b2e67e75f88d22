"""Whether a refit's probabilities are better where the metric leaves it open; pure.

Metrics of order, such as roc_auc, and those of the decided class cannot see that probabilities are
off, which is what a moved base rate does to an ageing model, and what a refit fixes. Nor is there a
margin left where the champion has lost all that it was better than the trivial baseline. A refit
whose log loss is shown to be lower than the champion's then passes, unless its own rows show it to
be worse in the metric.

References
----------
Gneiting and Raftery (2007), Strictly proper scoring rules, prediction, and estimation, JASA 102.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.base.training_records import GateEvidence
from tasks.metrics.random_effects import is_worse


@dataclass(frozen=True)
class ProbabilityGain:
    """By how much a refit's log loss is lower, with its interval above zero."""

    gain: float
    low: float
    high: float


def probability_gain(evidence: GateEvidence, confidence: float) -> ProbabilityGain | None:
    """Return the gain in log loss; None where it is not shown, or the metric shows a loss.

    >>> evidence = GateEvidence(
    ...     metric="roc_auc", rows=900, challenger_score=0.51, champion_score=0.50,
    ...     baseline_score=0.5, difference=0.01, low=-0.06, high=0.08, baseline_difference=0.01,
    ...     baseline_low=-0.05, baseline_high=0.07, log_loss=(0.15, 0.10, 0.20))
    >>> probability_gain(evidence, 0.95)
    ProbabilityGain(gain=0.15, low=0.1, high=0.2)
    >>> worse = {"difference": -0.08, "low": -0.15, "high": -0.01}
    >>> probability_gain(evidence.model_copy(update=worse), 0.95)
    """
    if evidence.log_loss is None or evidence.log_loss[1] <= 0:
        return None
    if evidence.difference is None or evidence.low is None or evidence.high is None:
        return None
    if is_worse(evidence.difference, evidence.low, evidence.high, confidence):
        return None
    return ProbabilityGain(*evidence.log_loss)
