"""Evidence of cross-validation about two recipes, joined with the holdout's; pure.

A holdout of 1,000 rows shows a gain of 0.019 AUC in half of the cases. The training compared the
challenger's recipe with the champion's on out-of-fold predictions of several times as many rows, as
independent of the holdout's as rows of one table are. Their evidence is joined by Stouffer's sum of
two normal scores. Three things keep the level:

* the challenger was chosen on those rows, as the best of several: Sidak's correction;
* the models of different folds share most of what they learn from: the standard error is widened as
  Nadeau and Bengio do;
* the folds compare recipes, the holdout the very models: it weighs twice as much, the other score
  is capped, and its own rows must show a gain.

Level and power are measured by ``tests/benchmarks/gate_error.py``.

References
----------
Stouffer et al. (1949), The American Soldier, volume 1. Sidak (1967), Rectangular confidence regions
for the means of multivariate normal distributions, JASA 62. Nadeau and Bengio (2003), Inference for
the generalization error, Machine Learning 52.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np

from tasks.base.arrays import spread
from tasks.base.settings.evaluation import GateConfig
from tasks.base.training_records import GateEvidence, RecipeGain, Schema
from tasks.metrics.paired_bootstrap import Predictions, paired_evidence
from tasks.metrics.random_effects import standard_error
from tasks.models.out_of_fold import OutOfFold

WEIGHT = sqrt(0.5)  # of the folds' score beside the holdout's
CAP = 3.0  # the folds' score counts up to here, in standard errors

MOST = 20_000  # rows on which recipes are compared, evenly taken


@dataclass(frozen=True)
class Joined:
    """Probability of such evidence by chance, for a challenger that gains no more than required."""

    chance: float
    recipes: RecipeGain


def compared(
    metric: str,
    challenger: OutOfFold,
    champion: OutOfFold,
    schema: Schema,
    *,
    gate: GateConfig,
    seed: int,
    trained: int,
    candidates: int,
) -> RecipeGain | None:
    """Return the challenger's recipe beside the champion's; None where their rows differ."""
    # Each fold's model learned all of the `trained` rows but its own; the challenger is the best of
    # `candidates` recipes.
    if not len(challenger) or not challenger.same_rows(champion):
        return None
    rows = spread(len(challenger), MOST)
    ours, theirs = challenger.only(rows), champion.only(rows)
    former = Predictions(theirs.predicted, theirs.probability)
    found = paired_evidence(
        metric,
        ours.y,
        Predictions(ours.predicted, ours.probability),
        former,
        former,
        schema,
        blocks=ours.together(),
        gate=gate,
        seed=seed,
    )
    if found.difference is None or found.low is None or found.high is None:
        return None
    folds = len(np.unique(challenger.part))
    # Forward in time the folds' models learn from half of the rows on average.
    learned = trained * (0.5 if challenger.ordered else 1 - 1 / max(2, folds))
    wider = sqrt(1 + len(challenger) / learned)
    error = standard_error(found.low, found.high, gate.confidence) * wider
    return RecipeGain(gain=found.difference, error=error, rows=len(rows), candidates=candidates)


def joined(evidence: GateEvidence, least: float, confidence: float) -> Joined | None:
    """Return the joint evidence of holdout and folds for a gain above `least`.

    Returns: None where the folds do not compare the recipes, or where the holdout's own rows show
    no gain above `least`.

    >>> evidence = GateEvidence(
    ...     metric="roc_auc", rows=1000, challenger_score=0.815, champion_score=0.8,
    ...     baseline_score=0.5, difference=0.015, low=-0.005, high=0.035, baseline_difference=0.315,
    ...     baseline_low=0.28, baseline_high=0.34,
    ...     recipes=RecipeGain(gain=0.018, error=0.007, rows=4000, candidates=5))
    >>> round(joined(evidence, 0.0, 0.95).chance, 3)
    0.01
    """
    recipes = evidence.recipes
    if recipes is None or recipes.error <= 0 or evidence.difference is None:
        return None
    if evidence.low is None or evidence.high is None or evidence.difference <= least:
        return None
    error = standard_error(evidence.low, evidence.high, confidence)
    if error <= 0:
        return None
    normal = NormalDist()
    none_better = normal.cdf((recipes.gain - least) / recipes.error) ** max(1, recipes.candidates)
    furthest = normal.cdf(CAP)
    of_folds = normal.inv_cdf(min(furthest, max(1 - furthest, none_better)))
    of_holdout = (evidence.difference - least) / error
    score = (of_holdout + WEIGHT * of_folds) / sqrt(1 + WEIGHT**2)
    return Joined(normal.cdf(-score), recipes)
