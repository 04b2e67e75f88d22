"""A corpus of messy CSV files: each is read rightly, or refused with its line."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tasks.base.errors import DataError, SourceError
from tasks.base.settings.sources import CsvSource
from tasks.data.csv.reader import unique_names
from tasks.data.sources.source import column_names, read_source
from tests.unit.data.tables_made import csv_read


def columns(read: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = read.table.to_pydict()
    return found


def test_a_plain_file_needs_no_assumption(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "a,b,c\n1,x,0.5\n2,y,1.5\n")
    assert columns(read) == {"a": [1, 2], "b": ["x", "y"], "c": [0.5, 1.5]}
    assert read.assumptions == ()


def test_latin_1_with_a_degree_sign_is_read_right_and_said(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "T(°C),ville\n1,Orléans\n2,Besançon\n".encode("latin-1"))
    assert columns(read) == {"T(°C)": [1, 2], "ville": ["Orléans", "Besançon"]}
    assert any("cp1252" in note and "source.encoding" in note for note in read.assumptions)
    assert read.detected["encoding"] == "cp1252"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_marked_and_unicode_files_are_read(tmp_path: Path, encoding: str) -> None:
    read = csv_read(tmp_path, "naïve,日本\n1,é\n2,ü\n".encode(encoding))
    assert columns(read) == {"naïve": [1, 2], "日本": ["é", "ü"]}


def test_another_script_is_recognised(tmp_path: Path) -> None:
    rows = "".join(f"{i},Москва и область,холодно и снежно\n" for i in range(40))
    read = csv_read(tmp_path, f"номер,город,погода\n{rows}".encode("cp1251"))
    assert read.table.column_names == ["номер", "город", "погода"]
    assert columns(read)["город"][0] == "Москва и область"


def test_a_stated_encoding_is_used_and_a_wrong_one_refused(tmp_path: Path) -> None:
    data = "a,b\n1,é\n".encode("latin-1")
    assert columns(csv_read(tmp_path, data, encoding="latin-1"))["b"] == ["é"]
    with pytest.raises(SourceError, match=r"t\.csv.*utf-8"):
        csv_read(tmp_path, data, encoding="utf-8")
    with pytest.raises(SourceError, match="no encoding is called 'latin1000'"):
        csv_read(tmp_path, data, encoding="latin1000")


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_the_delimiter_is_detected(tmp_path: Path, sign: str) -> None:
    text = f"a{sign}b\n1{sign}x, y; z\n2{sign}w\n" if sign not in ",;" else f"a{sign}b\n1{sign}x\n"
    assert csv_read(tmp_path, text).table.column_names == ["a", "b"]


def test_one_column_has_no_delimiter(tmp_path: Path) -> None:
    assert columns(csv_read(tmp_path, "a\n1\n2\n")) == {"a": [1, 2]}


def test_decimal_commas_between_semicolons_are_no_delimiters(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "a;b\n1,5;2,25\n3,5;4,75\n")
    assert columns(read) == {"a": [1.5, 3.5], "b": [2.25, 4.75]}
    assert read.detected["decimal"] == ","


def test_duplicated_and_missing_names_are_made_unique_and_said(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "a,a,,a\n1,2,3,4\n5,6,7,9\n")
    assert read.table.column_names == ["a", "a_2", "column_3", "a_3"]
    assert any("a_2" in note for note in read.assumptions)
    assert any("column_3" in note for note in read.assumptions)


@given(st.lists(st.sampled_from(["a", "a_2", "", "column_2", "b"]), min_size=1, max_size=8))
def test_unique_names_are_unique_and_keep_first_names(header: list[str]) -> None:
    names, _ = unique_names(header)
    assert len(set(names)) == len(names) == len(header)
    for position, name in enumerate(header):
        if name and name not in header[:position]:
            assert names[position] == name


@pytest.mark.parametrize("start", [0, 1])
def test_a_nameless_column_that_counts_the_rows_is_dropped(tmp_path: Path, start: int) -> None:
    body = "".join(f"{start + i},{i % 7}\n" for i in range(30))
    read = csv_read(tmp_path, f",x\n{body}")
    assert read.table.column_names == ["x"]
    assert "the first column counts the rows and was dropped" in read.assumptions
    assert not any("column_1" in note for note in read.assumptions)


def test_a_nameless_first_column_that_does_not_count_is_kept(tmp_path: Path) -> None:
    assert csv_read(tmp_path, ",x\n5,1\n3,2\n").table.column_names == ["column_1", "x"]


def test_only_the_nameless_columns_that_are_kept_are_noted(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "a,,,\n1,2,,\n3,5,,\n")
    assert columns(read) == {"a": [1, 3], "column_2": [2, 5]}
    assert "t.csv: columns without a name were named by position: column_2" in read.assumptions


def test_a_quote_left_open_in_the_header_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="line 1: a quoted field that starts here"):
        csv_read(tmp_path, '"id,x,y\n' + "1,2,3\n" * 30_000)


def test_empty_last_columns_and_rows_are_dropped_and_said(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "a;b;;\n1;2;;\n;;;\n3;4;;\n;;;\n;;;\n")
    assert columns(read) == {"a": [1, None, 3], "b": [2, None, 4]}
    assert "2 empty rows at the end were dropped" in read.assumptions
    assert any("2 empty columns without a name" in note for note in read.assumptions)


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("a,b\n1,2\n3,4,5\n6,7\n", 3, 3),
        ("a,b\n1,2\n\n3\n6,7\n", 4, 1),
        ('a,b\n"x\ny",2\n3,4,5\n', 4, 3),
        ("a,b,c\n1,2,3\n4,5\n", 3, 2),
        ("a;b\n1;2;,\n3;4\n", 2, 3),
    ],
)
def test_a_ragged_line_is_refused_by_its_number(
    tmp_path: Path, text: str, line: int, found: int
) -> None:
    with pytest.raises(SourceError, match=rf"t\.csv, line {line}: {found} fields?.*has [23]"):
        csv_read(tmp_path, text)


def test_surplus_empty_fields_are_mended(tmp_path: Path) -> None:
    read = csv_read(tmp_path, 'a,b\n1,"x, y"\n2,z,,\n3,w,\n')
    assert columns(read) == {"a": [1, 2, 3], "b": ["x, y", "z", "w"]}
    assert any("2 lines end with empty fields" in note for note in read.assumptions)


def test_lacking_fields_of_an_empty_column_are_mended(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "a,b,c\n1,2,\n3,4\n")
    assert columns(read) == {"a": [1, 3], "b": [2, 4], "c": [None, None]}


def test_a_header_for_another_delimiter_does_not_shift_values(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "Date;T;RH,,\na;13,6;48,9;\nb;13,3;47,7;\n")
    assert columns(read) == {"Date": ["a", "b"], "T": [13.6, 13.3], "RH,,": [48.9, 47.7]}
    with pytest.raises(SourceError, match="line 3: 4 fields"):
        csv_read(tmp_path, "Date;T;RH,,\na;13,6;48,9;\nb;13,3;47,7;,\n")


@pytest.mark.parametrize(
    "text",
    [
        'a,b\n1,"x\n2,y\n3,z\n',
        'a,b\n1,x\n2,"y\n3,"z\n4,w\n',
    ],
)
def test_a_quote_left_open_never_swallows_rows(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match=r"line [23]: a quoted field"):
        csv_read(tmp_path, text)


def test_quoted_line_ends_and_quotes_are_kept(tmp_path: Path) -> None:
    read = csv_read(tmp_path, 'a,b\n1,"two\nlines"\n2,"say ""hi"""\n3,5\' 6"\n')
    assert columns(read)["b"] == ["two\nlines", 'say "hi"', "5' 6\""]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_known(tmp_path: Path, end: str) -> None:
    read = csv_read(tmp_path, end.join(["a,b", "1,x", "2,y", ""]))
    assert columns(read) == {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"", SourceError, "empty"),
        (b"\xef\xbb\xbf \n\n", SourceError, "empty"),
        (b"a,b\n", DataError, "a header and no row"),
        (b"a,b\n,\n,\n", DataError, "every row is empty"),
        (b"a,b\n1,2\n3,\x00\n", SourceError, "line 3: a NUL byte"),
        (b"PAR1" + bytes(range(1, 100)), SourceError, "Parquet"),
        (b"PK\x03\x04 rest", SourceError, "zip archive or an Excel"),
        (bytes(i % 31 + 1 for i in range(400)), SourceError, "binary data"),
        (b"\x1f\x8b\x08garbage", SourceError, "gzip"),
    ],
)
def test_what_is_no_table_is_refused_by_name(
    tmp_path: Path, content: bytes, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        csv_read(tmp_path, content)
    assert "t.csv" in str(caught.value) or error is DataError


def test_a_format_for_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'dat', which the file lacks; nearest: date"):
        csv_read(tmp_path, "date,x\n1/2/2024,1\n", date_formats={"dat": "%d/%m/%Y"})


def test_a_name_may_hold_a_line_end(tmp_path: Path) -> None:
    assert columns(csv_read(tmp_path, '"a\nb",c\n1,2\n')) == {"a\nb": [1], "c": [2]}


def test_a_long_cell_with_line_ends_is_kept(tmp_path: Path) -> None:
    long = "line of words\n" * 20_000
    read = csv_read(tmp_path, f'a,b\n1,"{long}"\n2,x\n')
    assert columns(read)["b"] == [long, "x"]


def test_one_row_is_a_table(tmp_path: Path) -> None:
    assert columns(csv_read(tmp_path, "a,b\n1,x")) == {"a": [1], "b": ["x"]}


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    read = csv_read(tmp_path, gzip.compress(b"a,b\n1,2\n"), name="t.csv.gz")
    assert columns(read) == {"a": [1], "b": [2]}


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(3000)))
    with pytest.raises(SourceError, match="gzip"):
        csv_read(tmp_path, whole[: len(whole) // 2], name="t.csv.gz")


def test_what_unpacks_to_far_more_than_text_does_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.data.csv.dialect.RATIOS", ((1_000, 300), (100_000, 100)))
    rows = b"".join(b"%d,%d\n" % (n, n * n) for n in range(60_000))
    assert (
        csv_read(tmp_path, gzip.compress(b"a,b\n" + rows), name="t.csv.gz").table.num_rows == 60_000
    )
    bomb = gzip.compress(b"a,b\n" + rows[:2_000] + b"1,2\n" * 100_000)
    with pytest.raises(SourceError, match="unpacks to more than 100 times"):
        csv_read(tmp_path, bomb, name="u.csv.gz")


def test_a_compressed_bomb_stops_at_the_stated_size(tmp_path: Path) -> None:
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * 3_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(SourceError, match=r"more than 1,000,000 bytes.*max_bytes"):
        csv_read(tmp_path, bomb, name="t.csv.gz", max_bytes=1_000_000)


def test_a_larger_file_than_allowed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="max_bytes"):
        csv_read(tmp_path, "a,b\n" + "1,2\n" * 100, max_bytes=100)


def test_files_of_a_glob_are_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "p1.csv").write_text("a,b\n1,x\n")
    (tmp_path / "p2.csv").write_text("b,a\ny,2.5\n")
    source = CsvSource(kind="csv", path="p*.csv")
    assert columns(read_source(source, tmp_path)) == {"a": [1.0, 2.5], "b": ["x", "y"]}
    (tmp_path / "p3.csv").write_text("c,d\n1,x\n")
    with pytest.raises(SourceError, match=r"p3\.csv differs .*: c, d"):
        read_source(source, tmp_path)


