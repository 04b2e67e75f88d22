"""What cells of text become: numbers, booleans, times, or text after all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.base.errors import DataError
from tasks.data.typing.inference import Typing
from tasks.data.typing.text_rules import TextRules
from tests.unit.data.tables_made import csv_read


def cells(folder: Path, values: list[str], **options: Any) -> tuple[pa.ChunkedArray, str]:
    """Return one column of a `;` file next to a column of words, and all that was said."""
    body = "".join(f"{value};w\n" for value in values)
    options = {"delimiter": ";"} | options
    sign = options["delimiter"]
    if sign == ",":
        body = "".join(f'"{value}",w\n' for value in values)
    read = csv_read(folder, f"v{sign}k\n{body}", **options)
    return read.table["v"], " | ".join(read.assumptions)


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["1", "2"], [1, 2]),
        (["1.5", "-2", "+3e2"], [1.5, -2.0, 300.0]),
        (["1.234,56", "7"], [1234.56, 7.0]),
        (["1 234,5", "7"], [1234.5, 7.0]),
        (["1\u00a0234", "12"], [1234, 12]),
        (["1,234.56", "7"], [1234.56, 7.0]),
        (["1'234.5", "7"], [1234.5, 7.0]),
        (["0,5", "1,234"], [0.5, 1.234]),
        (["1,234,567", "1,000"], [1234567, 1000]),
        ([" 5", "6 "], [5, 6]),
        (["5", "", " ", "NA", "NaN", "null", "None", "N/A"], [5] + [None] * 7),
        (["5", "?", "-"], [5, None, None]),
        (["inf", "-inf", "1.5"], [float("inf"), float("-inf"), 1.5]),
    ],
)
def test_numbers_are_read_as_people_write_them(
    tmp_path: Path, values: list[str], numbers: list[float | None]
) -> None:
    column, _ = cells(tmp_path, values)
    assert column.to_pylist() == numbers


def test_a_soft_null_is_said(tmp_path: Path) -> None:
    _, said = cells(tmp_path, ["5", "?"])
    assert "'?' among numbers read as missing" in said


@pytest.mark.parametrize(
    ("delimiter", "options", "read"),
    [
        (";", {}, 1.234),
        (",", {}, 1234),
        (",", {"decimal": ","}, 1.234),
        (";", {"thousands": ","}, 1234),
        (";", {"decimal": "."}, 1234),
    ],
)
def test_an_ambiguous_comma_follows_the_stated_rule(
    tmp_path: Path, delimiter: str, options: dict[str, Any], read: float
) -> None:
    column, said = cells(tmp_path, ["1,234", "5,678"], delimiter=delimiter, **options)
    assert column[0].as_py() == read
    if not options:
        assert "source.decimal" in said
        assert "source.thousands" in said


def test_another_column_decides_an_ambiguous_comma(tmp_path: Path) -> None:
    read = csv_read(tmp_path, 'a,b\n"1,234","0,5"\n"5,678","2,75"\n')
    assert read.table["a"].to_pylist() == [1.234, 5.678]


def test_points_between_thousands_are_seen_in_a_file_with_decimal_commas(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "a;b\n1.234;0,5\n12.345;2,75\n")
    assert read.table["a"].to_pylist() == [1234, 12345]
    assert any("thousands" in note for note in read.assumptions)
    plain = csv_read(tmp_path, "a,b\n1.234,x\n12.345,y\n")
    assert plain.table["a"].to_pylist() == [1.234, 12.345]


@pytest.mark.parametrize(
    "values",
    [
        ["00123", "01234"],
        ["0x1F", "0x20"],
        ["99999999999999999999", "1"],
        ["9223372036854775808", "1.5"],
        ["1,2,3", "4,5,6"],
        ["12:99", "30:00"],
        ["1-2", "3-4"],
    ],
)
def test_what_would_lose_its_form_stays_text(tmp_path: Path, values: list[str]) -> None:
    column, _ = cells(tmp_path, values)
    assert column.to_pylist() == values


def test_one_word_among_numbers_keeps_the_column_text_and_is_said(tmp_path: Path) -> None:
    values = [str(i) for i in range(1, 1000)]
    values[500] = "abc"
    column, said = cells(tmp_path, values)
    assert column.to_pylist() == values
    assert "1 of 999 cells are no numbers (such as 'abc' in row 501)" in said
    mended, _ = cells(tmp_path, values, null_values=("abc",))
    assert mended.null_count == 1


@pytest.mark.parametrize(
    "pair", [("Yes", "No"), ("true", "false"), ("Y", "N"), ("t", "f"), ("TRUE", "FALSE")]
)
def test_words_for_true_and_false_are_booleans(tmp_path: Path, pair: tuple[str, str]) -> None:
    column, _ = cells(tmp_path, [pair[0], pair[1], "", pair[1]])
    assert column.to_pylist() == [True, False, None, False]


@pytest.mark.parametrize("values", [["F", "F"], ["M", "F"], ["0", "1"], ["yes", "maybe"]])
def test_other_words_and_digits_are_no_booleans(tmp_path: Path, values: list[str]) -> None:
    column, _ = cells(tmp_path, values)
    assert not pa.types.is_boolean(column.type)


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (["2024-01-02", "2024-01-03"], datetime(2024, 1, 2)),
        (["2024-01-02 03:04:05", "2024-01-03"], datetime(2024, 1, 2, 3, 4, 5)),
        (["2024-01-02T03:04:05.25"], datetime(2024, 1, 2, 3, 4, 5, 250000)),
        (["31/12/2024 17:05", "01/02/2024 00:00"], datetime(2024, 12, 31, 17, 5)),
        (["12/31/2024 5:05 PM"], datetime(2024, 12, 31, 17, 5)),
        (["31.12.2024"], datetime(2024, 12, 31)),
        (["2-Jan-2024", "13-February-2024"], datetime(2024, 1, 2)),
        (["2024-05"], datetime(2024, 5, 1)),
        (["2024-01-02T03:04:05Z"], datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (
            ["2024-03-31T01:30:00+01:00", "2024-03-31T03:30:00+02:00"],
            datetime(2024, 3, 31, 0, 30, tzinfo=UTC),
        ),
        (
            ["31/12/2024 01:00:00 +0200", "31/12/2024 01:00:00 Z"],
            datetime(2024, 12, 30, 23, tzinfo=UTC),
        ),
    ],
)
def test_times_are_read_as_people_write_them(
    tmp_path: Path, values: list[str], first: datetime
) -> None:
    column, _ = cells(tmp_path, values)
    assert column[0].as_py() == first


@pytest.mark.parametrize(
    "values",
    [
        ["31/04/2024", "01/01/2024"],
        ["13/13/2024", "01/01/2024"],
        ["2024-01-02 25:00:00"],
        ["2024-01-02 03:04:05Z", "2024-01-02 03:04:05"],
        ["01/02/24", "31/12/24"],
        ["192.168.1.1", "10.0.0.1"],
    ],
)
def test_what_is_no_time_stays_text(tmp_path: Path, values: list[str]) -> None:
    column, _ = cells(tmp_path, values)
    assert column.to_pylist() == values


def test_an_ambiguous_date_is_said_and_can_be_stated(tmp_path: Path) -> None:
    values = ["03/02/2024", "01/05/2024"]
    column, said = cells(tmp_path, values)
    assert column[0].as_py() == datetime(2024, 2, 3)
    assert "source.date_formats" in said
    stated, _ = cells(tmp_path, values, date_formats={"v": "%m/%d/%Y"})
    assert stated[0].as_py() == datetime(2024, 3, 2)


def test_an_ambiguous_date_follows_the_order_of_the_rows(tmp_path: Path) -> None:
    column, said = cells(tmp_path, ["01/02/2024", "01/05/2024", "02/01/2024"])
    assert column[0].as_py() == datetime(2024, 1, 2)
    assert "rows are in order" in said


def test_an_ambiguous_date_follows_another_column(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "a,b\n01/02/2024,12/31/2024\n01/03/2024,12/30/2024\n")
    assert read.table["a"][0].as_py() == datetime(2024, 1, 2)
    assert read.detected["date_formats"] == {"a": "%m/%d/%Y", "b": "%m/%d/%Y"}


def test_a_stated_format_that_does_not_fit_names_the_cell(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'v', row 2: 'soon'"):
        cells(tmp_path, ["2024-01-01", "soon"], date_formats={"v": "%Y-%m-%d"})


@pytest.mark.parametrize(
    ("values", "seconds"),
    [(["18.00.00", "07.30.05"], [64800, 27005]), (["7:30", "18:05"], [27000, 65100])],
)
def test_times_of_day_are_seconds_since_midnight(
    tmp_path: Path, values: list[str], seconds: list[int]
) -> None:
    column, said = cells(tmp_path, values)
    assert column.to_pylist() == seconds
    assert "seconds since midnight" in said


def test_a_null_word_in_a_column_of_words_is_said(tmp_path: Path) -> None:
    column, said = cells(tmp_path, ["brick", "None", "wood"])
    assert column.to_pylist() == ["brick", None, "wood"]
    assert "'None' read as missing" in said
    kept, _ = cells(tmp_path, ["brick", "None", "wood"], null_values=())
    assert kept.to_pylist() == ["brick", "None", "wood"]


def test_expected_kinds_decide_how_text_is_read(tmp_path: Path) -> None:
    read = csv_read(
        tmp_path,
        "zip,flag,n,bad,day,id\n10001,1,1,1,01/02/2024,7\n10002,0,2,x,03/02/2024,8\n",
        expected={
            "zip": "categorical", "flag": "boolean", "n": "numeric", "bad": "numeric",
            "day": "datetime", "id": "identifier",
        },
    )  # fmt: skip
    table = read.table
    assert table["zip"].to_pylist() == ["10001", "10002"]
    assert table["flag"].to_pylist() == [True, False]
    assert table["n"].to_pylist() == [1, 2]
    assert table["bad"].to_pylist() == ["1", "x"]
    assert pa.types.is_timestamp(table["day"].type)
    assert table["id"].to_pylist() == ["7", "8"]


def test_a_column_without_any_value_is_null(tmp_path: Path) -> None:
    column, _ = cells(tmp_path, ["", "NA", ""])
    assert column.null_count == 3


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda i: f"2026-01-01 AA{i}", True),
        (lambda i: f"{i}.5", False),
        (lambda i: f"2026-01-{1 + i % 28:02d}", False),
    ],
    ids=["ids that begin like a date", "numbers", "dates"],
)
def test_a_long_text_column_of_a_typed_source_is_what_its_ends_are(
    make: Callable[[int], str], text: bool
) -> None:
    column = pa.chunked_array([pa.array([make(i) for i in range(120_000)])])

    typed = Typing(TextRules(loose=False), None).columns({"c": column})["c"]

    assert pa.types.is_string(typed.type) == text
    assert len(typed) == 120_000
