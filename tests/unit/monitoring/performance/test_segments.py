from __future__ import annotations

import dataclasses
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.base.monitoring_records import Performance
from tasks.base.training_records import Kind
from tasks.monitoring.drift.compared_rows import Side
from tasks.monitoring.drift.harm.segments import harm_of_segments
from tasks.monitoring.drift.harm.verdict import Evidence
from tasks.monitoring.drift.reference_summary import build_reference
from tasks.monitoring.performance import segments
from tasks.monitoring.performance.labelled_predictions import Answers
from tasks.monitoring.performance.segments import Scored, judge_segments, losses, with_segments
from tests.unit.monitoring.drift.harm.test_verdict import rows

WEEK = timedelta(days=7)
REGIONS = ["east", "north", "south", "west", "far"]


def scored(n: int, seed: int, flipped: str = "", days: int = 56) -> Scored:
    """Return labelled rows of a calibrated model; the labels of one region may be flipped."""
    rng = np.random.default_rng(seed)
    share = rng.beta(1, 4, n)
    truth = (rng.random(n) < share).astype(np.int64)
    region = rng.choice(np.array(REGIONS, dtype=object), n)
    truth = np.where(region == flipped, 1 - truth, truth)
    times = np.datetime64("2026-01-05", "us") + np.arange(n) * (
        np.timedelta64(days * 86_400, "s") // n
    )
    answers = Answers(
        truth=truth, predicted=(share > 0.5).astype(np.int64),
        probability=np.column_stack([1 - share, share]), times=times,
        labelled=np.ones(n, dtype=bool),
    )  # fmt: skip
    return Scored(answers, {"region": region})


REFERENCE = scored(6_000, 0)


def test_flipped_labels_of_one_segment_are_found_and_of_no_other() -> None:
    found = judge_segments(
        [scored(1_000, 1, "north", 7), scored(3_000, 2, "north", 21)], REFERENCE,
        min_rows=150, false_alarms=0.05, length=WEEK,
    )  # fmt: skip
    assert {s.value for s in found} == set(REGIONS)
    assert [s.value for s in found if s.worse] == ["north"]
    north = next(s for s in found if s.worse)
    assert north.loss > 2 * north.reference


def test_too_few_rows_are_taken_from_three_windows_and_fewer_not_judged() -> None:
    three = [scored(500, 3, "west", 7), scored(1_500, 4, "west", 21)]
    found = judge_segments(three, REFERENCE, min_rows=200, false_alarms=0.05, length=WEEK)
    assert [s.value for s in found if s.worse] == ["west"]
    assert min(s.rows for s in found) >= 200
    none = judge_segments(three[:1], REFERENCE, min_rows=200, false_alarms=0.05, length=WEEK)
    assert none == ()


def test_ordinary_windows_are_rarely_worse_in_any_segment() -> None:
    worse = [
        any(
            s.worse
            for s in judge_segments(
                [scored(1_000, 10 + k, days=7)], REFERENCE,
                min_rows=100, false_alarms=0.05, length=WEEK,
            )
        )
        for k in range(40)
    ]  # fmt: skip
    assert sum(worse) <= 4


def test_a_worse_segment_makes_the_window_worse_and_is_named() -> None:
    plain = Performance(window=None, version="1", metric="roc_auc", rows=9, sentence="Ordinary.")
    segments = judge_segments(
        [scored(1_000, 1, "north", 7)], REFERENCE, min_rows=150, false_alarms=0.05, length=WEEK
    )
    found = with_segments(plain, segments)
    assert found.worse
    assert "region = north (loss" in found.sentence
    assert with_segments(plain, ()) == plain


def test_losses_of_classes_without_probability_and_of_values() -> None:
    known = np.array([True, True, False])
    classes = Answers(np.array([0, 1, 2]), np.array([0, 0, 1]), None, None, known)
    assert losses(classes)[:2].tolist() == [0.0, 1.0]
    assert np.isnan(losses(classes)[2])
    values = Answers(np.array([1.0, 2.0]), np.array([1.5, 0.0]), None, None, known[:2])
    assert losses(values).tolist() == [0.5, 2.0]


@pytest.mark.parametrize("broken", [False, True])
def test_drift_within_one_segment_is_found_there(broken: bool) -> None:
    kinds: dict[str, Kind] = {"fee": "numeric", "use": "numeric", "plan": "categorical"}
    before, frame = rows(6_000, 0), rows(2_000, 77)
    if broken:
        plus = frame["plan"] == "plus"
        frame["fee"] = np.where(plus, frame["fee"].to_numpy()[::-1], frame["fee"])
    found = harm_of_segments(
        build_reference(before, kinds, None, WEEK), Side(frame), Evidence(Side(before)),
        {"plan": before["plan"].to_numpy()}, lambda at: before.iloc[at],
        dict.fromkeys(kinds, 1.0), min_rows=150, false_alarms=0.05,
    )  # fmt: skip
    assert [s.value for s in found] == ["basic", "plus", "pro"]
    assert [s.value for s in found if s.harmful] == (["plus"] if broken else [])


def test_errors_in_a_tiny_unit_are_judged_alike() -> None:
    def found(unit: float) -> list[str]:
        def errors(n: int, seed: int, more: float, days: int) -> Scored:
            part = scored(n, seed, days=days)
            rng = np.random.default_rng(seed)
            gap = rng.exponential(1.0, n) * (1 + more * (part.values["region"] == "north"))
            zero = np.zeros(n)
            answers = dataclasses.replace(
                part.answers, truth=unit * gap, predicted=zero, probability=None
            )
            return Scored(answers, part.values)

        window, before = errors(1_000, 1, 2.0, 7), errors(6_000, 0, 0.0, 56)
        given = {"min_rows": 100, "false_alarms": 0.05, "length": WEEK}
        return [s.value for s in judge_segments([window], before, **given) if s.worse]  # type: ignore[arg-type]

    assert found(1.0) == found(1e-9) == ["north"]


def test_losses_of_a_window_are_computed_once_however_many_segments_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed = []

    def counted(answers: Answers) -> NDArray[np.float64]:
        computed.append(answers)
        return losses(answers)

    monkeypatch.setattr(segments, "losses", counted)
    windows = [scored(1_000, 1, days=7), scored(3_000, 2, days=21)]
    found = judge_segments(windows, REFERENCE, min_rows=150, false_alarms=0.05, length=WEEK)
    assert len(found) == len(REGIONS)
    assert len(computed) == 3
