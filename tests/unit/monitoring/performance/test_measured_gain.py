from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tasks.base.monitoring_records import Cause, Decision, Gain, Performance, Window
from tasks.base.training_records import ModelVersion, Split
from tasks.ledger.ledger import Ledger
from tasks.ledger.records import Coverage
from tasks.monitoring.monitored_window import Look
from tasks.monitoring.performance import measured_gain
from tasks.monitoring.performance.measured_gain import bounded, measure_gain
from tests.histories import pipeline
from tests.opened import opened

START = datetime(2013, 3, 4, tzinfo=UTC)
WEEK = timedelta(weeks=1)
NOW = START + 9 * WEEK
CHAMPION = ModelVersion(
    name="flights",
    version="1",
    run_id="r",
    tags={"keepfit.trained_until": START.isoformat(), "keepfit.metric": "roc_auc"},
)


def week(number: int) -> Window:
    return Window(start=START + number * WEEK, end=START + (number + 1) * WEEK)


def look(number: int) -> Look:
    cause = Cause(kind="schedule", correlation="c", at=START)
    return Look(champion=CHAMPION, window=week(number), cause=cause)


def stated(number: int, *, mature: bool = True) -> Performance:
    return Performance(window=week(number), version="1", metric="roc_auc", rows=900, mature=mature)


def monitored(number: int, gain: Gain | None, version: str = "1") -> Decision:
    return Decision(
        id=f"m{number}", pipeline="flights", kind="monitored", at=START + number * WEEK,
        correlation="c", sentence="", version=version, window=week(number),
        evidence={} if gain is None else {"gain": gain.model_dump(mode="json")},
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _without_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tasks.monitoring.performance.measured_gain.recipe_of_version",
        lambda _store, _version: None,
    )


def test_nothing_is_measured_before_labels_are_mature(tmp_path: Path) -> None:
    given = (opened(pipeline(tmp_path)), look(1))
    assert measure_gain(*given, [stated(1, mature=False)], [], NOW) is None
    assert measure_gain(*given, [], [], NOW) is None


def test_windows_that_the_champion_was_trained_on_are_not_judged(tmp_path: Path) -> None:
    assert measure_gain(opened(pipeline(tmp_path)), look(1), [stated(-1)], [], NOW) is None


def test_a_version_without_a_recipe_is_skipped_with_that_reason(tmp_path: Path) -> None:
    found = measure_gain(opened(pipeline(tmp_path)), look(1), [stated(0), stated(1)], [], NOW)
    assert found is not None
    assert (found.skipped, found.until, found.rows_expected) == ("no recipe", week(1).end, 900)


def test_it_is_measured_once_for_each_newest_mature_window(tmp_path: Path) -> None:
    before = Gain(version="1", metric="roc_auc", skipped="no recipe", until=week(1).end)
    given = (opened(pipeline(tmp_path)), look(2))
    assert measure_gain(*given, [stated(0), stated(1)], [monitored(1, before)], NOW) is None
    assert measure_gain(*given, [stated(1), stated(2)], [monitored(1, before)], NOW) is not None
    failed = before.model_copy(update={"skipped": "failed"})
    assert measure_gain(*given, [stated(1)], [monitored(1, failed)], NOW) is not None


def test_windows_of_a_former_champion_are_judged_once_their_labels_have_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels of the champion's own windows come long after it was promoted."""
    known = Coverage(rows=700, labelled=700)
    monkeypatch.setattr(Ledger, "coverage", lambda *_given: known)
    late, due = opened(pipeline(tmp_path)), timedelta(days=2)
    former = [monitored(n, None, version="0") for n in (1, 0, -1)]

    found = measure_gain(
        opened(late), look(2), [stated(2, mature=False)], former, week(1).end + due
    )

    assert found is not None
    assert (found.until, found.rows_expected) == (week(1).end, 700)
    assert measure_gain(opened(late), look(2), [], former, week(0).end) is None


def test_a_file_that_does_not_name_gain_measures_none(tmp_path: Path) -> None:
    old = pipeline(tmp_path, more="policy: {retrain_on: [drift, performance]}\n")
    assert measure_gain(opened(old), look(1), [stated(1)], [], NOW) is None


def test_a_huge_table_is_fitted_on_an_even_sample_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured_gain, "MOST_ROWS", 100)
    np.save(tmp_path / "train.npy", np.arange(1_000))
    split = Split(
        train_path=str(tmp_path / "train.npy"), holdout_path="h", rule="time", holdout=0.2,
        n_train=1_000, n_holdout=10,
    )  # fmt: skip
    found, folder = bounded(split, tmp_path)
    rows = np.load(found.train_path)
    assert (found.n_train, len(rows), rows[0], rows[-1]) == (100, 100, 0, 999)
    assert folder != tmp_path
    same, where = bounded(split.model_copy(update={"n_train": 100}), tmp_path)
    assert (same.train_path, where) == (split.train_path, tmp_path)
