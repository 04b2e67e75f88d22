"""What is written is read again as it was, whatever people name their columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tasks.base.settings.yaml_document import dump_yaml, edited_yaml, parse_yaml
from tasks.base.text.terminal import without_marks

# YAML has no way to write these at all.
TEXT = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff\ufeff"),
    max_size=300,
)
SCALARS = st.one_of(
    TEXT, st.booleans(), st.none(), st.integers(-(10**12), 10**12), st.floats(-1e9, 1e9)
)
VALUES = st.dictionaries(
    TEXT,
    st.one_of(SCALARS, st.lists(SCALARS, max_size=30), st.dictionaries(TEXT, SCALARS, max_size=4)),
    max_size=5,
)


@given(VALUES)
def test_every_value_comes_back(values: dict[str, Any]) -> None:
    text = dump_yaml(values)
    assert parse_yaml(text, Path("x.yaml")).values == values
    assert without_marks(text) == text


def test_marks_that_an_editor_acts_on_are_written_as_escapes() -> None:
    values = {"id\u202e": ["a\u2066", "b\x1b[2K\x9b"]}
    text = edited_yaml(dump_yaml(values), [(("c\u202e",), "\u200f")], None)

    assert parse_yaml(text, Path("x.yaml")).values == {**values, "c\u202e": "\u200f"}
    assert text.isascii()


def test_a_long_question_as_a_key_comes_back() -> None:
    key = "Please state whether you view the following characters favorably,  or not:  # really"
    values = {key * 3: {"kind": "text"}, key: {"values": ["no", "yes", "1", "null", "- x", "? y"]}}

    assert parse_yaml(dump_yaml(values), Path("x.yaml")).values == values


def test_short_innermost_values_stand_on_one_line() -> None:
    text = dump_yaml({"nulls": {"max": 0.05, "usual": 0.0}, "values": list(range(60))})

    assert text.startswith("nulls: {max: 0.05, usual: 0.0}\nvalues:\n  - 0\n")
