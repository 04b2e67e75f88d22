from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from tasks.base.errors import EvidenceError
from tasks.base.monitoring_records import Performance
from tasks.base.plugin_settings import HooksConfig, OwnCode
from tasks.monitoring.performance.realised import assess_window
from tests.unit.monitoring.windows_made import (
    BINARY,
    DIGITS,
    VALUES,
    WEEK,
    WINDOW,
    binary,
    digits,
    values,
)

HOLDOUT = binary(8_000, 100, weeks=4.0)


def assessed(rows: pd.DataFrame, **changes: Any) -> Performance:
    given: dict[str, Any] = {
        "roles": BINARY, "metric": "roc_auc", "version": "3", "window": WINDOW,
        "holdout": HOLDOUT, "label_delay": None, "now": WINDOW.end, "false_alarms": 0.05,
        "length": WEEK, **changes,
    }  # fmt: skip
    return assess_window(rows, **given)


def test_the_realised_metric_is_scikit_learns_with_an_interval() -> None:
    rows = binary()
    found = assessed(rows)
    assert found.realised is not None
    assert found.realised.value == pytest.approx(
        roc_auc_score(rows["label"] == "yes", rows["probability_yes"])
    )
    assert (found.realised.low or 1) < (found.realised.value or 0) < (found.realised.high or 0)
    assert (found.rows, found.labelled, found.mature, found.worse) == (2000, 2000, True, False)
    assert found.reference is not None
    assert found.limit is not None
    assert found.limit < (found.reference.value or 0)
    assert "over 4 windows of the reference" in found.sentence


def test_a_model_that_no_longer_fits_is_worse_and_an_ordinary_one_is_not() -> None:
    worse = assessed(binary(signal=0.3))
    assert worse.worse
    assert "worse than is ordinary" in worse.sentence
    assert not assessed(binary(seed=5)).worse


@pytest.mark.parametrize(("metric", "noise"), [("rmse", 2.0), ("mae", 2.0)])
def test_an_error_that_grows_is_worse(metric: str, noise: float) -> None:
    given = {"roles": VALUES, "metric": metric, "holdout": values(8_000, 9, weeks=4.0)}
    assert assessed(values(noise=noise), **given).worse
    assert not assessed(values(noise=1.0, seed=3), **given).worse


def test_a_holdout_of_one_window_does_not_alarm_from_noise() -> None:
    short = binary(2_000, 100, weeks=1.0)
    fallen = assessed(binary(seed=1, signal=0.9), holdout=short)
    assert not fallen.worse
    assert "holds one window, so how much windows vary is mostly assumed" in fallen.sentence
    assert assessed(binary(20_000, signal=0.5), holdout=binary(20_000, 100, weeks=1.0)).worse


def test_weeks_that_differ_in_the_holdout_widen_what_is_ordinary() -> None:
    rng = np.random.default_rng(0)
    parts = [binary(2_000, 200 + n, signal=float(rng.choice([0.7, 1.7]))) for n in range(8)]
    for n, part in enumerate(parts):
        part["time"] = part["time"] + n * WEEK
    varied = assessed(binary(signal=0.8), holdout=pd.concat(parts))
    steady = assessed(binary(signal=0.8))
    assert steady.worse
    assert not varied.worse
    assert varied.limit is not None
    assert steady.limit is not None
    assert varied.limit < steady.limit


def test_labels_are_mature_when_the_delay_is_over_and_nearly_all_are_there() -> None:
    rows = binary()
    two_days = timedelta(days=2)
    assert not assessed(rows, label_delay=two_days, now=WINDOW.end).mature
    assert assessed(rows, label_delay=two_days, now=WINDOW.end + two_days).mature
    rows.loc[:400, "label"] = None
    found = assessed(rows)
    assert not found.mature
    assert found.labelled == 1599
    assert "1,599 of 2,000 rows are labelled (80 %)" in found.sentence
    assert found.realised is not None
    naive = assessed(binary(), now=WINDOW.end.replace(tzinfo=None))
    assert naive.mature


def test_labels_that_come_early_do_not_decide() -> None:
    rows = binary(signal=0.3)
    rows.loc[1500:, "label"] = None
    found = assessed(rows)
    assert not found.worse
    assert found.realised is not None
    assert "Estimated" in found.sentence


def test_without_labels_an_estimate_alarms_alone_and_with_them_it_does_not() -> None:
    # The probabilities crowd around a half: the metric must fall, and the labels agree.
    rows = binary(4_000, shift=0.8)
    hidden = rows.assign(label=None)
    given = {"metric": "accuracy", "holdout": binary(16_000, 100, weeks=8.0)}
    found = assessed(hidden, **given)
    assert found.realised is None
    assert found.worse
    assert "can't see a change" in found.sentence
    kept = rows.assign(label=rows["prediction"])
    assert not assessed(kept, **given).worse


