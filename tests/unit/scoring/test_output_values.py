"""What names a row comes out of a scoring as it stood in the file that was scored."""

from __future__ import annotations

import csv
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.pipeline import Pipeline as Fitted
from sklearn.preprocessing import FunctionTransformer

from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.settings.scoring import CsvSink, ParquetSink
from tasks.base.training_records import ModelVersion, Schema
from tasks.data.snapshots import read_frame
from tasks.scoring.predictions import score_frame
from tasks.scoring.sinks import write_predictions
from tasks.training.row_windows import scoring_snapshot, training_snapshot, with_overrides

ROWS = 60
VERSION = ModelVersion(name="mine", version="1", run_id="r")
ROLES = Schema(target="y", task="regression", features={"x": "numeric"}, id_columns=("id",))

Cell = Callable[[int], str]
TEXT: dict[str, tuple[Cell, Cell]] = {
    "small numbers": (str, str),
    "beyond 53 bits": (lambda i: str(2**60 + i), lambda i: str(2**60 + 1000 + i)),
    "beyond 64 bits": (lambda i: str(10**21 + i), lambda i: str(10**22 + i)),
    "leading zeros": (lambda i: f"{i:06d}", lambda i: f"{i + 1000:06d}"),
    "leading zeros in the later file": (lambda i: str(1000 + i), lambda i: f"{i:06d}"),
    "letters in the later file": (lambda i: str(1000 + i), lambda i: f"A{i:05d}"),
    "beyond 64 bits in the later file": (lambda i: str(1000 + i), lambda i: str(10**20 + i)),
    "telephone numbers": (lambda i: f"+49151{i:07d}", lambda i: f"+49152{i:07d}"),
    "powers of ten": (lambda i: f"{i}E5", lambda i: f"{i + 100}E5"),
    "cents": (lambda i: f"{i}.10", lambda i: f"{i}.50"),
    "per cents": (lambda i: f"{i}%", lambda i: f"{i + 100}%"),
    "dates": (lambda i: f"2024-01-{i % 28 + 1:02d}/{i}", lambda i: f"2024-02-{i % 28 + 1:02d}/{i}"),
    "letters": (lambda i: f"Zoë {i}", lambda i: f'"{i}", ok'),
}
ARROW: dict[str, Callable[[int], pa.Array]] = {
    "whole decimals": lambda at: pa.array(
        [Decimal(10**17 + at + i) for i in range(ROWS)], pa.decimal128(38, 0)
    ),
    "wide decimals": lambda at: pa.array(
        [Decimal(10**25 + at + i) for i in range(ROWS)], pa.decimal128(38, 0)
    ),
    "decimals with a scale": lambda at: pa.array(
        [Decimal(at + i) / 100 for i in range(ROWS)], pa.decimal128(12, 2)
    ),
    "unsigned": lambda at: pa.array([2**63 + at + i for i in range(ROWS)], pa.uint64()),
    "text of digits": lambda at: pa.array([f"{at + i:08d}" for i in range(ROWS)]),
    "categories": lambda at: pa.array([f"c{at + i}" for i in range(ROWS)]).dictionary_encode(),
}


def plan(folder: Path, kind: str) -> Pipeline:
    (folder / "keepfit.yaml").write_text(
        f"name: mine\ntarget: y\nsource: {{kind: {kind}, path: first.{kind}}}\nid_columns: [id]\n",
        encoding="utf-8",
    )
    return load_pipeline(folder, {})


def scored(pipeline: Pipeline, new: Path, output: str) -> Path:
    """Return the file that a scoring of `new` writes."""
    training_snapshot(pipeline)
    snapshot = scoring_snapshot(with_overrides(pipeline, str(new), None))
    frame = read_frame(snapshot.path)
    model = Fitted([("encode", FunctionTransformer()), ("model", DummyRegressor())]).fit(
        frame[["x"]], [1.0] * ROWS
    )
    rows, _ = score_frame(frame, ROLES, model, version=VERSION, run_id="r", batch="b")
    sink = (CsvSink if output.endswith("csv") else ParquetSink).model_validate(
        {"kind": output.partition(".")[2], "path": output}
    )
    write_predictions(rows, sink, new.parent)
    return new.parent / output


def write_csv(path: Path, ids: list[str], **more: list[Any]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "x", *more])
        writer.writerows(zip(ids, range(len(ids)), *more.values(), strict=True))
    return path


@pytest.mark.parametrize("case", TEXT)
def test_ids_of_a_csv_file_are_written_as_they_stood(tmp_path: Path, case: str) -> None:
    first, later = ([cell(i) for i in range(ROWS)] for cell in TEXT[case])
    write_csv(tmp_path / "first.csv", first, y=[0.5 + i for i in range(ROWS)])
    new = write_csv(tmp_path / "new.csv", later)

    out = scored(plan(tmp_path, "csv"), new, "out.csv")

    assert pd.read_csv(out, dtype=str)["id"].tolist() == later


@pytest.mark.parametrize("case", ARROW)
def test_ids_of_a_parquet_file_are_written_as_they_stood(tmp_path: Path, case: str) -> None:
    x, y = [float(i) for i in range(ROWS)], [0.5 + i for i in range(ROWS)]
    later = ARROW[case](5000)
    pq.write_table(pa.table({"id": ARROW[case](0), "x": x, "y": y}), tmp_path / "first.parquet")
    pq.write_table(pa.table({"id": later, "x": x}), tmp_path / "new.parquet")

    out = scored(plan(tmp_path, "parquet"), tmp_path / "new.parquet", "out.parquet")

    got = pq.read_table(out)["id"].to_pylist()
    if case == "decimals with a scale":
        assert [float(value) for value in got] == [float(value) for value in later.to_pylist()]
    else:
        assert [str(value) for value in got] == [str(value) for value in later.to_pylist()]
