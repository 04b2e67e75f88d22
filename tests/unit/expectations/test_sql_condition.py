from __future__ import annotations

import pytest

from expectations.sql_condition import parse_condition

REFUSED = [
    "",
    "   ",
    "a > 0; DROP TABLE t",
    "a > 0 -- and more",
    "a > 0 /* b */",
    "a IN (SELECT 1)",
    "1) UNION SELECT (2",
    "a > 0) OR (b > 0",
    "load_extension('x')",
    "randomblob(1000000000) IS NULL",
    "DELETE FROM t",
    "PRAGMA writable_schema = 1",
    "ATTACH 'x' AS y",
    "t.a > 0",
    "a >",
    "a > 0 b",
    "'unclosed",
    "a > ?",
    "a > :b",
    "a > @b",
    "max(a) > 3",
    "(" * 60 + "a" + ")" * 60,
    "a > 0 OR " * 1000 + "b",
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_one_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must |not allowed|cannot read"):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("distance > 0 AND origin <> dest", ("distance", "origin", "dest")),
        ('"a b" > 0 and [c d] < 1 or `e` = 2', ("a b", "c d", "e")),
        ('"say ""hi""" IS NOT NULL', ('say "hi"',)),
        ("name LIKE 'O''Neil%; --'", ("name",)),
        ("CASE WHEN x > 1.5e3 THEN y ELSE z END > abs(-2)", ("x", "y", "z")),
        ("größe BETWEEN 1 AND 2", ("größe",)),
        ("a IN (1, 2) AND date < '2024-01-01'", ("a", "date")),
        ('"select" > 1', ("select",)),
        ("1 = 1", ()),
    ],
)
def test_names_are_found(text: str, names: tuple[str, ...]) -> None:
    assert parse_condition(text).names == names


def test_names_are_replaced_by_aliases_and_nothing_else_is() -> None:
    condition = parse_condition("\"a b\" <> 'a b' AND length(x) > 1")
    assert condition.sql({"a b": "c0", "x": "c1"}) == '"c0" <> \'a b\' AND length ( "c1" ) > 1'


def test_an_error_of_syntax_names_no_alias() -> None:
    with pytest.raises(ValueError, match="SQLite cannot read this condition"):
        parse_condition("price price")
