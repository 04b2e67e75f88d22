"""A column that is called otherwise in one file is named, with the file and the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.errors import ContractError, SourceError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.settings.sources import CsvSource, ParquetSource, Source
from tasks.base.source_notes import ChangedColumns, note_text
from tasks.contracts.pipeline_check import naming_changes
from tasks.data.files.file_columns import changed_columns, renamed
from tasks.data.sources.source import column_names, read_source
from tasks.training.row_windows import scoring_snapshot, training_snapshot


def write(folder: Path, form: str, name: str, columns: dict[str, Any]) -> None:
    if form == "parquet":
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        return
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    (folder / f"{name}.csv").write_text("\n".join([",".join(columns), *rows]) + "\n")


def source(form: str, path: str = "20*") -> Source:
    made = ParquetSource if form == "parquet" else CsvSource
    return made.model_validate({"kind": form, "path": f"{path}.{form}"})


def months(folder: Path, form: str) -> None:
    """Write two months of bookings, and a third in which a column lost its underscore."""
    for month in ("2016-05", "2016-06"):
        write(folder, form, month, {"id": [1, 2], "lead_time": [3, 4], "adr": [5.5, 6.5]})
    write(folder, form, "2016-07", {"id": [3, 4], "leadtime": [5, 6], "adr": [7.5, 8.5]})


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_column_renamed_in_one_file_is_named_and_its_rows_are_kept(
    tmp_path: Path, form: str
) -> None:
    months(tmp_path, form)
    read = read_source(source(form), tmp_path)
    (note,) = read.findings
    assert note == ChangedColumns(
        files=(f"2016-07.{form}",),
        new=("leadtime",),
        absent=("lead_time",),
        renamed={"lead_time": "leadtime"},
    )
    assert all(word in note_text(note) for word in ("'leadtime' is new", "'lead_time' is absent"))
    assert column_names(source(form), tmp_path) == ("id", "lead_time", "adr", "leadtime")
    assert read.table["id"].to_pylist() == [1, 2, 1, 2, 3, 4]
    assert read.table["lead_time"].to_pylist() == [3, 4, 3, 4, None, None]
    assert read.table["leadtime"].to_pylist() == [None] * 4 + [5, 6]


def test_many_files_that_differ_alike_share_one_finding() -> None:
    files = [(f"{i}.csv", ["a", "b"]) for i in range(9)] + [(f"x{i}.csv", ["a"]) for i in range(5)]
    (note,) = changed_columns(files)
    assert (note.new, note.absent, len(note.files)) == ((), ("b",), 5)
    assert "x0.csv, x1.csv, x2.csv and 2 more" in note_text(note)


@pytest.mark.parametrize(
    ("absent", "new", "pairs"),
    [
        ("lead_time", "Lead Time", True),
        ("leadTime", "lead_time", True),
        ("price", "prices", True),
        ("price", "city", False),
    ],
)
def test_the_nearest_name_is_one_that_is_nearly_the_same(
    absent: str, new: str, pairs: bool
) -> None:
    assert renamed([absent], [new]) == ({absent: new} if pairs else {})


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_of_another_table_is_refused(tmp_path: Path, form: str) -> None:
    months(tmp_path, form)
    write(tmp_path, form, "2016-08", {"hotel": ["a"], "stars": [3], "id": [1]})
    with pytest.raises(SourceError, match="2016-08"):
        read_source(source(form), tmp_path)


def pipeline(folder: Path, form: str) -> Pipeline:
    rows = 40
    columns = {"id": list(range(rows)), "lead_time": [i % 7 for i in range(rows)],
               "y": [i % 2 for i in range(rows)]}  # fmt: skip
    write(folder, form, "2016-05", columns)
    (folder / "keepfit.yaml").write_text(
        f"name: p\ntarget: y\nsource: {{kind: {form}, path: '20*.{form}'}}\nid_columns: [id]\n"
    )
    plan = load_pipeline(folder, {})
    training_snapshot(plan)
    return plan


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_source_whose_every_file_is_renamed_is_compared_with_the_contract(
    tmp_path: Path, form: str
) -> None:
    plan = pipeline(tmp_path, form)
    columns = {"id": [1, 2], "leadtime": [1, 2]}
    write(tmp_path, form, "2016-05", columns)
    (note,) = scoring_snapshot(plan).findings
    assert isinstance(note, ChangedColumns)
    assert note.renamed == {"lead_time": "leadtime"}


def test_a_contract_that_broke_names_the_files_whose_columns_changed() -> None:
    note = ChangedColumns(files=("7.csv",), new=("b",), absent=("a",), renamed={"a": "b"})
    with pytest.raises(ContractError, match=r"'b' is new in 7\.csv"), naming_changes([note]):
        raise ContractError("a: nulls: 13 %")


def test_what_the_error_names_itself_is_not_added() -> None:
    note = ChangedColumns(files=("7.csv",), new=("b",), absent=("a",), renamed={"a": "b"})
    with pytest.raises(ContractError) as caught, naming_changes([note]):
        raise ContractError("a: present: absent in 7.csv", absent=["a"])
    assert caught.value.message == "a: present: absent in 7.csv"
