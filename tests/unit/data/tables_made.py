"""Small tables and files for the tests of the data room."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.base.config import PipelineConfig
from tasks.base.settings.sources import CsvSource
from tasks.base.training_records import Kind, Schema, Snapshot
from tasks.data.column_kinds import build_schema, infer_kinds
from tasks.data.snapshots import write_snapshot
from tasks.data.source_table import SourceTable
from tasks.data.sources.source import read_source
from tasks.data.typing.arrow_types import plain_table

T0 = datetime(2024, 1, 1)


def csv_read(
    folder: Path, content: bytes | str, name: str = "t.csv", **options: Any
) -> SourceTable:
    """Return what is read of a CSV file with this content."""
    expected = options.pop("expected", None)
    columns = options.pop("columns", None)
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    source = CsvSource(kind="csv", path=name, **options)
    return read_source(source, folder, expected=expected, columns=columns)


def people(rows: int = 200, seed: int = 0) -> dict[str, Any]:
    """Return columns of every kind with a target that x and k explain."""
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    k = random.choice(["red", "green", "blue"], rows)
    y = (x + (k == "red") + random.normal(size=rows)) > 0.3
    return {
        "id": [f"p{i:05d}" for i in range(rows)],
        "at": [T0 + timedelta(hours=i // 3) for i in range(rows)],
        "x": x,
        "n": random.integers(0, 100, rows),
        "k": k.tolist(),
        "flag": random.random(rows) < 0.5,
        "y": y,
    }


def config(target: str = "y", **keys: Any) -> PipelineConfig:
    """Return a configuration whose source is never read."""
    source = keys.pop("source", {"kind": "csv", "path": "t.csv"})
    values = {"name": "p", "target": target, "source": source, **keys}
    return PipelineConfig.model_validate(values)


def snapshot_of(
    columns: dict[str, Any] | pa.Table, folder: Path, made: PipelineConfig | None = None
) -> Snapshot:
    """Return a snapshot of columns, with the kinds inferred as in a pipeline."""
    made = made or config()
    table = plain_table(columns if isinstance(columns, pa.Table) else pa.table(columns), [])
    kinds: dict[str, Kind]
    kinds, said = infer_kinds(
        table,
        made.kinds,
        target=made.target,
        time_column=made.time_column,
        id_columns=made.id_columns,
    )
    return write_snapshot(table, kinds, folder, time_column=made.time_column, assumptions=said)


def schema_of(
    columns: dict[str, Any] | pa.Table, folder: Path, **keys: Any
) -> tuple[Snapshot, Schema]:
    """Return snapshot and schema of columns under a configuration."""
    made = config(**keys)
    snapshot = snapshot_of(columns, folder, made)
    return snapshot, build_schema(snapshot, made)
