"""History is cut into windows, and what cannot be replayed is refused with what would do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.backtest.history import load_history
from tasks.base.errors import KeepfitError, UsageError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tests.tables import write_churn, write_pipeline

ENOUGH = "monitoring: {min_rows: 50}\n"


def test_windows_tile_the_time_after_the_first_training(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "churn.csv", 400)
    pipeline = load_pipeline(write_pipeline(tmp_path / "p", data, ENOUGH, time=True))

    history = load_history(pipeline, tmp_path / "kept", every="1d", label_delay="6h")

    assert history.length == timedelta(days=1)
    assert len(history.windows) >= 9
    assert all(a.end == b.start for a, b in zip(history.windows, history.windows[1:], strict=False))
    assert (np.diff(history.times) >= 0).all()
    now = history.windows[3].end
    assert history.moment(history.labelled(now) - 1) < now - timedelta(hours=6)
    assert history.trained(now, timedelta(days=2))[0] == history.place(now - timedelta(days=2))


def test_a_sample_keeps_the_newest_windows_and_the_rows_of_a_training_before(
    tmp_path: Path,
) -> None:
    data = write_churn(tmp_path / "churn.csv", 800)
    pipeline = load_pipeline(write_pipeline(tmp_path / "p", data, ENOUGH, time=True))

    whole = load_history(pipeline, tmp_path / "kept", every="1d")
    quick = load_history(pipeline, tmp_path / "kept", every="1d", quick=True)

    assert quick.windows == whole.windows[-12:]
    assert quick.rows < whole.rows


def test_rows_without_a_time_cannot_be_replayed(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "churn.csv")
    pipeline = load_pipeline(write_pipeline(tmp_path / "p", data))

    with pytest.raises(UsageError, match="time_column"):
        load_history(pipeline, tmp_path / "kept")


def test_too_few_windows_say_how_many_there_are_and_which_length_would_do(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "churn.csv", 400)
    pipeline = load_pipeline(write_pipeline(tmp_path / "p", data, ENOUGH, time=True))

    with pytest.raises(UsageError, match="1 whole windows of 1w") as error:
        load_history(pipeline, tmp_path / "kept")

    # For the command line and for Python.
    assert "`--every 1d`" in error.value.remedy
    assert "`every='1d'`" in error.value.remedy


def test_a_first_training_waits_until_enough_labels_are_known(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "churn.csv", 400)
    pipeline = load_pipeline(write_pipeline(tmp_path / "p", data, ENOUGH, time=True))

    at_once = load_history(pipeline, tmp_path / "kept", every="12h")
    late = load_history(pipeline, tmp_path / "kept", every="12h", label_delay="5d")

    assert late.windows[0].start > at_once.windows[0].start
    assert late.labelled(late.windows[0].start) >= pipeline.config.monitoring.min_rows


def test_a_table_without_labels_is_refused(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "churn.csv", 100)
    lines = data.read_text(encoding="utf-8").splitlines()
    bare = [lines[0], *(line.rpartition(",")[0] + "," for line in lines[1:])]
    data.write_text("\n".join(bare), encoding="utf-8")
    pipeline = load_pipeline(write_pipeline(tmp_path / "p", data, ENOUGH, time=True))

    with pytest.raises(KeepfitError, match="Churned"):
        load_history(pipeline, tmp_path / "kept", every="1d")


def test_a_length_that_is_none_is_a_mistake_of_the_command_line(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "churn.csv", 100)
    pipeline = load_pipeline(write_pipeline(tmp_path / "p", data, ENOUGH, time=True))

    with pytest.raises(UsageError, match="--every soon"):
        load_history(pipeline, tmp_path / "kept", every="soon")


def pipeline_at(folder: Path, times: Any, extra: str) -> Pipeline:
    """Return a pipeline over rows at these times."""
    x = np.random.default_rng(0).normal(size=len(times))
    rows = {"customer": range(len(x)), "when": times, "x": x, "Churned?": x > 0}
    pd.DataFrame(rows).to_csv(folder / "rows.csv", index=False)
    return load_pipeline(write_pipeline(folder / "p", folder / "rows.csv", extra, time=True))


def test_rows_before_1970_have_a_time(tmp_path: Path) -> None:
    days = pd.date_range("1965-01-01", periods=3_000)
    pipeline = pipeline_at(tmp_path, days, "monitoring: {min_rows: 50, window: 26w}\n")

    history = load_history(pipeline, tmp_path / "kept")

    assert (history.rows, history.start.year, history.notes) == (3_000, 1965, ())


def test_a_training_window_within_the_label_delay_has_no_rows(tmp_path: Path) -> None:
    hours = pd.date_range("2026-01-01", periods=2_000, freq="1h")
    extra = "training: {window: 7d}\nmonitoring: {min_rows: 50, window: 1d, label_delay: 7d}\n"

    with pytest.raises(UsageError, match="has 0 labelled rows") as error:
        load_history(pipeline_at(tmp_path, hours, extra), tmp_path / "kept")
    assert "longer training.window" in str(error.value.remedy)


def test_the_first_training_waits_for_labels_of_rows_that_share_a_time(tmp_path: Path) -> None:
    days = np.repeat(pd.date_range("2026-01-01", periods=60), 30)
    extra = "monitoring: {min_rows: 50, window: 1d, label_delay: 30d}\n"

    history = load_history(pipeline_at(tmp_path, days, extra), tmp_path / "kept")

    assert history.trained(history.windows[0].start, None) == (0, 60)


def test_a_sample_leaves_out_windows_that_lost_all_rows(tmp_path: Path) -> None:
    times = pd.date_range("2020-01-01", periods=42_000, freq="10min")
    lonely = (times >= "2020-09-07") & (times < "2020-09-14")
    lonely[np.flatnonzero(lonely)[500]] = False
    made = []
    for left_out in (0, 1):  # every other row is drawn: one of both draws leaves the window empty
        folder = tmp_path / str(left_out)
        folder.mkdir()
        few = times[~lonely].delete(range(30_000, 30_000 + left_out))
        pipeline = pipeline_at(folder, few, "monitoring: {min_rows: 50, window: 7d}\n")
        made.append(load_history(pipeline, folder / "kept", quick=True))

    assert sorted(len(history.windows) for history in made) == [11, 12]
    for history in made:
        bounds = [history.bounds(place) for place in range(len(history.windows))]
        assert all(first < last for first, last in bounds)
