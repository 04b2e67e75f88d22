from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.base.settings.evaluation import GateConfig
from tasks.base.training_records import GateEvidence, Schema, Verdict
from tasks.metrics.paired_bootstrap import Predictions, paired_evidence
from tasks.registry.gate.gate import decide

SCHEMA = Schema(target="y", task="binary", features={}, classes=("0", "1"), positive="1")
# A champion that ranks no better than chance leaves no margin.
LOST = GateEvidence(
    metric="roc_auc", rows=900, challenger_score=0.51, champion_score=0.5, baseline_score=0.5,
    difference=0.01, low=-0.06, high=0.08, baseline_difference=0.01, baseline_low=-0.05,
    baseline_high=0.07, challenger="lightgbm",
)  # fmt: skip


def judged(*, refit: bool = True, **changes: Any) -> Verdict:
    evidence = LOST.model_copy(update=changes)
    return decide(evidence, GateConfig(), champion_version="3", new_evidence=True, refit=refit)


def test_a_refit_with_better_probabilities_replaces_a_champion_that_has_lost_its_lead() -> None:
    assert not judged().promoted

    verdict = judged(log_loss=(0.15, 0.1, 0.2))

    assert verdict.promoted
    assert "log loss is lower by 0.150 (0.100 to 0.200)" in verdict.sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"log_loss": (0.15, -0.01, 0.31)},
        {"log_loss": (0.15, 0.1, 0.2), "difference": -0.08, "low": -0.15, "high": -0.01},
        {"log_loss": (0.15, 0.1, 0.2), "refit": False},
    ],
    ids=["not shown", "worse in the metric", "a search"],
)
def test_better_probabilities_settle_nothing_else(changes: dict[str, Any]) -> None:
    assert not judged(**changes).promoted


@pytest.mark.parametrize("refit", [True, False])
def test_probabilities_of_a_refit_are_compared_on_the_same_rows(refit: bool) -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(800) < 0.4).astype(np.int64)
    order = rng.random(800)
    stale, fresh = 0.05 * order, 0.3 + 0.2 * order
    ours, theirs = (
        Predictions((p > 0.5).astype(np.int64), np.column_stack([1 - p, p])) for p in (fresh, stale)
    )

    found = paired_evidence(
        "roc_auc", y, ours, theirs, theirs, SCHEMA, blocks=None, gate=GateConfig(), seed=0,
        refit=refit,
    )  # fmt: skip

    assert found.difference == pytest.approx(0.0)
    if not refit:
        assert found.log_loss is None
    else:
        assert found.log_loss is not None
        assert 0 < found.log_loss[1] < found.log_loss[0] < found.log_loss[2]
