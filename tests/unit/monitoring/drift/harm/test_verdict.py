from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.base.monitoring_records import DriftResult, HarmFinding
from tasks.base.training_records import Kind
from tasks.monitoring.drift.column_summary import KNOWN, summarise
from tasks.monitoring.drift.compared_rows import Side
from tasks.monitoring.drift.detector import measure
from tasks.monitoring.drift.harm.domain_classifier import separate
from tasks.monitoring.drift.harm.impact import bounds_of, effects_of, movement, outside_rows
from tasks.monitoring.drift.harm.ordinary_blocks import (
    OrdinaryBlocks,
    moving_columns,
    ordinary_blocks,
)
from tasks.monitoring.drift.harm.verdict import EFFECTS, Evidence
from tasks.monitoring.drift.reference_summary import Reference, build_reference

WEEK = timedelta(days=7)
KINDS: dict[str, Kind] = {
    "fee": "numeric",
    "use": "numeric",
    "plan": "categorical",
    "since": "numeric",
    "month": "categorical",
}
IMPORTANCE = {"fee": 0.1, "use": 0.1, "plan": 0.1, "since": 0.05}


def rows(n: int, seed: int, start: int = 0) -> pd.DataFrame:
    """Return rows whose fee and use hang together, 100 a day from day `start` on."""
    rng = np.random.default_rng(seed)
    fee = rng.normal(50, 10, n)
    day = start + np.arange(n) // 100
    return pd.DataFrame(
        {
            "fee": fee,
            "use": fee / 10 + rng.normal(0, 0.5, n),
            "plan": rng.choice(["basic", "plus", "pro"], n, p=[0.6, 0.3, 0.1]),
            "since": 20_000.0 + day,
            "month": [f"m{k // 30}" for k in day],
        }
    )


def times(n: int, start: int = 0) -> np.ndarray:
    day = start + np.arange(n) // 100
    return np.datetime64("2026-01-05", "us") + day * np.timedelta64(1, "D")


def predict(frame: pd.DataFrame) -> np.ndarray:
    return np.asarray(frame["fee"] + 5 * (frame["plan"] == "pro"), dtype=float)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build_reference(rows(6_000, 0), KINDS, times(6_000), WEEK)


def look(reference: Reference, frame: pd.DataFrame, **how: Any) -> DriftResult:
    before = rows(6_000, 0)
    evidence = Evidence(Side(before, times(6_000)), times(len(frame), 60), how.pop("by", predict))
    return measure(
        reference, frame, false_alarms=0.05, min_rows=200, importance=IMPORTANCE,
        predictions=predict(frame), reference_predictions=predict(before),
        reference_prediction_times=times(6_000), evidence=evidence, **how,
    )  # fmt: skip


def of(result: DriftResult, measure: str) -> HarmFinding:
    return next(found for found in result.harm if found.measure == measure)


def test_rows_like_the_references_are_harmless(reference: Reference) -> None:
    result = look(reference, rows(1_000, 1, 60))
    assert not result.harmful
    assert [found.measure for found in result.harm if found.found] == []
    assert result.harm_sentence.startswith("harmless")


def test_a_shift_that_moves_the_predictions_is_harmful(reference: Reference) -> None:
    frame = rows(1_000, 2, 60)
    result = look(reference, frame.assign(fee=frame.fee + 6))
    moved = of(result, "predictions")
    assert result.harmful
    assert moved.value == pytest.approx(0.6, abs=0.1)
    assert moved.value > moved.limit


def test_rows_beyond_what_was_learned_are_harmful_and_name_their_column(
    reference: Reference,
) -> None:
    frame = rows(1_000, 3, 60)
    frame.loc[:149, "plan"] = "family"
    outside = of(look(reference, frame), "outside")
    assert outside.found
    assert outside.value == pytest.approx(0.15, abs=0.02)
    assert outside.columns[0] == "plan"


