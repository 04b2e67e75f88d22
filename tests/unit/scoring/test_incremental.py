"""Which rows have come since the champion's training: those it learned from have not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.training_records import ModelVersion, Schema, Snapshot
from tasks.scoring.incremental import learned_rows
from tasks.training.row_windows import scoring_snapshot, training_snapshot

IDS = Schema(target="y", task="binary", features={"x": "numeric"}, time_column="when",
             id_columns=("id",))  # fmt: skip


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    (tmp_path / "keepfit.yaml").write_text(
        "name: mine\ntarget: y\nsource: {kind: csv, path: rows.csv}\ntime_column: when\n"
    )
    return load_pipeline(tmp_path / "keepfit.yaml", {})


def rows(pipeline: Pipeline, hours: list[int]) -> None:
    start = datetime(2026, 1, 1)
    pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(len(hours))],
            "when": [start + pd.Timedelta(hours=h) for h in hours],
            "x": [float(i) for i in range(len(hours))],
            "y": ["a", "b"] * (len(hours) // 2) + ["a"] * (len(hours) % 2),
        }
    ).to_csv(pipeline.base / "rows.csv", index=False)


def champion(trained: Snapshot, roles: Schema) -> ModelVersion:
    assert trained.end is not None
    tags = {
        "keepfit.schema": roles.model_dump_json(),
        "keepfit.data_digest": trained.digest[:16],
        "keepfit.trained_until": trained.end.replace(tzinfo=UTC).isoformat(),
    }
    return ModelVersion(name="mine", version="1", run_id="run", tags=tags)


@pytest.mark.parametrize("ids", [("id",), ()])
def test_a_late_row_of_the_last_moment_is_new_and_the_learned_one_is_not(
    pipeline: Pipeline, ids: tuple[str, ...]
) -> None:
    rows(pipeline, [0, 1, 2, 3])
    learned = champion(training_snapshot(pipeline), IDS.model_copy(update={"id_columns": ids}))
    rows(pipeline, [0, 1, 2, 3, 3, 4])

    since = scoring_snapshot(pipeline, datetime(2026, 1, 1, 3))

    assert learned_rows(pipeline, since, learned).tolist() == [True, False, False]


def test_later_rows_are_not_compared_and_a_lost_snapshot_counts_as_unknown(
    pipeline: Pipeline,
) -> None:
    rows(pipeline, [0, 1, 2, 3])
    trained = training_snapshot(pipeline)
    learned = champion(trained, IDS)
    later = scoring_snapshot(pipeline, datetime(2026, 1, 1, 3))
    Path(trained.path).unlink()
    assert learned_rows(pipeline, later, learned).tolist() == [False]
