"""What the automations listen to and what they pass on."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deploy.prefect.automations import automations_of
from deploy.remote.alarm_probe import _check_types
from tasks.base.errors import InfrastructureError
from tasks.base.monitoring_records import Cause, new_correlation
from tasks.base.pipeline_file import load_pipeline


@pytest.fixture
def automations(tmp_path: Path) -> dict[str, Any]:
    settings = {"name": "churn", "target": "y", "source": {"kind": "demo", "name": "diabetes"}}
    (tmp_path / "keepfit.yaml").write_text(json.dumps(settings))
    made = automations_of(load_pipeline(tmp_path), uuid4(), uuid4())
    return {one.name: one for one in made}


def test_people_read_what_each_does(automations: dict[str, Any]) -> None:
    assert set(automations) == {
        "keepfit churn: alarm → training",
        "keepfit churn: failed run → notice",
        "keepfit churn: silent run → crashed",
    }
    for one in automations.values():
        assert "churn" in one.description
        assert one.tags == ["keepfit", "keepfit.pipeline:churn"]


def test_a_storm_is_one_alarm_a_minute_and_the_cause_stays_an_object(
    automations: dict[str, Any],
) -> None:
    alarm = automations["keepfit churn: alarm → training"]

    assert alarm.trigger.within == timedelta(seconds=60)
    assert alarm.trigger.threshold == 1
    assert alarm.trigger.match["keepfit.retrain"] == ["true"]
    assert alarm.trigger.match["prefect.resource.id"] == ["keepfit.pipeline.churn"]
    template = alarm.actions[0].parameters["cause"]
    assert template["__prefect_kind"] == "json"
    assert template["value"]["__prefect_kind"] == "jinja"


def test_a_notice_about_a_notice_is_not_asked_for(automations: dict[str, Any]) -> None:
    related = automations["keepfit churn: failed run → notice"].trigger.match_related

    assert related[1]["prefect.resource.name"] == ["training", "scoring", "monitoring"]


def test_a_dead_run_is_known_within_two_minutes(automations: dict[str, Any]) -> None:
    trigger = automations["keepfit churn: silent run → crashed"].trigger

    assert timedelta(seconds=60) < trigger.within <= timedelta(seconds=105)
    assert "prefect.flow-run.Skipped" in trigger.expect


@pytest.mark.parametrize("arrived", ["{'kind': 'probe'}", None, {"kind": "probe"}, [1]])
def test_a_cause_that_lost_its_types_is_refused(arrived: Any) -> None:
    from datetime import UTC, datetime

    cause = Cause(kind="probe", correlation=new_correlation(), at=datetime.now(UTC))

    _check_types("churn", cause.model_dump(mode="json"), cause)
    with pytest.raises(InfrastructureError, match="not as what was sent"):
        _check_types("churn", arrived, cause)
