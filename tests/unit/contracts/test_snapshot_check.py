"""What a person is told whose rows broke their contract, and which result is used again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from expectations.contract import Contract
from tasks.base.errors import ContractError
from tasks.base.training_records import ContractResult, RuleResult, Snapshot
from tasks.contracts import snapshot_check
from tasks.contracts.snapshot_check import check_snapshot, require_passed


def broken(rule: str) -> ContractResult:
    found = RuleResult(column="fee", rule=rule, severity="error", passed=False, expected="a number")
    return ContractResult(
        passed=False, rules=(found,), rows=10, data_digest="d", contract_digest="c"
    )


@pytest.mark.parametrize(
    ("rule", "scored", "trains"),
    [
        ("present", True, True),
        ("kind", True, True),
        ("range", True, False),
        ("present", False, False),
    ],
)
def test_a_champion_without_a_column_needs_a_training_after_the_contract(
    rule: str, scored: bool, trains: bool
) -> None:
    with pytest.raises(ContractError) as caught:
        require_passed(broken(rule), file="mine.yaml", scored=scored)

    assert f"keepfit contract accept fee.{rule} mine.yaml" in caught.value.remedy
    assert ("keepfit run mine.yaml" in caught.value.remedy) is trains


def test_only_the_result_of_the_same_rows_and_contract_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["snapshot"])
        Path(request["page"]).write_text("page")
        return {
            "passed": True, "rows": 3, "rules": [], "seconds": 0.0, "whole": False, "aside": 0,
        }  # fmt: skip

    monkeypatch.setattr(snapshot_check, "_ask", answer)
    contract = Contract.model_validate({"contract": "flights", "columns": {}})
    good, bad = (
        Snapshot(path=name, digest=name * 16, rows=3, kinds={}) for name in ("good", "evil")
    )

    def file_of(snapshot: Snapshot) -> Path:
        (file,) = tmp_path.glob(f"contract-{snapshot.digest[:16]}-*.json")
        return file

    for snapshot in (good, bad, good, bad):
        check_snapshot(snapshot, contract, tmp_path)
    assert asked == ["good", "evil"]
    shutil.copy(file_of(good), file_of(bad))

    assert not check_snapshot(bad, contract, tmp_path).cached
    assert check_snapshot(bad, contract, tmp_path).cached
    file_of(bad).write_text("{")
    assert not check_snapshot(bad, contract, tmp_path).cached
