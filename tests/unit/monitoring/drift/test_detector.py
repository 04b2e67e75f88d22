from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.base.monitoring_records import ColumnFinding, DriftResult
from tasks.base.training_records import Kind
from tasks.monitoring.drift.detector import measure
from tasks.monitoring.drift.reference_summary import Reference, build_reference

WEEK = timedelta(days=7)
KINDS: dict[str, Kind] = {
    "fee": "numeric",
    "plan": "categorical",
    "paid": "boolean",
    "since": "datetime",
    "note": "text",
    "gaps": "numeric",
    "</script><script>alert(1)</script>": "numeric",
}
HOSTILE = "</script><script>alert(1)</script>"


def rows(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "fee": rng.normal(50, 10, n),
            "plan": rng.choice(["basic", "plus", "pro"], n, p=[0.6, 0.3, 0.1]),
            "paid": rng.random(n) < 0.7,
            "since": np.datetime64("2020-01-01", "us")
            + rng.integers(0, 10**9, n) * np.timedelta64(1000, "us"),
            "note": ["x" * k for k in rng.integers(0, 30, n)],
            "gaps": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            HOSTILE: rng.exponential(size=n),
        }
    )


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build_reference(rows(6_000, 0), KINDS, None, WEEK)


def look(reference: Reference, frame: pd.DataFrame, **how: Any) -> DriftResult:
    return measure(reference, frame, **{"false_alarms": 0.05, "min_rows": 200, **how})


def of(result: DriftResult, column: str) -> ColumnFinding:
    return next(finding for finding in result.columns if finding.column == column)


def test_rows_like_the_references_do_not_drift(reference: Reference) -> None:
    result = look(reference, rows(1_000, 1))
    assert result.enough
    assert not result.alarm
    assert result.drifted == ()
    assert result.score is not None
    assert result.score <= 1 == result.limit
    assert result.reference_rows == 6_000
    assert result.sentence.startswith("no drift: none of 7 columns left its usual range")
    assert "chance alone: the training rows have no times" in result.sentence


def test_a_shift_is_named_with_its_size_and_limit(reference: Reference) -> None:
    frame = rows(1_000, 2)
    result = look(reference, frame.assign(fee=frame.fee + 5))
    assert result.alarm
    fee = of(result, "fee")
    assert fee.method == "ks"
    assert fee.drifted
    assert fee.statistic is not None
    assert fee.threshold is not None
    assert fee.statistic == pytest.approx(0.2, abs=0.05)
    assert fee.p_value is not None
    assert fee.p_value < 1e-6
    assert result.sentence.startswith(
        f"1 of 7 columns drifted: fee (ks {fee.statistic:.2f}, limit {fee.threshold:.2f})"
    )


def test_below_the_minimum_nothing_is_said_to_drift_or_not(reference: Reference) -> None:
    frame = rows(57, 3)
    result = look(reference, frame.assign(fee=0.0))
    assert not result.enough
    assert not result.alarm
    assert result.drifted == ()
    assert result.score is None
    assert result.sentence.startswith("not enough data: 57 rows, 200 needed")


def test_an_empty_window_is_not_enough(reference: Reference) -> None:
    result = look(reference, rows(10, 0)[:0])
    assert not result.enough
    assert "0 rows" in result.sentence
    assert len(result.columns) == 7


@pytest.mark.parametrize("column", list(KINDS))
def test_a_column_that_became_all_null_drifted(reference: Reference, column: str) -> None:
    frame = rows(500, 4)
    frame[column] = None
    finding = of(look(reference, frame), column)
    assert finding.drifted
    assert finding.method == "nulls"
    assert finding.missing == 1.0
    assert "all null" in finding.notes


@pytest.mark.parametrize("column", list(KINDS))
def test_a_column_that_is_gone_drifted_and_is_told(reference: Reference, column: str) -> None:
    finding = of(look(reference, rows(500, 5).drop(columns=column)), column)
    assert finding.drifted
    assert finding.notes == ("not in the window",)


def test_more_nulls_are_found_by_their_share(reference: Reference) -> None:
    frame = rows(1_000, 6)
    frame.loc[::3, "fee"] = np.nan
    fee = of(look(reference, frame), "fee")
    assert (fee.method, fee.drifted, fee.missing_reference) == ("nulls", True, 0.0)
    assert fee.missing == pytest.approx(1 / 3, abs=0.01)
    assert fee.statistic == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_value_that_stands_still_is_found_as_a_peak(reference: Reference, share: float) -> None:
    frame = rows(1_000, 7)
    frame.loc[np.random.default_rng(0).random(1_000) < share, "fee"] = 50.0
    fee = of(look(reference, frame), "fee")
    assert (fee.method, fee.drifted) == ("peak", True)
    assert fee.statistic == pytest.approx(share, abs=0.05)
    assert ("constant in the window" in fee.notes) == (share == 1.0)


