"""Labels that come late: a young row without one breaks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from expectations import column_batches
from expectations.check import check_frame
from expectations.contract import Contract
from expectations.inference import infer_contract
from expectations.late_labels import LateLabels

DAYS = 200
LATE = LateLabels("y", "when", datetime(2026, 1, 1, tzinfo=UTC) + pd.Timedelta(days=DAYS - 31))
CONTRACT = Contract.model_validate(
    {
        "contract": "t",
        "columns": {
            "when": {"kind": "datetime"},
            "y": {"kind": "numeric", "nulls": {"max": 0.05}},
        },
    }
)


def table(*, missing: Sequence[int]) -> pd.DataFrame:
    y = np.arange(DAYS, dtype=float)
    y[list(missing)] = np.nan
    return pd.DataFrame({"when": pd.date_range("2026-01-01", periods=DAYS), "y": y})


def nulls(frame: pd.DataFrame, late: LateLabels | None) -> column_batches.CheckResult:
    outcome = column_batches.check_in_parts(
        lambda names: frame[list(names)], frame.iloc[:0], len(frame), CONTRACT, late=late
    )
    (found,) = [r for r in outcome.results if (r.column, r.rule) == ("y", "nulls")]
    assert outcome.passed == (found.passed or found.severity == "warning")
    return found


def test_young_rows_may_lack_their_label_and_mature_ones_may_not() -> None:
    young, old = range(DAYS - 30, DAYS), range(30)

    assert nulls(table(missing=young), LATE).passed
    assert nulls(table(missing=young), None).severity == "error"
    assert nulls(table(missing=old), LATE).failed_rows == 30


def test_the_limit_is_a_share_of_the_mature_rows() -> None:
    found = nulls(table(missing=[*range(10), *range(DAYS - 30, DAYS)]), LATE)

    assert not found.passed
    assert found.failed_share == 10 / (DAYS - 30)


def test_an_inferred_contract_does_not_learn_that_labels_are_missing() -> None:
    frame = table(missing=range(DAYS - 30, DAYS))
    kinds = {"when": "datetime", "y": "numeric"}

    def usual(late: LateLabels | None) -> float:
        contract = column_batches.infer_in_parts(
            lambda names: frame[list(names)], list(frame), DAYS, kinds, name="t", target="y",
            time_column="when", id_columns=(), late=late,
        )  # fmt: skip
        rule = contract.columns["y"].nulls
        assert rule is not None
        assert rule.usual is not None
        return rule.usual

    assert usual(LATE) == 0.0
    assert usual(None) > 0.15


@pytest.mark.parametrize(
    ("days", "severity"), [(8, "warning"), (DAYS // 3, "warning"), (DAYS * 2 // 3, "error")]
)
def test_a_training_stops_only_where_most_labels_are_gone(days: int, severity: str) -> None:
    contract = infer_contract(
        table(missing=[]), {"when": "datetime", "y": "numeric"}, target="y", time_column="when"
    )

    found = [
        result
        for result in check_frame(table(missing=range(20, 20 + days)), contract).results
        if (result.column, result.rule) == ("y", "nulls")
    ]

    assert [(result.passed, result.severity) for result in found] == [(False, severity)]
