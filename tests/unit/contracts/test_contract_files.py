"""Which rows need no label yet, by the pipeline file or by the table itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from expectations.late_labels import LateLabels
from tasks.base.pipeline_file import load_pipeline
from tasks.contracts.contract_files import late_labels
from tasks.data.snapshots import write_snapshot
from tests.tables import write_pipeline

HOURS = 100
TIMES = np.datetime64("2026-01-01T00", "us") + np.arange(HOURS).astype("timedelta64[h]")


def found(folder: Path, labels: list[str | None], extra: str = "") -> LateLabels | None:
    rows = pa.table({"when": TIMES, "Churned?": pa.array(labels, pa.string())})
    snapshot = write_snapshot(
        rows, {"when": "datetime", "Churned?": "categorical"}, folder,
        time_column="when", assumptions=(),
    )  # fmt: skip
    file = write_pipeline(folder, folder / "rows.csv", extra, time=True)
    return late_labels(load_pipeline(file), snapshot)


def test_rows_newer_than_the_newest_label_need_none_where_no_delay_is_stated(
    tmp_path: Path,
) -> None:
    late = found(tmp_path, ["yes"] * 40 + [None] * 10 + ["no"] * 10 + [None] * 40)

    assert late is not None
    assert late.until == datetime(2026, 1, 3, 11, tzinfo=UTC)


def test_a_stated_delay_decides_from_when_on_labels_may_be_missing(tmp_path: Path) -> None:
    late = found(tmp_path, ["yes"] * 40 + [None] * 60, "monitoring: {label_delay: 24h}\n")

    assert late is not None
    assert late.until == datetime(2026, 1, 4, 3, tzinfo=UTC)


@pytest.mark.parametrize("label", ["yes", None])
def test_every_row_is_judged_where_all_are_labelled_or_none_is(
    tmp_path: Path, label: str | None
) -> None:
    assert found(tmp_path, [label] * HOURS) is None
