"""What a person is told whose rows broke their contract."""

from __future__ import annotations

import pytest

from tasks.base.errors import ContractError
from tasks.base.training_records import ContractResult, RuleResult
from tasks.contracts.snapshot_check import require_passed


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
