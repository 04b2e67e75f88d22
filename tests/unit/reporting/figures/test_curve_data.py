from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk

from tasks.reporting.figures.curve_data import (
    CURVE_POINTS,
    SCATTER_POINTS,
    calibration,
    precision_recall_curves,
    residuals,
    roc_curves,
)
from tests.unit.evaluation.problems import binary, multiclass, regression


@pytest.mark.parametrize("ties", [False, True])
def test_areas_are_scikit_learns(ties: bool) -> None:
    y, _, probability, schema = binary(ties=ties)
    (roc,) = roc_curves(y, probability, schema).lines
    assert roc.area == pytest.approx(sk.roc_auc_score(y == "yes", probability[:, 1]), abs=1e-12)
    ranking = precision_recall_curves(y, probability, schema)
    expected = sk.average_precision_score(y == "yes", probability[:, 1])
    assert ranking.lines[0].area == pytest.approx(expected, abs=1e-12)
    assert ranking.chance == pytest.approx((y == "yes").mean())


def test_long_curves_are_thinned_but_keep_their_shape_and_ends() -> None:
    y, _, probability, schema = binary(20_000)
    (line,) = roc_curves(y, probability, schema).lines
    assert len(line.x) <= CURVE_POINTS
    assert (line.x[0], line.y[0]) == (0, 0)
    assert (line.x[-1], line.y[-1]) == (1, 1)
    assert np.trapezoid(line.y, line.x) == pytest.approx(line.area, abs=2e-3)


def test_each_class_has_a_curve() -> None:
    y, _, probability, schema = multiclass()
    assert [line.label for line in roc_curves(y, probability, schema).lines] == list("0123")


def test_a_class_absent_from_the_holdout_has_no_curve() -> None:
    y, _, probability, schema = multiclass()
    kept = y != 2
    lines = roc_curves(y[kept], probability[kept], schema).lines
    assert [line.label for line in lines] == ["0", "1", "3"]


def test_calibration_compares_what_is_stated_with_what_happens() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(10_000) * 0.8
    y = np.where(rng.random(10_000) < p, "yes", "no")
    *_, schema = binary(1)
    record = calibration(y, np.column_stack([1 - p - 0.1, p + 0.1]), schema)
    assert len(record.stated) == 15
    assert record.excess == pytest.approx(0.1, abs=0.02)
    assert record.error == pytest.approx(0.1, abs=0.02)
    assert (record.low <= record.happened).all()
    assert (record.happened <= record.high).all()


def test_residuals_keep_few_points_and_count_all_rows() -> None:
    y, predicted, _ = regression(30_000)
    record = residuals(y, predicted)
    assert record is not None
    assert len(record.observed) == SCATTER_POINTS
    assert 0.98 * 30_000 < record.counts.sum() <= 30_000
    assert record.half == pytest.approx(0.6745, abs=0.02)


@pytest.mark.parametrize("predicted", [[1.0, 1.0], [np.nan, 1.0], [1e308, -1e308]])
def test_residuals_survive_odd_values(predicted: list[float]) -> None:
    record = residuals([1.0, 1.0], predicted)
    assert record is None or np.isfinite(record.edges).all()


def test_no_finite_row_leaves_no_residuals() -> None:
    assert residuals([1.0], [np.nan]) is None
