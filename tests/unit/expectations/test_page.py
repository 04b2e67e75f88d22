from __future__ import annotations

import re

import pandas as pd

from expectations.check import check_frame
from expectations.contract import Contract
from expectations.inference import infer_contract
from expectations.page import render_page, say_verdict
from tests.unit.expectations.tables_made import HOSTILE, KINDS, orders

PAYLOADS = (
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "javascript:alert(1)",
    "<svg/onload=alert(1)>",
    "turned\u202egnp.exe\u2066 \x1b[2K\x9b\u2028",
)


def test_the_verdict_says_how_many_rules_are_broken() -> None:
    contract = infer_contract(orders(), KINDS)
    assert say_verdict(check_frame(orders(), contract)) == "The table keeps its contract."
    more = check_frame(orders().assign(new=1), contract)
    assert say_verdict(more) == "The table keeps its contract, with 1 warning."
    less = check_frame(orders().drop(columns="price").assign(new=1), contract)
    assert say_verdict(less) == "The table breaks 1 rule of its contract, with 1 warning besides."


def test_broken_rules_stand_before_the_columns() -> None:
    contract = infer_contract(orders(), KINDS)
    frame = orders().assign(price=-1.0)
    page = render_page(check_frame(frame, contract), contract, title="Orders")
    assert page.index("Broken rules") < page.index("Every column")
    assert all(f'<th scope="row">{name}' in page for name in KINDS)
    assert contract.digest()[:12] in page


def test_a_table_that_keeps_its_contract_shows_no_broken_rules() -> None:
    contract = infer_contract(orders(), KINDS)
    page = render_page(check_frame(orders(), contract), contract, title="Orders")
    assert "Broken rules" not in page
    assert "The table keeps its contract." in page


def test_hostile_names_and_values_stay_text() -> None:
    names = [*HOSTILE, *PAYLOADS]
    frame = pd.DataFrame({n: pd.Series([*PAYLOADS] * 20, dtype="str") for n in names})
    columns = {n: {"kind": "categorical", "categories": {"values": ["a"]}} for n in names}
    contract = Contract.model_validate({"contract": PAYLOADS[0], "columns": columns})
    page = render_page(check_frame(frame, contract), contract, title=PAYLOADS[1])
    tags = set(re.findall(r"<\s*([a-zA-Z]+)", page))
    assert not tags & {"script", "img", "svg", "iframe", "object", "link", "form"}
    assert not re.search(r"<[^>]*\son\w+\s*=", page)
    assert "{{ 7 * 7 }}" in page
    assert page.count("</style>") == 1
    assert all(mark.isprintable() or mark == "\n" for mark in page)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    contract = infer_contract(orders(), KINDS)
    page = render_page(check_frame(orders(), contract), contract, title="Orders")
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)\s*=|url\(|@import|https?://", page)