def test_new_levels_are_harmful_however_far_another_column_ordinarily_leaves_its_range() -> None:
    before, frame = rows(6_000, 0), rows(1_000, 3, 60)
    made = build_reference(before, KINDS, times(6_000), WEEK)
    wide = OrdinaryBlocks(auc=(0.9,) * 6, sparse=(0.3,) * 6, outside=(0.05, 0.4, 0.1, 0.2))

    def seen(new: int, **importance: float) -> DriftResult:
        plan = frame["plan"].mask(np.random.default_rng(0).permutation(1_000) < new, "family")
        return measure(
            made, frame.assign(plan=plan), false_alarms=0.05, min_rows=200, importance=importance,
            evidence=Evidence(Side(before), times(1_000, 60), None, wide),
        )  # fmt: skip

    result = seen(100, fee=0.1, plan=0.1)
    unseen = of(result, "unseen")
    assert (unseen.found, unseen.value, unseen.columns) == (True, pytest.approx(0.1), ("plan",))
    assert not of(result, "outside").found
    assert "10 % of the rows, beyond what is usual, hold new levels" in result.harm_sentence
    assert not of(seen(30, fee=0.1, plan=0.1), "unseen").found
    assert not seen(100, fee=0.1).harmful


@pytest.mark.parametrize("count", [20_000, 1_000_000])
def test_levels_that_are_usually_new_are_harmless(count: int) -> None:
    def towns(n: int, seed: int, start: int = 0) -> pd.DataFrame:
        drawn = np.random.default_rng(seed).integers(0, count, n)
        return rows(n, seed, start).assign(town=[f"t{k}" for k in drawn])

    before = towns(6_000, 0)
    made = build_reference(before, {**KINDS, "town": "categorical"}, times(6_000), WEEK)
    result = measure(
        made, towns(1_000, 1, 60), false_alarms=0.05, min_rows=200,
        importance={"fee": 0.1, "town": 0.1},
        evidence=Evidence(Side(before.iloc[::3]), times(1_000, 60)),
    )  # fmt: skip
    outside = of(result, "outside")
    assert outside.value > 0.6
    assert outside.limit <= 1.0
    assert outside.limit == pytest.approx(
        min(outside.value + EFFECTS["outside"].least, 1.0), abs=0.05
    )
    assert not result.harmful


def test_a_broken_correlation_is_found_by_the_joint_distribution_alone(
    reference: Reference,
) -> None:
    frame = rows(1_000, 4, 60)
    broken = frame.assign(use=np.random.default_rng(0).permutation(frame["use"].to_numpy()))
    result = look(reference, broken)
    joint = of(result, "joint")
    assert not result.alarm
    assert result.harmful
    assert joint.found
    assert joint.value > 0.7
    assert set(joint.columns[:2]) == {"fee", "use"}


def test_columns_that_time_moves_count_by_what_they_do_to_the_predictions(
    reference: Reference,
) -> None:
    assert moving_columns(reference) == {"since", "month"}
    frame = rows(1_000, 5, 400)
    harmless = look(reference, frame)
    since = next(c for c in harmless.columns if c.column == "since")
    assert (since.moving, since.drifted, since.effect) == (True, False, 0.0)
    assert not harmless.harmful
    trending = look(reference, frame, by=lambda some: predict(some) + some["since"].to_numpy())
    assert of(trending, "columns").found
    assert of(trending, "columns").columns == ("since",)
    assert trending.harmful


def test_columns_that_time_moves_do_not_widen_the_limits_of_the_others(
    reference: Reference,
) -> None:
    frame = rows(1_000, 7, 60)
    shifted = frame.assign(use=frame["use"] + 0.4)
    without = [n for n in KINDS if n not in moving_columns(reference)]
    alone = build_reference(
        rows(6_000, 0)[without], {n: KINDS[n] for n in without}, times(6_000), WEEK
    )
    results = [
        measure(made, shifted[list(made.columns)], false_alarms=0.05, min_rows=200)
        for made in (reference, alone)
    ]
    thresholds = [
        {c.column: c.threshold for c in result.columns if c.column in without} for result in results
    ]
    assert all(result.alarm for result in results)
    assert thresholds[0]["use"] == pytest.approx(thresholds[1]["use"], rel=0.05)


def test_an_unusual_column_that_the_model_does_not_use_is_harmless(reference: Reference) -> None:
    extended = build_reference(
        rows(6_000, 0).assign(spare=np.arange(6_000) % 7), {**KINDS, "spare": "numeric"},
        times(6_000), WEEK,
    )  # fmt: skip
    frame = rows(1_000, 6, 60).assign(spare=40)
    result = look(extended, frame)
    assert next(c for c in result.columns if c.column == "spare").drifted
    assert not result.harmful


def test_without_evidence_what_is_unusual_counts_as_harmful(reference: Reference) -> None:
    frame = rows(1_000, 7, 60)
    found = measure(reference, frame.assign(fee=0.0), false_alarms=0.05, min_rows=200)
    assert found.alarm
    assert found.harmful


