"""What a contract would say of rows that do not hold it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expectations.check import check_frame
from expectations.contract import Contract
from expectations.contract_differences import GONE, Difference, find_differences
from expectations.inference import infer_contract
from tasks.base.settings.yaml_document import edited_yaml, parse_yaml

KINDS = {"id": "identifier", "price": "numeric", "shop": "categorical"}
TEXT = """\
# Shops of the north.
contract: shops
version: 1
table:
  column_order: ignore
columns:
  id: {kind: identifier, unique: true}  # the till's number
  price:
    kind: numeric
    nulls: {usual: 0.0, max: 0.05}   # asked of every till
    range: {min: 0, max: 10}
  shop:
    kind: categorical
    categories: {values: [Aix, Bern]}
  gone: {kind: numeric}
rules:
  - {sql: "price < 9", name: cheap}
"""


def rows(count: int = 400) -> pd.DataFrame:
    price = np.arange(count) % 40 / 2
    return pd.DataFrame(
        {
            "id": pd.Series([f"r{i // 2}" for i in range(count)], dtype="str"),
            "price": np.where(np.arange(count) % 4 == 0, np.nan, price),
            "shop": pd.Series(["Aix", "Bern", "Chur", "Davos"] * (count // 4), dtype="str"),
            "extra": np.arange(count) * 1.5,
        }
    )


def contract(text: str = TEXT) -> Contract:
    return Contract.model_validate(parse_yaml(text, Path("c.yaml")).values)


def differences(frame: pd.DataFrame) -> dict[str, Difference]:
    outcome = check_frame(frame, contract())
    inferred = infer_contract(frame, {**KINDS, "extra": "numeric"}, id_columns=["id"])
    broken = (*outcome.errors, *outcome.warnings)
    found = find_differences(contract(), broken, inferred, lambda names: frame[list(names)])
    return {one.name: one for one in found}


def test_every_broken_rule_is_shown_with_its_limit_and_what_would_hold() -> None:
    found = differences(rows())

    assert set(found) == {
        "gone.present", "id.unique", "price.nulls", "price.range", "shop.categories",
        "extra columns", "cheap",
    }  # fmt: skip
    assert "5 %" in found["price.nulls"].limit
    assert "25 %" in found["price.nulls"].observed
    assert found["price.nulls"].proposed
    assert "Chur" in found["shop.categories"].proposed
    assert found["gone.present"].edits[0].value is GONE


def test_what_is_accepted_holds_and_comments_stay() -> None:
    frame = rows()
    edits = [(e.path, e.value) for one in differences(frame).values() for e in one.edits]

    text = edited_yaml(TEXT, edits, GONE)

    assert check_frame(frame, contract(text)).passed
    assert not check_frame(frame, contract(text)).warnings
    for comment in ("# Shops of the north.", "# the till's number", "# asked of every till"):
        assert comment in text


@pytest.mark.parametrize("name", ["price.nulls", "shop.categories"])
def test_one_rule_can_be_accepted_alone(name: str) -> None:
    frame = rows()
    one = differences(frame)[name]

    text = edited_yaml(TEXT, [(e.path, e.value) for e in one.edits], GONE)

    left = {
        r.rule if r.column is None else f"{r.column}.{r.rule}"
        for r in check_frame(frame, contract(text)).results
        if not r.passed
    }
    assert left == set(differences(frame)) - {name}


def test_a_column_accepted_with_another_kind_keeps_what_it_may_lack() -> None:
    frame = rows().assign(price=pd.Series(["cheap", "dear"] * 200, dtype="str"))
    inferred = infer_contract(frame, {**KINDS, "price": "categorical"}, id_columns=["id"])
    common = inferred.with_common_nulls()
    assert common.table.nulls is not None
    outcome = check_frame(frame, contract())
    found = find_differences(contract(), outcome.errors, common, lambda names: frame[list(names)])
    (edit,) = next(one for one in found if one.name == "price.kind").edits
    assert edit.value["nulls"] == {"usual": 0.01, "empty_from": 2}
    assert edit.value["kind"] == "categorical"
