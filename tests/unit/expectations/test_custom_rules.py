from __future__ import annotations

import pytest
from pydantic import ValidationError

from expectations.custom_rules import Rule

PAIR = "expect_column_pair_values_a_to_be_greater_than_b"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, "either `expect` or `sql`"),
        ({"expect": PAIR, "sql": "a > 0"}, "either `expect` or `sql`"),
        ({"expect": "ExpectColumnToExist"}, "begins with expect_"),
        ({"expect": "expect_x", "result_format": "COMPLETE"}, "result_format cannot be set"),
        ({"expect": "expect_x", "row_condition": "@pd.eval('1')"}, "row_condition cannot be set"),
        ({"expect": "expect_x", "max_share": 0.1}, "mostly"),
        ({"expect": "expect_x", "value": {"$PARAMETER": "now()"}}, "key is a name"),
        ({"expect": "expect_x", "value": object()}, "Put it in quotes"),
        ({"expect": "expect_query_results_to_match_comparison"}, "only inside a database"),
        ({"sql": "a > 0", "mostly": 0.5}, "has only name, severity and max_share; got mostly"),
        ({"sql": "a > 0; b"}, "one SQL condition"),
        ({"sql": "a > 0", "severity": "fatal"}, "error"),
        ({"sql": "a > 0", "max_share": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_wrong_rule_is_refused_with_the_reason(entry: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Rule.model_validate(entry)


def test_a_rule_knows_its_columns() -> None:
    assert Rule(expect=PAIR, column_A="a", column_B="b").columns == ("a", "b")
    assert Rule(expect="expect_compound_columns_to_be_unique", column_list=["x", "y"]).columns == (
        "x",
        "y",
    )
    assert Rule(expect="expect_table_columns_to_match_set", column_set=["x"]).columns == ()
    assert Rule(sql='"a b" > c').columns == ("a b", "c")


def test_arguments_are_kept_as_they_are() -> None:
    rule = Rule(expect=PAIR, column_A="a", column_B="b", or_equal=True, mostly=0.9)
    assert rule.arguments == {"column_A": "a", "column_B": "b", "or_equal": True, "mostly": 0.9}
    assert rule.title == PAIR
    assert Rule(sql="a > 0", name="a is positive").title == "a is positive"