def test_a_record_from_before_harm_counts_its_alarm(reference: Reference) -> None:
    old = look(reference, rows(1_000, 8, 60)).model_dump(
        exclude={"harmful", "harm", "harm_sentence", "restless"}
    )
    assert not DriftResult.model_validate(old).harmful
    assert DriftResult.model_validate({**old, "alarm": True}).harmful


def test_a_history_widens_a_limit_but_never_beyond_what_matters() -> None:
    made = build_reference(rows(6_000, 0), KINDS, times(6_000), WEEK)
    before = rows(6_000, 0)
    weights = {"fee": 1.0, "use": 1.0}
    blocks = ordinary_blocks(made, lambda at: before.iloc[at], times(6_000), weights)
    assert len(blocks.auc) == len(blocks.outside) == len(blocks.sparse) == 6
    assert not blocks.restless
    assert max(blocks.sparse) < 0.05
    wild = measure(
        made, rows(1_000, 9, 60), false_alarms=0.05, min_rows=200,
        evidence=Evidence(
            Side(before), None, None, type(blocks)((0.99,) * 5, (0.1, 0.9, 0.5), (0.1, 0.9, 0.5))
        ),
    )  # fmt: skip
    assert of(wild, "outside").limit <= EFFECTS["outside"].matters + 0.05
    assert wild.restless


def test_no_times_and_few_rows_have_no_blocks_and_no_classifier() -> None:
    made = build_reference(rows(600, 0), KINDS, None, WEEK)
    assert ordinary_blocks(made, lambda at: rows(600, 0).iloc[at], None, {"fee": 1.0}).auc == ()
    assert separate(Side(rows(600, 0)), Side(rows(5, 1)), KINDS) is None
    assert moving_columns(made) == frozenset()


@pytest.mark.parametrize("n", [200, 1_000])
def test_the_classifier_keeps_its_level_where_nothing_differs(n: int) -> None:
    features: dict[str, Kind] = {"fee": "numeric", "use": "numeric", "plan": "categorical"}
    found = [
        separate(Side(rows(2_000, 1_000 + k)), Side(rows(n, 2_000 + k)), features) for k in range(5)
    ]
    assert sum(one is not None and one.p_value <= 0.01 for one in found) <= 1
    assert np.mean([one.auc for one in found if one]) == pytest.approx(0.5, abs=0.03)


def test_bounds_know_levels_ranges_and_nulls(reference: Reference) -> None:
    bounds = {name: bounds_of(reference.columns[name]) for name in ("fee", "plan")}
    frame = pd.DataFrame({"fee": [50.0, 500.0, np.nan, 50.0], "plan": ["pro", "pro", "pro", "x"]})
    share, columns = outside_rows(frame, bounds)
    assert share == 0.75
    assert columns == {"fee": 0.5, "plan": 0.25}


def test_levels_too_many_to_know_all_are_not_outside() -> None:
    towns = pd.Series([f"t{k}" for k in range(KNOWN + 1)])
    bounds = {"town": bounds_of(summarise(towns, "categorical", None, 0))}

    assert outside_rows(pd.DataFrame({"town": ["t1", "new", "t2"]}), bounds)[0] == 0.0
    assert outside_rows(pd.DataFrame({"town": ["t1", None]}), bounds)[0] == 0.5


def test_an_effect_is_zero_where_nothing_moved_and_that_of_the_shift_where_it_did() -> None:
    before, after = rows(2_000, 0), rows(2_000, 1)
    kinds: dict[str, Kind] = {"fee": "numeric", "plan": "categorical"}
    assert max(effects_of(before, after, kinds, predict).values()) < 0.1
    shifted = after.assign(fee=after.fee + 10, plan="pro")
    found = effects_of(before, shifted, kinds, predict)
    assert found["fee"] == pytest.approx(1.0, abs=0.15)
    assert found["plan"] == pytest.approx(0.45, abs=0.1)


def test_movement_of_classes_is_the_share_that_would_have_to_move() -> None:
    before = np.array(["a"] * 50 + ["b"] * 50, dtype=object)
    assert movement(np.array(["a"] * 75 + ["c"] * 25, dtype=object), before) == 0.5
    assert movement(np.array([1.0, 1.0]), np.array([1.0])) == 0.0
