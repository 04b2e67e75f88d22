from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.base.training_records import Kind
from tasks.evaluation.diagnosis.slices.weak_slices import _sentence, weak_slices
from tasks.evaluation.findings import WeakSlice
from tasks.reporting.figures.diagnostic_figures import draw_slices

KINDS: dict[str, Kind] = {"a": "numeric", "b": "numeric", "c": "categorical", "d": "categorical"}


def _rows(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": rng.standard_normal(rows),
            "b": rng.standard_normal(rows),
            "c": rng.choice(list("wxyz"), rows),
            "d": rng.choice(np.array(["p", "q", None], dtype=object), rows),
        }
    )
    frame.loc[rng.random(rows) < 0.1, "b"] = np.nan
    return frame


def _losses(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(10_000 + seed).exponential(size=rows)


def test_a_planted_weak_slice_is_found_and_named() -> None:
    X, losses = _rows(2000, 1), _losses(2000, 1)
    planted = ((X["a"] > 0.5) & (X["c"] == "x")).to_numpy()
    losses[planted] *= 4
    first = weak_slices(X, losses, KINDS)[0]
    assert "c is x" in first.where
    assert "a > 0.4" in first.where or "a > 0.5" in first.where
    assert (first.inside == planted).mean() > 0.97
    assert first.loss > 2 * first.rest


def test_a_weak_level_and_weak_nulls_are_told() -> None:
    X, losses = _rows(3000, 2), _losses(3000, 2)
    losses[X["d"].isna()] += 3
    first = weak_slices(X, losses, KINDS)[0]
    assert first.where == "d is (null)"


def test_a_slice_beside_which_nothing_is_wrong_is_told_without_a_factor() -> None:
    weak = WeakSlice(
        where="c is x", rows=250, share=0.25, loss=3.5, rest=0.0, score=None, p_value=0.001
    )
    case: Any = SimpleNamespace(blocks=None, model=SimpleNamespace(probability=None))
    assert "loss 3.500 against 0 elsewhere." in _sentence(case, [weak], 1000)
    twice = weak.model_copy(update={"rest": 1.75})
    assert "loss 2.0 times as high as elsewhere." in _sentence(case, [twice], 1000)
    assert draw_slices((weak,), "") is None


def _rows_of(where: str, X: pd.DataFrame) -> np.ndarray:
    """Return which rows a person finds who reads the conditions and looks into the table."""
    rows = np.ones(len(X), bool)
    for condition in where.split(" and "):
        column, sign, edge = re.fullmatch(
            r"(\w+) (>|≤) ([^(]+?)(?: \(or null\))?", condition
        ).groups()
        values = X[column]
        limit = pd.Timestamp(edge) if values.dtype.kind == "M" else float(edge.replace(",", ""))
        holds = values > limit if sign == ">" else values <= limit
        rows &= (holds | (values.isna() & ("(or null)" in condition))).to_numpy()
    return rows


@pytest.mark.parametrize(
    ("values", "hard", "stated"),
    [
        (np.arange(2_000) % 40 + 1990, lambda v: v >= 2014, "v > 2,013"),
        (np.arange(2_000) % 40 + 1990.0, lambda v: ~(v > 1999), "v ≤ 1,999 (or null)"),
        (1e6 + np.arange(2_000) / 1e3, lambda v: v >= 1_000_001.2, None),
        (pd.date_range("2024-01-01", periods=2_000, freq="10min"),
         lambda v: v > "2024-01-09 03:10", None),
        (pd.date_range("2020-01-01", periods=2_000, freq="D"), lambda v: v >= "2023-06-01",
         "v > 2023-05-31"),
    ],
)  # fmt: skip
def test_a_slice_states_the_very_rows_that_lie_in_it(
    values: Any, hard: Callable[[pd.Series[Any]], pd.Series[bool]], stated: str | None
) -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"v": pd.Series(values).sample(frac=1, random_state=0).to_numpy()})
    weak = hard(X["v"]).to_numpy()
    if X["v"].dtype.kind == "f":
        X.loc[rng.random(len(X)) < 0.1, "v"] = np.nan
        weak = hard(X["v"]).to_numpy()
    losses = _losses(len(X), 3) * np.where(weak, 4.0, 1.0)
    kind: Kind = "datetime" if X["v"].dtype.kind == "M" else "numeric"
    (found,) = weak_slices(X, losses, {"v": kind})
    assert (found.inside == _rows_of(found.where, X)).all(), found.where
    assert stated in (None, found.where)


