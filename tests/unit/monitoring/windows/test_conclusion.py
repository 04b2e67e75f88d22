"""What a pass decides once all its windows were looked at."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.base.command_results import MonitoringOutcome
from tasks.base.errors import ModelRefusedError
from tasks.base.monitoring_records import Cause, ColumnFinding, PolicyDecision
from tasks.base.training_records import ModelVersion
from tasks.ledger.ledger import ledger_of
from tasks.monitoring.monitored_window import Look, Watch
from tasks.monitoring.windows.conclusion import conclude_pass
from tasks.monitoring.windows.monitoring_run import importance_of
from tests.opened import opened
from tests.unit.monitoring.alerts.test_notification import pipeline
from tests.unit.monitoring.decisions import drifted, monitored, week

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CAUSE = Cause(kind="schedule", correlation="c", at=NOW)


def test_importance_of_another_shape_is_refused_with_its_tag() -> None:
    champion = ModelVersion(name="flights", version="1", run_id="run")
    text = '{"distance": "0.02", "day": "-0.01"}'
    tagged = champion.model_copy(update={"tags": {"keepfit.importance": text}})
    assert importance_of(tagged) == {"distance": 0.02, "day": 0.0}
    assert importance_of(champion) == {}
    for text in ("[1]", '{"distance": null}', "much"):
        tagged = champion.model_copy(update={"tags": {"keepfit.importance": text}})
        with pytest.raises(ModelRefusedError, match=r"keepfit\.importance"):
            importance_of(tagged)


class Registry:
    """A registry in which one version scores."""

    def __init__(self, version: str) -> None:
        self.scores = version

    def champion(self, name: str) -> ModelVersion:
        return ModelVersion(name=name, version=self.scores, run_id="run")


@pytest.mark.parametrize(("scores", "alarms"), [("1", 1), ("2", 0)])
def test_no_alarm_tells_of_a_version_that_was_replaced_during_the_pass(
    tmp_path: Path, scores: str, alarms: int
) -> None:
    plan = pipeline(tmp_path)
    registry: Any = Registry(scores)
    looked = monitored(0, drifted("distance")).model_copy(update={"version": "1"})
    ledger_of(plan).record(looked)
    champion = ModelVersion(name="flights", version="1", run_id="run")
    watch = Watch(looks=(Look(champion=champion, window=week(0), cause=CAUSE),))
    seen = MonitoringOutcome(
        pipeline="flights", version="1", window=week(0), rows=900, alarm=True, correlation="c",
        reasons=("drift",),
        decision=PolicyDecision(retrain=True, sentence="Trains: drift in the last window."),
    )  # fmt: skip

    outcome = conclude_pass(opened(plan, store=registry), watch, (seen,), NOW)

    assert len(ledger_of(plan).decisions("flights", kinds=("alarmed",))) == alarms
    assert (outcome.cause is not None, outcome.decision.retrain) == (bool(alarms), bool(alarms))
    if not alarms:
        assert outcome.decision.withheld == "superseded"
        assert "v2 replaced v1" in outcome.decision.sentence


def test_a_training_called_for_by_an_earlier_window_is_named_with_its_kind(tmp_path: Path) -> None:
    plan = pipeline(tmp_path)
    for number in range(4):
        moved = (drifted("distance"),) if number < 2 else ()
        record = monitored(number, *moved, alarm=bool(moved)).model_copy(update={"version": "1"})
        ledger_of(plan).record(record)
    champion = ModelVersion(name="flights", version="1", run_id="run")
    looks = tuple(Look(champion=champion, window=week(n), cause=CAUSE) for n in range(4))
    quiet = MonitoringOutcome(
        pipeline="flights", version="1", window=week(3), rows=900, alarm=False, correlation="c",
        decision=PolicyDecision(retrain=False, withheld="not asked"),
        next_command="keepfit status",
    )  # fmt: skip
    registry: Any = Registry("1")

    outcome = conclude_pass(opened(plan, store=registry), Watch(looks=looks), (quiet,), NOW)

    assert outcome.decision.retrain
    assert outcome.decision.training == "refit"
    assert outcome.next_command.startswith("keepfit run --refit")


def test_an_alarm_keeps_the_most_important_of_many_columns(tmp_path: Path) -> None:
    plan = pipeline(tmp_path)
    registry: Any = Registry("1")
    moved = [drifted(f"c{n}", importance=n / 100) for n in range(12)]
    ledger_of(plan).record(monitored(0, *moved).model_copy(update={"version": "1"}))
    champion = ModelVersion(name="flights", version="1", run_id="run")
    watch = Watch(looks=(Look(champion=champion, window=week(0), cause=CAUSE),))
    seen = MonitoringOutcome(
        pipeline="flights", version="1", window=week(0), rows=900, alarm=True, correlation="c",
        reasons=("drift",),
        decision=PolicyDecision(retrain=True, sentence="Trains: drift in the last window."),
    )  # fmt: skip

    conclude_pass(opened(plan, store=registry), watch, (seen,), NOW)

    (alarm,) = ledger_of(plan).decisions("flights", kinds=("alarmed",))
    columns = alarm.read_all(ColumnFinding, "columns")
    assert [c.column for c in columns] == [f"c{n}" for n in range(11, 1, -1)]
