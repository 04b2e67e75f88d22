from __future__ import annotations

from pathlib import Path

import pytest

from tasks.ledger.storage import change_marks
from tests.histories import flights
from tests.unit.ledger.made import opened


def test_a_mark_changes_with_the_decisions_of_its_pipeline_alone(tmp_path: Path) -> None:
    ledger, decisions = opened(tmp_path), flights()
    marks = [ledger.change_marks()("flights")]
    for decision in decisions[:2]:
        ledger.record(decision)
        marks.append(ledger.change_marks()("flights"))
    ledger.record(decisions[2].model_copy(update={"pipeline": "other"}))

    assert len({*marks}) == 3
    assert ledger.change_marks()("flights") == marks[-1]
    assert ledger.change_marks()("other") != ledger.change_marks()("third")


def test_a_decision_committed_after_one_with_a_larger_number_is_noticed(tmp_path: Path) -> None:
    ledger, decisions = opened(tmp_path), flights()
    for decision in decisions[:5]:
        ledger.record(decision)
    whole = ledger.change_marks()("flights")
    with ledger.writing("test") as connection:
        connection.exec_driver_sql("DELETE FROM keepfit_decisions WHERE number = 3")

    assert ledger.change_marks()("flights") != whole


def test_among_many_decisions_of_others_a_new_one_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_marks, "_NEWEST", 2)
    ledger, decisions = opened(tmp_path), flights()
    ledger.record(decisions[0])
    for decision in decisions[1:8]:
        ledger.record(decision.model_copy(update={"pipeline": "other"}))
    before = ledger.change_marks()("flights")
    ledger.record(decisions[8])

    assert ledger.change_marks()("flights") != before
