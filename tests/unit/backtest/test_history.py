"""History is cut into windows, and what cannot be replayed is refused with what would do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tasks.backtest.history import load_history
from tasks.base.errors import KeepfitError, UsageError
from tasks.base.pipeline_file import load_pipeline
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
