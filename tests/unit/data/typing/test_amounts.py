"""Amounts as people and their spreadsheets write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.errors import DataError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.settings.sources import CsvSource, ParquetSource
from tasks.base.source_notes import AmountsRead, SeveralUnits, note_text
from tasks.contracts.contract_files import known_contract
from tasks.data.column_kinds import infer_kinds
from tasks.data.source_table import SourceTable
from tasks.data.sources.source import read_source
from tasks.data.typing.amounts import Writing
from tasks.data.typing.numbers import STYLES
from tasks.training.row_windows import scoring_snapshot, training_snapshot, with_overrides
from tests.unit.data.tables_made import csv_read


def read(folder: Path, cells: list[str], **options: Any) -> SourceTable:
    body = "".join(f'"{cell}"\tw\n' for cell in cells)
    return csv_read(folder, f"c\tk\n{body}", delimiter="\t", **options)


@pytest.mark.parametrize(
    ("cells", "numbers", "unit"),
    [
        (["$1,234.50", "$7"], [1234.5, 7.0], "$"),
        (["$1,234.50", "5", ""], [1234.5, 5.0, None], "$"),
        (["-$5.25", "$-3", "($4)", "$(2.5)", "$1-"], [-5.25, -3, -4, -2.5, -1], "$"),
        (["1.234,50 €", "3 €"], [1234.5, 3.0], "€"),
        (["1\u202f234,50\u00a0€", "-3,10 EUR"], [1234.5, -3.1], "€"),
        (["€ 1.234,50", "€ 0,99"], [1234.5, 0.99], "€"),
        (["₹1,23,456.50", "Rs. 5"], [123456.5, 5.0], "₹"),
        (["£1,000", "GBP 5.5"], [1000.0, 5.5], "£"),
        (["¥1,000", "¥20"], [1000, 20], "¥"),
        (["CHF 1'234.50", "CHF 7.-", "Fr. 7.\u2013"], [1234.5, 7.0, 7.0], "CHF"),
        (["USD 1,234.50", "7.25 USD"], [1234.5, 7.25], "USD"),
        (["1 234,50 kr", "5 kr."], [1234.5, 5.0], "kr"),
        (["R$ 1.234,50", "R$ 5,00"], [1234.5, 5.0], "R$"),
        (["(1,202.85)", "372.60"], [-1202.85, 372.6], ""),
        (["1202.85-", "3"], [-1202.85, 3.0], ""),
        (["\u22125.5", "3", "\u20132"], [-5.5, 3.0, -2.0], ""),
        (["7.3%", "-2 %", "0"], [7.3, -2.0, 0.0], "%"),
        (["7,3 %", "12,25 %"], [7.3, 12.25], "%"),
        (["$5", "-", "$7.5"], [5.0, None, 7.5], "$"),
        (["$5", "NA"], [5, None], "$"),
    ],
)
def test_amounts_are_numbers_and_said_once(
    tmp_path: Path, cells: list[str], numbers: list[float | None], unit: str
) -> None:
    got = read(tmp_path, cells)
    assert got.table["c"].to_pylist() == numbers
    (note,) = got.findings
    assert isinstance(note, AmountsRead)
    assert (note.column, note.unit) == ("c", unit)
    assert note.number == numbers[cells.index(note.example)]
    assert " ".join(note.example.split()) in note_text(note)


def test_amounts_are_no_identifiers(tmp_path: Path) -> None:
    got = read(tmp_path, [f"${i},{i:03d}.50" for i in range(1, 200)])
    kinds, _ = infer_kinds(got.table, {})
    assert kinds["c"] == "numeric"


@pytest.mark.parametrize(
    "cells",
    [
        ["$5", "€6"],
        ["$5", "US$6"],
        ["7.3%", "0.2"],
        ["7.3%", "$5"],
    ],
)
def test_several_units_are_never_merged_and_are_said(tmp_path: Path, cells: list[str]) -> None:
    got = read(tmp_path, cells)
    assert got.table["c"].to_pylist() == cells
    assert [type(note) for note in got.findings] == [SeveralUnits]


@pytest.mark.parametrize(
    "cells",
    [
        ["(1)", "(2)"], ["$5 %", "$6"], ["-($5)", "$4"], ["1-2", "3-4"], ["$007", "$010"],
        ["$5m", "$6m"], ["A$", "B$"], ["5-", "6-"], ["$1,2,3", "$4"],
    ],
)  # fmt: skip
def test_what_is_no_amount_stays_text(tmp_path: Path, cells: list[str]) -> None:
    got = read(tmp_path, cells)
    assert got.table["c"].to_pylist() == cells
    assert got.findings == ()


def test_a_comma_is_read_as_the_other_cells_prove(tmp_path: Path) -> None:
    got = csv_read(tmp_path, "a;b\n1.234 €;0,5\n5.678 €;1,25\n")
    assert got.table["a"].to_pylist() == [1234, 5678]
    other = csv_read(tmp_path, "a;b\n1,234 €;1.234,5 €\n5,678 €;2 €\n")
    assert other.table["a"].to_pylist() == [1.234, 5.678]


def test_amounts_in_parquet_are_numbers_and_declared_text_stays(tmp_path: Path) -> None:
    pq.write_table(pa.table({"c": ["$1,234.50", "$7"]}), tmp_path / "t.parquet")
    source = ParquetSource(kind="parquet", path="t.parquet")
    assert read_source(source, tmp_path).table["c"].to_pylist() == [1234.5, 7.0]
    kept = read_source(source, tmp_path, expected={"c": "text"})
    assert kept.table["c"].to_pylist() == ["$1,234.50", "$7"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("unit", ["", "$", "%", "kr"])
def test_a_writing_is_read_back_from_its_text(unit: str, style: Any) -> None:
    writing = Writing(unit, style)
    assert Writing.of(str(writing)) == writing


def pipeline(folder: Path, cells: list[str]) -> Pipeline:
    (folder / "keepfit.yaml").write_text(
        "name: p\ntarget: y\nsource: {kind: csv, path: rows.csv}\n", encoding="utf-8"
    )
    write(folder / "rows.csv", cells)
    return load_pipeline(folder, {})


def write(path: Path, cells: list[str]) -> Path:
    rows = "".join(f'"{cell}",{i % 2}\n' for i, cell in enumerate(cells))
    path.write_text("c,y\n" + rows, encoding="utf-8")
    return path


def scored(plan: Pipeline, folder: Path, cells: list[str]) -> list[Any]:
    from tasks.data.snapshots import open_table

    new = write(folder / "new.csv", cells)
    snapshot = scoring_snapshot(with_overrides(plan, str(new), None))
    values: list[Any] = open_table(snapshot.path)["c"].to_pylist()
    return values


@pytest.mark.parametrize(
    ("first", "later", "values"),
    [
        ("$1,{i:03d}.5", ["$2", "3"], [2, 3]),
        ("$1,{i:03d}.5", ["2,345", "3,456"], [2345, 3456]),
        ("{i}.5%", ["2%", "0.5%"], [2.0, 0.5]),
        ("1.{i:03d},5 €", ["2.345 €", "3.456 €"], [2345, 3456]),
        ("{i}.5", ["$2.5", "3"], [2.5, 3.0]),
    ],
)
def test_a_later_file_is_read_in_the_unit_and_style_of_the_first(
    tmp_path: Path, first: str, later: list[str], values: list[float]
) -> None:
    plan = pipeline(tmp_path, [first.format(i=i) for i in range(40)])
    training_snapshot(plan)
    assert scored(plan, tmp_path, later) == values


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("${i}.5", ["€2.5", "€3"]),
        ("{i}.5%", ["0.025", "0.5"]),
        ("{i}.5", ["2.5%", "3%"]),
        ("{i}.5 €", ["2.5%", "3%"]),
    ],
)
def test_a_later_file_in_another_unit_is_refused_by_its_column(
    tmp_path: Path, first: str, later: list[str]
) -> None:
    plan = pipeline(tmp_path, [first.format(i=i) for i in range(40)])
    training_snapshot(plan)
    with pytest.raises(DataError, match=r"new\.csv: column 'c'"):
        scored(plan, tmp_path, later)


def test_files_in_several_units_are_named_with_theirs(tmp_path: Path) -> None:
    for name, cells in (("a.csv", ["$1.5", "$2"]), ("b.csv", ["€3.5", "4"]), ("c.csv", ["€5"])):
        write(tmp_path / name, cells)
    (note,) = read_source(CsvSource(kind="csv", path="*.csv"), tmp_path).findings
    assert isinstance(note, SeveralUnits)
    assert note.files == {"$": "a.csv", "€": "b.csv", "": "b.csv"}
    assert "€ in b.csv" in note_text(note)


def test_the_contract_states_how_a_column_is_written(tmp_path: Path) -> None:
    plan = pipeline(tmp_path, [f"€ 1.{i:03d},5" for i in range(40)])
    training_snapshot(plan)
    contract = known_contract(plan)
    assert contract is not None
    assert contract.columns["c"].written_as == "€ 1.234,5"
    assert contract.columns["y"].written_as is None