@pytest.mark.parametrize(("share", "told"), [(0.3, 1), (0.45, 1), (0.6, 0), (0.8, 0)])
def test_what_most_rows_are_like_is_no_weak_slice(share: float, told: int) -> None:
    # Where most rows are hard, it is the others that are easy.
    hard = np.arange(2_000) % 100 < 100 * share
    X = pd.DataFrame({"c": np.where(hard, "hard", "easy")})
    losses = _losses(2_000, 5) * np.where(hard, 4.0, 1.0)
    found = weak_slices(X, losses, {"c": "categorical"})
    assert [s.where for s in found] == ["c is hard"] * told


def test_without_weak_slices_few_trainings_report_any() -> None:
    alarms = sum(
        bool(weak_slices(_rows(800, seed), _losses(800, seed), KINDS, seed=seed))
        for seed in range(200)
    )
    # 5 % of 200 and three deviations.
    assert alarms <= 19


def test_rows_of_one_day_count_as_one_where_rows_lie_in_time() -> None:
    alarms = naive = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        days = np.repeat(np.arange(60), 30)
        weather = rng.standard_normal(60)
        X = pd.DataFrame({"weather": weather[days], "b": rng.standard_normal(len(days))})
        # A whole day is good or bad, whatever its weather.
        losses = rng.exponential(size=60)[days] + 0.3 * rng.exponential(size=len(days))
        kinds: dict[str, Kind] = {"weather": "numeric", "b": "numeric"}
        alarms += bool(weak_slices(X, losses, kinds, blocks=days, seed=seed))
        naive += bool(weak_slices(X, losses, kinds, seed=seed))
    assert naive > 40
    assert alarms <= 10


def test_a_model_that_knows_where_it_is_weak_is_told_from_one_that_does_not() -> None:
    X = _rows(4000, 3)
    weak = (X["c"] == "y").to_numpy()
    rng = np.random.default_rng(0)
    losses = rng.exponential(size=4000) * np.where(weak, 3.0, 1.0)
    knowing = weak_slices(X, losses, KINDS, expected=np.where(weak, 3.0, 1.0))
    blind = weak_slices(X, losses, KINDS, expected=np.ones(4000))
    assert not knowing[0].surprise
    assert blind[0].surprise


def test_few_rows_no_columns_and_losses_that_are_not_finite_give_none() -> None:
    X, losses = _rows(100, 0), _losses(100, 0)
    assert weak_slices(X, losses, KINDS) == ()
    X, losses = _rows(1000, 0), _losses(1000, 0)
    assert weak_slices(X[[]], losses, KINDS) == ()
    losses[3] = np.inf
    assert weak_slices(X, losses, KINDS) == ()


def test_texts_infinities_and_hostile_names_do_no_harm() -> None:
    X, losses = _rows(1000, 4), _losses(1000, 4)
    X = X.rename(columns={"a": "</script><b>'\""})
    X["inf"] = np.where(np.arange(1000) % 2 == 0, np.inf, 1.0)
    X["text"] = "long text"
    X["null"] = None
    losses[X["</script><b>'\""] > 1] += 5
    found = weak_slices(
        X,
        losses,
        {"</script><b>'\"": "numeric", "inf": "numeric", "text": "text", "null": "categorical"},
    )
    assert "</script>" in found[0].where
