"""What the person who watches `keepfit up` reads of passes, alarms and trainings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.runner.activity_log import Chronicle, line_of
from tasks.base.monitoring_records import Decision, DecisionKind, Window
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.ledger.ledger import ledger_of

WINDOW = Window(start=datetime(2026, 3, 2, tzinfo=UTC), end=datetime(2026, 3, 9, tzinfo=UTC))


def decided(kind: DecisionKind, sentence: str, *, of: str = "1", **more: Any) -> Decision:
    values = {"at": datetime.now(UTC), "correlation": "c", "pipeline": "mine", **more}
    return Decision(id=of, kind=kind, sentence=sentence, **values)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    file = tmp_path / "keepfit.yaml"
    file.write_text("name: mine\ntarget: y\nsource: {kind: csv, path: x.csv}\n")
    return load_pipeline(file, {})


def test_each_decision_is_said_once_and_none_from_before(pipeline: Pipeline) -> None:
    ledger = ledger_of(pipeline)
    ledger.record(decided("trained", "Trained before.", of="0"))
    said: list[str] = []
    chronicle = Chronicle([pipeline], said.append)

    ledger.record(decided("monitored", "No drift. More.", of="2", window=WINDOW))
    late = datetime.now(UTC) - timedelta(seconds=30)
    ledger.record(decided("promoted", "Promoted: v2 is better.", of="3", at=late))
    for _ in range(3):
        chronicle.look([pipeline])

    assert sorted(said) == [
        "mine: monitored 2026-03-02..2026-03-09: No drift.",
        "mine: promoted: v2 is better.",
    ]


def test_a_run_that_its_rows_stopped_is_said_once() -> None:
    assert line_of(decided("failed", "…", evidence={"error": "ContractError"})) == ""
    assert "co2: scale" in line_of(decided("stopped", "It broke 1 rule. Broken: co2: scale."))
    assert line_of(decided("failed", "scoring fell over.", evidence={"error": "OSError"}))


def test_scorings_are_said_only_where_something_came(pipeline: Pipeline) -> None:
    del pipeline
    rows = decided("scored", "…", version="2", evidence={"new": 1200})
    assert line_of(rows) == "mine: 1,200 rows scored by v2"
    waiting = decided("scored", "…", version="2", evidence={"new": 0, "aside": ["a.csv"]})
    assert "a.csv" in line_of(waiting)
    assert line_of(decided("scored", "…", version="2", evidence={"new": 0})) == ""


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ({"retrain": True, "answer_by": "2026-03-09T12:30:00+00:00"}, "2026-03-09 12:30 UTC"),
        ({"retrain": False}, "No training was requested"),
        ({"retrain": False, "policy": {"sentence": "Not trained: cooldown."}}, "cooldown"),
    ],
)
def test_an_alarm_says_whether_a_training_follows(evidence: dict[str, Any], said: str) -> None:
    line = line_of(decided("alarmed", "Drift. More.", window=WINDOW, evidence=evidence))
    assert said in line
    assert line.startswith("mine: alarmed 2026-03-02..2026-03-09: Drift.")


def test_nothing_of_the_data_acts_on_the_terminal() -> None:
    line = line_of(decided("stopped", "column \x1b[31mred\n\x07 is absent."))
    assert "\x1b" not in line
    assert "\n" not in line