def test_column_names_are_known_without_the_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b b,a\n1,x,2\n")
    assert column_names(CsvSource(kind="csv", path="t.csv"), tmp_path) == ("a", "b b", "a_2")


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "a,b,c\n1,2,3\n", columns=["c", "a"])
    assert read.table.column_names == ["a", "c"]


def test_a_column_is_read_alike_whichever_others_are_asked_for(tmp_path: Path) -> None:
    text = 'a,b\n"1,234","0,5"\n"5,678","2,75"\n'
    alone = csv_read(tmp_path, text, columns=["a"])
    assert alone.table["a"].to_pylist() == csv_read(tmp_path, text).table["a"].to_pylist()


def test_a_window_of_a_csv_file_is_half_open(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("at,x\n2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n,4\n")
    read = read_source(
        CsvSource(kind="csv", path="t.csv"), tmp_path, time_column="at",
        start=datetime(2024, 1, 2), end=datetime(2024, 1, 3, tzinfo=UTC),
    )  # fmt: skip
    assert columns(read)["x"] == [2]
    assert read.latest == datetime(2024, 1, 2, tzinfo=UTC)


def test_a_second_line_of_names_is_said(tmp_path: Path) -> None:
    body = "".join(f"{i},{i % 3}\n" for i in range(30))
    read = csv_read(tmp_path, f"a,b\nfirst,second\n{body}")
    assert any("second line of names" in note for note in read.assumptions)


def test_a_header_of_numbers_is_said(tmp_path: Path) -> None:
    read = csv_read(tmp_path, "1.5,2.5\n1,2\n")
    assert any("only numbers" in note for note in read.assumptions)


CELLS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cc", "Cs"]),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=8))
@example(rows=[("a", "b"), ("\u00a0", " \u00a0\u202f")])
def test_cells_declared_text_come_back_as_written(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(["left", "right"])
    writer.writerows(rows)
    read = csv_read(
        tmp_path, out.getvalue(), delimiter=",", null_values=(),
        expected={"left": "text", "right": "text"},
    )  # fmt: skip
    around = " \t\u00a0\u2007\u202f\ufeff"
    rows = [(a.strip(around), b.strip(around)) for a, b in rows]
    want = [(a or None, b or None) for a, b in rows]
    assume(any(row != (None, None) for row in want))
    while want and want[-1] == (None, None):
        want.pop()
    got = list(zip(*columns(read).values(), strict=True))
    assert got == want


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    numbers=st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1),
        min_size=2, max_size=20,
    )
)  # fmt: skip
def test_numbers_come_back_as_written(tmp_path: Path, numbers: list[float]) -> None:
    body = "".join(f"{number!r},x\n" for number in numbers)
    column = csv_read(tmp_path, f"n,k\n{body}").table["n"]
    if pa.types.is_string(column.type):
        # Kept as text, so that no digit is lost.
        assert column.to_pylist() == [repr(number) for number in numbers]
    elif pa.types.is_integer(column.type):
        assert column.to_pylist() == numbers
    else:
        assert column.to_pylist() == [float(number) for number in numbers]
