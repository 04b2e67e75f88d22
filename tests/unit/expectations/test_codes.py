"""Texts compared by their hashes are the same or different as they are themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from expectations.check import check_frame
from expectations.contract import ColumnRule, Contract
from expectations.facts.column_facts import all_different, codes_of


def texts(*values: str | None) -> pd.Series[Any]:
    return pd.Series(list(values), dtype="str", name="id")


@pytest.mark.parametrize(
    "values", [(), ("a",), ("a", "b"), ("a", "a"), ("a", None), ("a", None, None)]
)
def test_all_different_is_what_pandas_says(values: tuple[str | None, ...]) -> None:
    assert all_different(texts(*values)) == texts(*values).is_unique


def test_codes_repeat_where_texts_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expectations.facts.column_facts._HASHED_ROWS", 2)
    values = texts("a", "b", "a", "c", "b")
    assert codes_of(values).dtype == np.uint64
    assert codes_of(values).duplicated().tolist() == values.duplicated().tolist()


def test_texts_that_share_a_hash_are_looked_at_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pd.util, "hash_pandas_object", lambda part, **_: np.zeros(len(part), np.uint64)
    )
    assert all_different(texts("a", "b"))
    assert not all_different(texts("a", "a"))


@pytest.mark.parametrize(("values", "passes"), [(("a", "b"), True), (("a", "b", "a"), False)])
def test_repeated_ids_are_found_and_named(values: tuple[str, ...], passes: bool) -> None:
    contract = Contract(contract="t", columns={"id": ColumnRule(kind="identifier", unique=True)})
    outcome = check_frame(texts(*values).to_frame(), contract)
    unique = next(result for result in outcome.results if result.rule == "unique")
    assert unique.passed is passes
    assert passes or (unique.failed_rows == 2 and unique.sample == ("a",))