def test_unseen_levels_are_counted_and_drift(reference: Reference) -> None:
    frame = rows(1_000, 8)
    frame.loc[:299, "plan"] = [f"new {k}" for k in range(300)]
    plan = of(look(reference, frame), "plan")
    assert (plan.method, plan.unseen, plan.drifted) == ("unseen", 300, True)
    assert plan.statistic == pytest.approx(0.3, abs=0.03)


def test_a_new_column_is_only_noted(reference: Reference) -> None:
    result = look(reference, rows(500, 9).assign(target=1, extra=2), new={"extra": "numeric"})
    assert [c.column for c in result.columns if c.role == "new"] == ["extra"]
    assert result.sentence.endswith("; new columns: extra")
    assert of(result, "extra").notes == ("new: the model does not use it",)
    assert not result.alarm


def test_infinite_values_are_values_and_said(reference: Reference) -> None:
    frame = rows(500, 10)
    frame.loc[:4, "fee"] = np.inf
    fee = of(look(reference, frame), "fee")
    assert "5 values are infinite" in fee.notes
    assert fee.missing == 0.0
    assert not fee.drifted


@pytest.mark.parametrize(
    "odd",
    [
        [True, 1, "x", None, 2.5], ["", " ", "\x00", "\ud800", "日本"],
        [1 + 2j, 3, None, "a", b"b"], [1 + 2j, 3, 4, 5, 6],
        [10**400, -(10**400), 1, 2, 3], [{"a": 1}, [1], (1,), None, 1],
        [pd.Timestamp("2020-01-01"), pd.NaT, "2020", 5, None], [np.inf, -np.inf, np.nan, 0, 1],
    ],
)  # fmt: skip
@pytest.mark.parametrize("column", list(KINDS))
def test_mixed_cells_give_a_finding_and_no_crash(
    reference: Reference, column: str, odd: list[object]
) -> None:
    frame = rows(500, 11)
    frame[column] = pd.Series(odd * 100, dtype=object)
    result = look(reference, frame)
    finding = of(result, column)
    assert finding.drifted
    result.model_dump_json()


def test_numbers_and_truths_written_otherwise_are_the_same(reference: Reference) -> None:
    frame = rows(1_000, 12)
    as_text = frame.assign(
        fee=frame.fee.astype(str),
        paid=frame.paid.map({True: "true", False: "0"}),
        since=frame.since.astype("datetime64[ns]").dt.tz_localize("UTC"),
        plan=frame.plan.astype("category"),
    )
    assert look(reference, as_text).columns == look(reference, frame).columns


def test_text_where_numbers_were_counts_as_null_and_is_said(reference: Reference) -> None:
    frame = rows(1_000, 13)
    fee = of(look(reference, frame.assign(fee="n/a")), "fee")
    assert (fee.method, fee.missing, fee.drifted) == ("nulls", 1.0, True)
    assert fee.notes[0] == "1,000 cells are no number and count as nulls"


def test_columns_odd_in_the_reference_too_give_findings() -> None:
    n = 400
    frame = pd.DataFrame(
        {
            "null": [None] * n,
            "one": [1.0] * n,
            "level": ["a"] * n,
            "few": [1.0, 2.0, *[np.nan] * (n - 2)],
            "infinite": [np.inf] * n,
        }
    )
    kinds: dict[str, Kind] = dict.fromkeys(frame.columns, "numeric") | {"level": "categorical"}
    made = build_reference(frame, kinds, None, WEEK)
    same = look(made, frame)
    assert not same.alarm
    assert "all null in the reference" in of(same, "null").notes
    other = look(made, frame.assign(null=1.0, one=2.0, level="b", few=3.0, infinite=-np.inf))
    drifted = {finding.column for finding in other.drifted}
    assert drifted == {"null", "one", "level", "few", "infinite"}


def test_hostile_names_stay_names_and_the_sentence_one_line() -> None:
    names = [HOSTILE, "a\nb\x00", "ü" * 400, "{{x}}", "", "'; DROP TABLE x; --"]
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(size=800) for name in names})
    made = build_reference(frame, dict.fromkeys(names, "numeric"), None, WEEK)
    result = look(made, frame + 3)
    assert {finding.column for finding in result.drifted} == set(names)
    assert "\n" not in result.sentence
    assert "\x00" not in result.sentence
    assert "6 of 6 columns drifted" in result.sentence
    assert "and 1 more" in result.sentence
    assert len(result.sentence) < 600


