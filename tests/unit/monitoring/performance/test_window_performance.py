"""Whose predictions a window's performance is judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.base.monitoring_records import Window
from tasks.base.training_records import SCHEMA_TAG, ModelVersion
from tasks.ledger.ledger import ledger_of
from tasks.monitoring.performance.window_performance import pooled_rows
from tests.opened import opened
from tests.unit.monitoring.shadow.test_challenger_trial import ROLES, pipeline, weeks
from tests.unit.monitoring.windows_made import START, WEEK


def version(number: str) -> ModelVersion:
    tags = {SCHEMA_TAG: ROLES.model_dump_json()}
    return ModelVersion(name="mine", version=number, run_id=f"run{number}", tags=tags)


class Registry:
    """Two versions of one model."""

    def version(self, name: str, number: str) -> ModelVersion:
        assert name == "mine"
        return version(number)


@pytest.mark.parametrize(("served", "rows"), [("222", 120), ("112", 40), ("122", 80)])
def test_segments_are_judged_by_one_version_alone(tmp_path: Path, served: str, rows: int) -> None:
    plan, registry = pipeline(tmp_path), Registry()
    ledger, frames = ledger_of(plan), weeks(3, 40)
    for n, (frame, by) in enumerate(zip(frames, served, strict=True)):
        made = frame.drop(columns=["label", "version"]).rename(columns={"time": "t"})
        ledger.write_predictions(
            "mine", made, ROLES, version=by, run_id=f"run{by}", batch=f"b{n}", rows=made
        )
    last = Window(start=START + 2 * WEEK, end=START + 3 * WEEK)
    store: Any = registry

    found, span = pooled_rows(opened(plan, store=store), version("2"), version("2"), last)

    assert isinstance(found, pd.DataFrame)
    assert (set(found["version"]), len(found)) == ({"2"}, rows)
    assert span.end == last.end