def test_an_estimate_cannot_see_concept_drift_and_says_so() -> None:
    found = assessed(binary(signal=-1.2).assign(label=None))
    assert not found.worse
    assert "can't see a change in how the target depends on the features" in found.sentence


@pytest.mark.parametrize("rows", [0, 1, 40, 199])
def test_too_few_rows_give_a_sentence_and_no_number(rows: int) -> None:
    found = assessed(binary(rows))
    assert (found.realised, found.estimated, found.worse) == (None, None, False)
    assert "Not enough data" in found.sentence


def test_too_few_labels_give_a_sentence_and_no_number() -> None:
    rows = binary()
    rows.loc[100:, "label"] = np.nan
    found = assessed(rows)
    assert found.realised is None
    assert "Too few labels: 100 of 2,000 rows are labelled (5 %), 200 needed" in found.sentence


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy", "log_loss"])
def test_one_class_gives_a_sentence_and_no_number(metric: str) -> None:
    found = assessed(binary().assign(label="no"), metric=metric)
    assert (found.realised, found.worse) == (None, False)
    assert "All labels are 'no'" in found.sentence


def test_without_a_holdout_nothing_is_judged() -> None:
    for holdout in (None, HOLDOUT.iloc[:0], HOLDOUT.assign(label=None), HOLDOUT.assign(label="no")):
        found = assessed(binary(signal=-1.0), holdout=holdout)
        assert found.realised is not None
        assert (found.worse, found.reference, found.limit) == (False, None, None)
        assert "normal range is unknown" in found.sentence


def test_rows_of_another_version_and_without_usable_predictions_are_left_out() -> None:
    rows = binary()
    rows.loc[:9, "probability_yes"] = [np.nan, np.inf] * 5
    rows.loc[10:19, "version"] = "2"
    found = assessed(rows)
    assert found.rows == 1980
    assert found.realised is not None


def test_a_label_of_no_class_is_counted_and_said() -> None:
    rows = binary()
    rows.loc[:49, "label"] = "</script>"
    found = assessed(rows)
    assert found.labelled == 1950
    assert "50 labels are none of the classes" in found.sentence


def test_labels_and_predictions_as_text_or_numbers_are_the_same() -> None:
    rows = digits()
    given = {"roles": DIGITS, "metric": "accuracy", "holdout": digits(6_000, 7)}
    as_text = assessed(rows, **given)
    as_numbers = assessed(rows.assign(label=rows["label"].astype(float)), **given)
    assert as_text.realised is not None
    assert as_text.realised == as_numbers.realised
    assert as_text.realised.value == pytest.approx(
        (rows["prediction"] == rows["label"].astype(float)).mean()
    )


def test_windows_without_time_are_judged_by_chance_alone() -> None:
    rows = binary().drop(columns="time")
    given = {"window": None, "holdout": HOLDOUT.drop(columns="time")}
    assert assessed(rows, **given).mature
    assert not assessed(rows, **given).worse
    assert assessed(binary(signal=0.3).drop(columns="time"), **given).worse


def test_it_is_the_same_again() -> None:
    assert assessed(binary()) == assessed(binary())


def test_a_metric_of_another_task_is_refused() -> None:
    with pytest.raises(EvidenceError, match="the metric must be one of"):
        assessed(binary(), metric="rmse")


def test_a_metric_of_one_s_own_is_realised_and_judged_and_not_estimated(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def right(y_true, y_pred):\n    return (y_true == y_pred).mean()\n", encoding="utf-8"
    )
    hook = {"call": "mine:right", "greater_is_better": True}
    roles = BINARY.running(OwnCode.of(HooksConfig.model_validate({"metrics": {"right": hook}}),
                                      tmp_path))  # fmt: skip
    rows = binary()

    found = assessed(rows, roles=roles, metric="right")
    own = assessed(rows, metric="accuracy")

    assert found.realised == own.realised
    # On its own scale: nothing tells that it is a share.
    assert found.limit == pytest.approx(own.limit, abs=0.02)
    assert found.estimated is None or found.estimated.value is None
    assert assessed(binary(signal=0.3), roles=roles, metric="right").worse


def test_values_that_are_not_finite_are_left_out() -> None:
    rows = values()
    rows.loc[:4, "prediction"] = np.inf
    rows.loc[5:9, "label"] = -np.inf
    found = assessed(rows, roles=VALUES, metric="rmse", holdout=values(4_000, 9, weeks=4.0))
    assert (found.rows, found.labelled) == (1995, 1990)
    assert found.realised is not None
    assert found.realised.value is not None
    assert np.isfinite(found.realised.value)