def test_important_columns_come_first_and_weak_ones_need_more_for_an_alarm() -> None:
    rng = np.random.default_rng(0)
    n = 56 * 50
    days = np.datetime64("2026-01-05", "us") + np.arange(n) * np.timedelta64(1728, "s")
    frame = pd.DataFrame({name: rng.normal(size=n) for name in ("a", "b", "c")})
    made = build_reference(frame, dict.fromkeys(frame.columns, "numeric"), days, WEEK)
    window = pd.DataFrame({name: rng.normal(size=600) for name in ("a", "b", "c")})

    def shifted(by: float, importance: dict[str, float]) -> DriftResult:
        return look(made, window.assign(a=window.a + by), importance=importance)

    weak, strong = {"a": 0.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "b": 0.0, "c": 0.0}
    found = [shifted(by, strong).alarm for by in np.arange(0, 1.5, 0.1)]
    late = [shifted(by, weak).alarm for by in np.arange(0, 1.5, 0.1)]
    assert 0 < found.index(True) < late.index(True)
    between = shifted(0.1 * found.index(True) + 0.05, weak)
    assert of(between, "a").drifted
    assert not between.alarm
    assert between.sentence.endswith("too little for the window to be unusual")
    assert "limits from 8 blocks of 1w" in between.sentence
    assert of(between, "a").importance == 0.0


@pytest.mark.parametrize("timed", [True, False])
def test_predictions_that_drift_are_a_finding_of_their_own(timed: bool) -> None:
    rng = np.random.default_rng(0)
    n = 56 * 50
    times = np.datetime64("2026-01-05", "us") + np.arange(n) * np.timedelta64(1728, "s")
    frame = pd.DataFrame({"a": rng.normal(size=n)})
    made = build_reference(frame, {"a": "numeric"}, times, WEEK)
    window = pd.DataFrame({"a": rng.normal(size=500)})
    how: dict[str, Any] = {"reference_predictions": rng.beta(2, 5, n)}
    if timed:
        how["reference_prediction_times"] = times
    same = look(made, window, predictions=rng.beta(2, 5, 500), **how)
    assert not same.alarm
    moved = look(made, window, predictions=rng.beta(5, 2, 500), **how)
    assert moved.alarm
    finding = moved.columns[-1]
    assert (finding.role, finding.drifted, finding.column) == ("prediction", True, "prediction")
    assert moved.sentence.startswith("the predictions drifted: prediction (ks 0.")


def test_predicted_classes_are_levels() -> None:
    rng = np.random.default_rng(0)
    made = build_reference(pd.DataFrame({"a": rng.normal(size=900)}), {"a": "numeric"}, None, WEEK)
    result = look(
        made,
        pd.DataFrame({"a": rng.normal(size=400)}),
        predictions=np.array(["x"] * 400, dtype=object),
        reference_predictions=np.array(["x", "y", "z"] * 300, dtype=object),
    )
    finding = result.columns[-1]
    assert (finding.kind, finding.method, finding.drifted) == ("categorical", "tv", True)


def test_without_predictions_on_the_other_side_there_is_no_finding_of_them(
    reference: Reference,
) -> None:
    frame = rows(500, 14)
    assert len(look(reference, frame, predictions=np.zeros(500)).columns) == 7
    empty = look(reference, frame, predictions=np.zeros(500), reference_predictions=np.zeros(0))
    assert empty.columns[-1].notes == ("no rows to compare",)
    assert not empty.alarm


def test_a_counter_never_drifts_by_its_values_but_by_its_nulls() -> None:
    n = 56 * 50
    times = np.datetime64("2026-01-05", "us") + np.arange(n) * np.timedelta64(1728, "s")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"counter": np.arange(n, dtype=float), "a": rng.normal(size=n)})
    made = build_reference(frame, dict.fromkeys(frame.columns, "numeric"), times, WEEK)
    later = pd.DataFrame({"counter": np.arange(n, n + 350.0), "a": rng.normal(size=350)})
    result = look(made, later)
    counter = of(result, "counter")
    assert not result.alarm
    assert (counter.statistic, counter.threshold, counter.drifted) == (1.0, 1.0, False)
    assert (counter.moving, counter.notes[0][:16]) == (True, "moves with time:")
    gone = look(made, later.assign(counter=np.nan))
    assert of(gone, "counter").drifted
