from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.base.training_records import CandidateResult, Evaluation, MetricValue
from tasks.data.snapshots import write_snapshot
from tasks.evaluation.diagnosis.leakage import duplicate_suspicion, duplicates, few_groups, too_good
from tasks.metrics.paired_bootstrap import Predictions
from tests.unit.evaluation.problems import regression


def _snapshot(tmp_path: Path, copies: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Return a snapshot whose first `copies` holdout rows equal training rows in every feature."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(1000), rng.choice(np.array(["x", "y", None], dtype=object), 1000)
    a[800 : 800 + copies], b[800 : 800 + copies] = a[:copies], b[:copies]
    table = pa.table({"a": a, "b": b, "id": [str(k) for k in range(1000)]})
    snapshot = write_snapshot(
        table,
        {"a": "numeric", "b": "categorical", "id": "identifier"},
        tmp_path,
        time_column=None,
        assumptions=(),
    )
    return snapshot.path, np.arange(800), np.arange(800, 1000)


def test_rows_on_both_sides_of_the_split_are_found_by_their_features(tmp_path: Path) -> None:
    path, train, holdout = _snapshot(tmp_path, 40)
    found = duplicates(path, ["a", "b"], train, holdout)
    assert found is not None
    assert np.flatnonzero(found.known).tolist() == list(range(40))
    none = duplicates(path, ["a", "b", "id"], train, holdout)
    assert none is not None
    assert not none.known.any()


def test_copies_that_flatter_the_score_are_a_warning_with_the_score_without(
    tmp_path: Path,
) -> None:
    path, train, holdout = _snapshot(tmp_path, 40)
    y, predicted, schema = regression(200)
    predicted = predicted.copy()
    predicted[:40] = y[:40]
    model = Predictions(predicted)
    found = duplicates(path, ["a", "b"], train, holdout)
    told = duplicate_suspicion(found, y, model, schema, "rmse")
    assert told.level == "warning"
    assert "40 holdout rows (20.0%)" in told.sentence
    assert "without them" in told.sentence
    clean = duplicates(*_snapshot(tmp_path, 0)[:1], ["a", "b"], train, holdout)
    assert duplicate_suspicion(clean, y, model, schema, "rmse").level == "note"


def test_a_table_that_repeats_itself_anyway_is_said_to_have_few_combinations(
    tmp_path: Path,
) -> None:
    path, train, holdout = _snapshot(tmp_path, 0)
    y, predicted, schema = regression(200)
    found = duplicates(path, ["b"], train, holdout)
    told = duplicate_suspicion(found, y, Predictions(predicted), schema, "rmse")
    assert "few combinations" in told.sentence


def _evaluation(**metrics: MetricValue) -> Evaluation:
    return Evaluation(candidate="lightgbm", metrics=metrics)


def test_a_score_too_good_to_be_true_is_doubted() -> None:
    result = CandidateResult(candidate="lightgbm", status="ok")
    for value, doubted in ((0.999, True), (0.98, False)):
        told = too_good(_evaluation(roc_auc=MetricValue(value=value)), result, "roc_auc", 0.5)
        assert bool(told) == doubted


def test_a_holdout_far_from_validation_is_told_on_either_side() -> None:
    result = CandidateResult(candidate="lightgbm", status="ok", cv_mean=0.8, cv_std=0.01)

    def told(value: float) -> list[str]:
        near = MetricValue(value=value, low=value - 0.01, high=value + 0.01)
        return [s.level for s in too_good(_evaluation(roc_auc=near), result, "roc_auc", 0.5)]

    assert told(0.81) == []
    assert told(0.83) == ["note"]
    assert told(0.9) == ["warning"]
    assert told(0.7) == ["warning"]


def test_a_holdout_of_few_groups_is_to_be_checked() -> None:
    assert [s.level for s in few_groups("voice", np.arange(20) % 9)] == ["warning"]
    assert few_groups("voice", np.arange(20) % 10) == ()
    assert few_groups(None, None) == ()
