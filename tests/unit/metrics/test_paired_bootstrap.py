from __future__ import annotations

import numpy as np
import pytest

from tasks.base.settings.evaluation import GateConfig
from tasks.base.training_records import GateEvidence
from tasks.metrics.paired_bootstrap import Predictions, paired_evidence
from tasks.metrics.scorer import score
from tests.unit.evaluation.problems import binary, regression

GATE = GateConfig(replicates=200)


def _classifiers(
    rows: int = 600, metric: str = "roc_auc", noise: float = 0.2, **changes: object
) -> GateEvidence:
    y, predicted, probability, schema = binary(rows)
    rng = np.random.default_rng(1)
    noisy = np.clip(probability[:, 1] + noise * rng.standard_normal(rows), 0, 1)
    given = {
        "challenger": Predictions(predicted, probability),
        "champion": Predictions(
            np.where(noisy > 0.5, "yes", "no"), np.column_stack([1 - noisy, noisy])
        ),
        "baseline": Predictions(np.full(rows, "no"), np.full((rows, 2), 0.5)),
        "blocks": None,
        "gate": GATE,
        "seed": 0,
    } | changes
    return paired_evidence(metric, y, schema=schema, **given)  # type: ignore[arg-type]


def test_the_difference_is_that_of_the_scores() -> None:
    evidence = _classifiers()
    assert evidence.difference == evidence.challenger_score - evidence.champion_score  # type: ignore[operator]
    assert evidence.low < evidence.difference < evidence.high  # type: ignore[operator]
    assert evidence.baseline_score == 0.5
    assert evidence.rows == 600
    assert evidence.detectable == pytest.approx((evidence.high - evidence.low) / 2)  # type: ignore[operator]


def test_for_a_loss_a_smaller_value_is_a_gain() -> None:
    y, predicted, schema = regression()
    worse = Predictions(predicted + 3)
    trivial = Predictions(np.full(len(y), y.mean()))
    evidence = paired_evidence(
        "rmse", y, Predictions(predicted), worse, trivial, schema, blocks=None, gate=GATE, seed=0
    )
    assert evidence.champion_score > evidence.challenger_score  # type: ignore[operator]
    assert evidence.low > 0  # type: ignore[operator]


def test_equal_predictions_differ_by_nothing() -> None:
    _, predicted, probability, _ = binary(600)
    same = Predictions(predicted, probability)
    evidence = _classifiers(champion=same)
    assert (evidence.difference, evidence.low, evidence.high) == (0.0, 0.0, 0.0)


def test_pairing_makes_the_interval_narrower_than_that_of_the_scores() -> None:
    evidence = _classifiers(1000, noise=0.05)
    alone = _classifiers(1000, champion=None)
    paired = evidence.high - evidence.low  # type: ignore[operator]
    assert paired < 0.5 * (alone.baseline_high - alone.baseline_low)  # type: ignore[operator]


def test_without_a_champion_only_the_baseline_is_compared() -> None:
    evidence = _classifiers(champion=None)
    assert evidence.champion_score is None
    assert evidence.difference is None
    assert evidence.low is None
    assert evidence.baseline_low > 0  # type: ignore[operator]


def test_blocks_are_counted() -> None:
    assert _classifiers(blocks=np.arange(600) // 20).blocks == 30


def test_one_block_gives_no_interval() -> None:
    evidence = _classifiers(blocks=np.zeros(600, dtype=int))
    assert evidence.difference is not None
    assert evidence.low is None
    assert evidence.baseline_low is None


def test_no_rows_give_no_evidence() -> None:
    y, predicted, probability, schema = binary(0)
    nothing = Predictions(predicted, probability)
    evidence = paired_evidence(
        "roc_auc", y, nothing, None, nothing, schema, blocks=None, gate=GATE, seed=0
    )
    assert evidence.rows == 0
    assert evidence.challenger_score is None
    assert evidence.baseline_low is None


def test_a_champion_without_probabilities_is_absent_evidence() -> None:
    _, predicted, *_ = binary(600)
    evidence = _classifiers(champion=Predictions(predicted))
    assert evidence.champion_score is None
    assert evidence.difference is None


def test_precision_is_compared_with_calling_every_row_positive() -> None:
    evidence = _classifiers(metric="precision")
    y, *_ = binary(600)
    assert evidence.baseline_score == pytest.approx((y == "yes").mean())
    assert evidence.baseline_low > 0  # type: ignore[operator]


def test_scores_are_those_of_score() -> None:
    y, predicted, probability, schema = binary(600)
    expected = score("roc_auc", y, predicted, probability, schema.classes, schema.positive)
    assert _classifiers().challenger_score == pytest.approx(expected, abs=1e-12)


def test_many_rows_keep_the_exact_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = _classifiers(3000)
    monkeypatch.setattr("tasks.metrics.bootstrap.EXACT_WORK", 1)
    aggregated = _classifiers(3000)
    assert aggregated.difference == pytest.approx(exact.difference, abs=1e-12)
    assert aggregated.detectable == pytest.approx(exact.detectable, rel=0.35)
