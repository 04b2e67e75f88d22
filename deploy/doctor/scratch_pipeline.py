"""A scratch pipeline for `keepfit doctor --loop`: a small real table, and rows that drifted.

Patients' progress after a year (scikit-learn's diabetes table), with a time and an id added. The
drifted rows are real patients too, only the heavy ones: every value keeps the contract.
"""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta
from pathlib import Path

from tasks.base.monitoring_records import Window
from tasks.base.runtime.files import write_whole
from tasks.base.runtime.libraries import pd
from tasks.data.sources.demos import demo_table

_DAYS = 20
_DRIFTED_ROWS = 120
_JITTER = 1e-4


def write_project(folder: Path, name: str, now: datetime, alert: str) -> Path:
    """Write the pipeline file and its history, which ends an hour before `now`; return the file."""
    rows = _table().sample(frac=1.0, random_state=0, ignore_index=True)
    first = now - timedelta(days=_DAYS)
    step = (timedelta(days=_DAYS) - timedelta(hours=1)) / len(rows)
    rows["at"] = [first + i * step for i in range(len(rows))]
    rows["patient"] = [f"history-{i}" for i in range(len(rows))]
    _write(rows, folder / "rows" / "history.parquet")
    settings = {
        "name": name,
        "target": "progression",
        "task": "regression",
        "source": {"kind": "parquet", "path": "rows/*.parquet"},
        "time_column": "at",
        "id_columns": ["patient"],
        "split": {"holdout": 0.3},
        "training": {"budget": "30s", "cv": 2, "candidates": ["logistic_regression"], "threads": 1},
        "monitoring": {"window": "1d", "min_rows": 50},
        "policy": {
            "retrain_on": ["drift"],
            "persistence": "1 of 1",
            "cooldown": "0s",
            "probation": 0,
        },
        "alerts": [alert],
        "state": "state",
    }
    # JSON is YAML too.
    write_whole(folder / "keepfit.yaml", json.dumps(settings, indent=1))
    return folder / "keepfit.yaml"


def write_drifted(folder: Path, start: datetime, now: datetime) -> Window:
    """Write rows that drifted, with times from `start` until `now`; return their window."""
    # It ends after `now`, so that no earlier training covers it.
    heavy = _table().nlargest(_DRIFTED_ROWS, "bmi", keep="first").reset_index(drop=True)
    step = (now - start) / len(heavy)
    heavy["at"] = [start + i * step for i in range(len(heavy))]
    heavy["patient"] = [f"drifted-{i}" for i in range(len(heavy))]
    # Towards the mean, so that no row is one of the history's and none leaves its range.
    for column in ("age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"):
        heavy[column] += (heavy[column].mean() - heavy[column]) * _JITTER
    _write(heavy, folder / "rows" / "drifted.parquet")
    begin = start.replace(microsecond=0)
    return Window(start=begin, end=now.replace(microsecond=0) + timedelta(minutes=1))


def _table() -> pd.DataFrame:
    frame: pd.DataFrame = demo_table("diabetes").drop_columns(["row_id"]).to_pandas()
    return frame


def _write(frame: pd.DataFrame, path: Path) -> None:
    sink = io.BytesIO()
    frame.to_parquet(sink, index=False)
    write_whole(path, sink.getvalue())
