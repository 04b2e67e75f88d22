"""Lines above the header are read past, and the note names them; data is never taken for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.base.errors import SourceError
from tasks.base.settings.sources import CsvSource
from tasks.base.source_notes import SkippedLines, note_text
from tasks.data.csv.preamble import find_preamble
from tasks.data.source_table import SourceTable
from tasks.data.sources.source import column_names, read_source
from tests.unit.data.tables_made import csv_read

ROWS = "qty,price,bought\n-0.6518,-2.4976,no\n1.6637,1.5595,yes\n"
TABLE = {"qty": [-0.6518, 1.6637], "price": [-2.4976, 1.5595], "bought": [False, True]}


def skipped(read: SourceTable) -> tuple[int, str]:
    (note,) = read.findings
    assert isinstance(note, SkippedLines)
    assert note.where == "above"
    return note.lines, note.sample


@pytest.mark.parametrize(
    ("above", "lines", "sample"),
    [
        ("sep=,\n", 1, "sep=,"),
        ('"sep=,"\n', 1, '"sep=,"'),
        ("\ufeffsep=,\r\n", 1, "sep=,"),
        ("# exported by tool 3.1\n# unit: EUR\n", 2, "# exported by tool 3.1"),
        ("// made, by, hand\n", 1, "// made, by, hand"),
        ("-- query of, 2024, Monday\n", 1, "-- query of, 2024, Monday"),
        ("Sales export\nGenerated,2024-05-01 10:00\n\n", 3, "Sales export"),
        ("Sales export,,\n,,\n", 2, "Sales export,,"),
        ('"Sales\nexport"\n', 2, '"Sales'),
        ("\n\nSales\n\n", 4, "Sales"),
    ],
)
def test_lines_above_the_header_are_skipped_and_noted(
    tmp_path: Path, above: str, lines: int, sample: str
) -> None:
    read = csv_read(tmp_path, above + ROWS)
    assert read.table.to_pydict() == TABLE
    assert skipped(read) == (lines, sample)
    assert column_names(CsvSource(kind="csv", path="t.csv"), tmp_path) == tuple(TABLE)


def test_a_spreadsheets_separator_is_the_delimiter_even_against_the_stated_one(
    tmp_path: Path,
) -> None:
    text = "sep=|\na|b\n1|x, y\n2|z\n"
    assert csv_read(tmp_path, text).detected["delimiter"] == "|"
    assert csv_read(tmp_path, text, delimiter=",").table.column_names == ["a", "b"]


def test_a_title_does_not_win_over_the_delimiter_of_the_rows(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "Verkauf Mai\nMenge;Preis;Ort\n1,5;2,5;Bern\n3,5;4,5;Ulm\n")
    assert read.table.to_pydict() == {
        "Menge": [1.5, 3.5], "Preis": [2.5, 4.5], "Ort": ["Bern", "Ulm"],
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_lines_are_skipped_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    read = csv_read(tmp_path, ("Überblick\n\n" + ROWS).encode(encoding))
    assert read.table.to_pydict() == TABLE


def test_files_of_one_source_have_lines_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sep=,\n" + ROWS)
    (tmp_path / "b.csv").write_text("Sales\nGenerated,2024-05-01\n" + ROWS)
    (tmp_path / "c.csv").write_text(ROWS)
    read = read_source(CsvSource(kind="csv", path="*.csv"), tmp_path)
    assert read.table.num_rows == 6
    assert [(note.file, note.lines) for note in read.findings] == [("a.csv", 1), ("b.csv", 2)]


def test_years_may_be_names_below_a_title(tmp_path: Path) -> None:
    text = "Data Source,World Bank\n\nCountry,Code,1960,1961,1962\nPeru,PE,1,2,3\nChad,TD,4,5,6\n"
    assert csv_read(tmp_path, text).table.column_names == [
        "Country",
        "Code",
        "1960",
        "1961",
        "1962",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,x,0.5\n2,y,1.5\n",
        "name,city\nx,Bern\ny,Ulm\n",  # all text
        "#CHROM,POS,ID\nx,1,r\ny,2,s\n",  # a header that starts like a comment
        "2019,2020,2021\na,b,c\nd,e,f\n",
        ",a,b\n0,x,y\n1,z,w\n",
        "a,b,\nx,y,z\nu,v,w\n",
        "1,2,3\n4,5,6\n",
        "a\nx\ny\n",
        "#id\n1\n2\n",
    ],
)
def test_the_first_line_stays_the_header_where_nothing_proves_a_later_one(text: str) -> None:
    assert find_preamble(text, ",").lines == 0


def test_lines_with_more_fields_than_names_are_refused_and_not_taken_for_rows_of_names(
    tmp_path: Path,
) -> None:
    with pytest.raises(SourceError, match="line 2: 3 fields") as refused:
        csv_read(tmp_path, "x,y\nr1,foo,bar\nr2,baz,qux\n")
    assert "source.skip_rows" in refused.value.remedy


def test_a_ragged_line_below_a_title_is_refused_with_its_own_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="line 5: 4 fields; the header has 3"):
        csv_read(tmp_path, "Sales export\n\n" + ROWS.replace("-2.4976,no", "-2.4976,no\n1,2,3,4"))


def test_stated_lines_are_skipped_as_stated(tmp_path: Path) -> None:
    text = "Sales,2024,May\n" + ROWS
    assert csv_read(tmp_path, text, skip_rows=1).table.to_pydict() == TABLE
    assert skipped(csv_read(tmp_path, text, skip_rows=1)) == (1, "Sales,2024,May")
    assert csv_read(tmp_path, ROWS, skip_rows=0).findings == ()
    assert csv_read(tmp_path, "#a\n" + ROWS, skip_rows=1).table.column_names == list(TABLE)


@pytest.mark.parametrize("above", ["\n", "\r\n\r\n", "  \n\n", "\ufeff\n\n"])
def test_blank_lines_alone_above_the_header_are_passed_over(tmp_path: Path, above: str) -> None:
    for options in ({}, {"skip_rows": 0}):
        read = csv_read(tmp_path, above + ROWS, **options)
        assert read.table.to_pydict() == TABLE
        assert read.findings == ()
    assert csv_read(tmp_path, "\nqty\n1\n2\n").table.to_pydict() == {"qty": [1, 2]}
    with pytest.raises(SourceError, match="line 5: 4 fields; the header has 3"):
        csv_read(tmp_path, "\n\n" + ROWS.replace("-2.4976,no", "-2.4976,no\n1,2,3,4"))


def test_the_note_names_file_lines_and_key() -> None:
    text = note_text(SkippedLines(file="x.csv", where="above", lines=2, sample="# made by"))
    assert all(part in text for part in ("x.csv", "2 lines", "# made by", "source.skip_rows"))


@pytest.mark.parametrize(
    "below", ["Total,4.5\n", "\nSource: our shop\nNotes: none\n", "# 2 rows\n", "(2 rows)\n"]
)
def test_a_footer_is_skipped_and_noted(tmp_path: Path, below: str) -> None:
    read = csv_read(tmp_path, ROWS + below)
    assert read.table.to_pydict() == TABLE
    (note,) = read.findings
    assert note.where == "below"
    assert note.sample.split()[0] in below


@pytest.mark.parametrize(
    "end", ["3.5,1.5\n", "bike,1.5\n", "Total,1\n1.0,2.0,no\n", "2024-05-01 1"]
)
def test_a_short_line_that_may_be_a_row_is_refused_with_its_line(tmp_path: Path, end: str) -> None:
    with pytest.raises(SourceError, match="line 4"):
        csv_read(tmp_path, ROWS + end)


@given(
    st.lists(
        st.lists(st.sampled_from(["", "a", "b c", "12", "1.5", "x1", "#"]), min_size=2, max_size=4),
        min_size=1,
        max_size=8,
    )
)
def test_rows_of_one_width_that_are_filled_are_never_skipped(rows: list[list[str]]) -> None:
    full = [[cell or "z" for cell in (row * 4)[:4]] for row in rows]
    names = [["one", "two", "three", "four"], *full]
    text = "".join(",".join(row) + "\n" for row in names)
    assert find_preamble(text, ",").lines == 0
