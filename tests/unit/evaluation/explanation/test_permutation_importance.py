from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.explanation.permutation_importance import Importance, permutation_importance
from tasks.models.execution.time_budget import Budget
from tests.unit.evaluation.problems import schema_of
from tests.unit.models.execution.test_time_budget import Machine, budget_of


def _frame(rows: int = 500) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"noise": rng.random(rows), "strong": rng.random(rows), "weak": rng.random(rows)}
    )
    return X, (3 * X["strong"] + X["weak"]).to_numpy()


def _importance(X: pd.DataFrame, y: np.ndarray, **how: Any) -> Importance:
    found = permutation_importance(
        lambda frame: ((3 * frame["strong"] + frame["weak"]).to_numpy(), None),
        X,
        y,
        schema_of(),
        how.pop("metric", "rmse"),
        **how,
    )
    assert found is not None
    return found


def test_columns_are_ordered_by_what_shuffling_them_costs() -> None:
    found = _importance(*_frame())
    assert [c.column for c in found.columns] == ["strong", "weak", "noise"]
    assert found.columns[0].low > found.columns[1].high > 0
    assert (found.columns[2].loss, found.columns[2].low) == (0.0, 0.0)


def test_for_a_score_the_loss_is_what_it_falls_by() -> None:
    found = _importance(*_frame(), metric="r2")
    assert found.columns[0].column == "strong"
    assert found.columns[0].loss > 1


def test_rows_and_columns_are_bounded_and_what_is_left_out_is_named() -> None:
    found = _importance(*_frame(), most_rows=100, most_columns=2, first=("weak",))
    assert found.rows == 100
    assert {c.column for c in found.columns} == {"weak", "noise"}
    assert found.left_out == ("strong",)


def test_no_time_left_stops_after_the_first_column() -> None:
    found = _importance(*_frame(), budget=Budget(0.0))
    assert len(found.columns) == 1
    assert len(found.left_out) == 2


@pytest.mark.parametrize(("share", "tried"), [(1.0, 1), (0.1, 3)])
def test_the_share_that_a_busy_machine_gave_decides_what_is_tried(share: float, tried: int) -> None:
    X, y = _frame()
    machine = Machine()

    def predict(frame: pd.DataFrame) -> tuple[np.ndarray, None]:
        machine.passes(25.0, share)
        return frame["strong"].to_numpy(), None

    budget = budget_of(machine, 20.0)
    found = permutation_importance(predict, X, y, schema_of(), "rmse", budget=budget)
    assert found is not None
    assert len(found.columns) == tried


def test_a_seed_makes_it_repeatable() -> None:
    assert _importance(*_frame(), seed=1) == _importance(*_frame(), seed=1)


def test_the_frame_is_not_changed_and_keeps_its_kinds() -> None:
    X, y = _frame()
    X["text"] = pd.Series(["a", None] * 250, dtype="str")
    before = X.copy()
    kinds: list[Any] = []

    def predict(frame: pd.DataFrame) -> tuple[np.ndarray, None]:
        kinds.append((tuple(frame.columns), tuple(frame.dtypes), tuple(frame.index[:2])))
        return frame["strong"].to_numpy(), None

    permutation_importance(predict, X, y, schema_of(), "rmse")
    pd.testing.assert_frame_equal(X, before)
    assert len(set(kinds)) == 1


def test_an_undefined_metric_gives_none() -> None:
    X, _ = _frame()
    constant = np.ones(len(X))
    assert (
        permutation_importance(lambda _: (constant, None), X, constant, schema_of(), "r2") is None
    )


def test_no_rows_give_none() -> None:
    X, y = _frame()
    assert permutation_importance(lambda _: (y, None), X[:0], y[:0], schema_of(), "rmse") is None
