from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.base.settings.evaluation import GateConfig
from tasks.base.training_records import GateEvidence, RecipeGain, Schema, Verdict
from tasks.models.out_of_fold import OutOfFold
from tasks.registry.gate.gate import decide
from tasks.registry.gate.recipe_comparison import compared

BETTER = RecipeGain(gain=0.02, error=0.006, rows=4000, candidates=5)
SCHEMA = Schema(target="y", task="binary", features={}, classes=("0", "1"), positive="1")


def judged(recipes: RecipeGain | None, gate: GateConfig | None = None, **changes: Any) -> Verdict:
    evidence = GateEvidence(
        metric="roc_auc", rows=1000, challenger_score=0.818, champion_score=0.8,
        baseline_score=0.5, difference=0.018, low=-0.002, high=0.038, baseline_difference=0.318,
        baseline_low=0.28, baseline_high=0.34, challenger="mlp", recipes=recipes,
    )  # fmt: skip
    evidence = evidence.model_copy(update=changes)
    return decide(evidence, gate or GateConfig(), champion_version="3", new_evidence=True)


def test_folds_that_show_the_same_gain_settle_what_the_holdout_leaves_open() -> None:
    assert not judged(None).promoted

    verdict = judged(BETTER)

    assert verdict.promoted
    assert "0.0200 that its recipe gains on 4,000 out-of-fold rows" in verdict.sentence


@pytest.mark.parametrize(
    "recipes",
    [
        BETTER.model_copy(update={"gain": 0.0}),
        BETTER.model_copy(update={"gain": -0.02}),
        BETTER.model_copy(update={"error": 0.02}),
        # The best of very many is better by luck.
        BETTER.model_copy(update={"gain": 0.012, "candidates": 5000}),
    ],
)
def test_folds_that_show_little_change_nothing(recipes: RecipeGain) -> None:
    assert not judged(recipes).promoted


def test_no_folds_outweigh_a_holdout_that_shows_no_gain() -> None:
    sure = BETTER.model_copy(update={"gain": 0.5})
    assert not judged(sure, difference=-0.001, low=-0.021, high=0.019).promoted
    assert not judged(sure, difference=0.001, low=-0.019, high=0.021).promoted
    assert not judged(sure, baseline_low=-0.01).promoted


def test_folds_must_show_the_least_gain_that_the_file_asks_for() -> None:
    assert not judged(BETTER, GateConfig(min_gain=0.015)).promoted


def out_of_fold(quality: float, seed: int) -> OutOfFold:
    rng = np.random.default_rng(0)
    y = (rng.random(2000) < 0.3).astype(np.int64)
    score = quality * y + np.random.default_rng(seed).standard_normal(2000)
    p = 1 / (1 + np.exp(-score))
    place = np.arange(2000)
    said = (p > 0.5).astype(np.int64)
    return OutOfFold(place, y, said, np.column_stack([1 - p, p]), place * 5 // 2000)


def test_recipes_are_compared_on_the_same_rows_with_an_error_wider_than_the_intervals() -> None:
    given: dict[str, Any] = {"gate": GateConfig(), "seed": 0, "trained": 2000, "candidates": 5}
    better, champion = out_of_fold(1.6, 1), out_of_fold(1.2, 2)

    found = compared("roc_auc", better, champion, SCHEMA, **given)

    assert found is not None
    assert 0.02 < found.gain < 0.12
    assert found.rows == 2000
    # About 0.016 by a bootstrap of rows, times 1.5 for models that share their rows.
    assert 0.018 < found.error < 0.03
    fewer = champion.only(np.arange(1999))
    assert compared("roc_auc", better, fewer, SCHEMA, **given) is None
