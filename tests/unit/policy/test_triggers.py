from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.base.monitoring_records import Decision, Gain, Performance, Window, WindowFlag
from tasks.base.settings.monitoring import PolicyConfig
from tasks.base.training_records import ModelVersion
from tasks.policy.triggers import Trigger, flags_with_gain, newest_of, untold, watched

CHAMPION = ModelVersion(name="churn", version="1", run_id="r")
START = datetime(2026, 3, 2, tzinfo=UTC)
FIRST = Window(start=START, end=START + timedelta(days=7))
SECOND = Window(start=FIRST.end, end=FIRST.end + timedelta(days=7))


def judged(window: Window, *, worse: bool) -> dict[str, Any]:
    found = Performance(window=window, version="1", metric="rmse", rows=9, worse=worse)
    return found.model_dump(mode="json")


def decision(kind: str, window: Window, day: int, **fields: Any) -> Decision:
    version, evidence = fields.pop("version", "1"), fields
    return Decision.model_validate(
        {"id": f"{kind}{day}", "pipeline": "churn", "kind": kind, "correlation": "c",
         "at": START + timedelta(days=day), "sentence": "", "version": version,
         "window": window, "evidence": evidence}
    )  # fmt: skip


def test_a_window_that_labels_show_to_be_worse_is_told_of_once() -> None:
    drift = {"alarm": False, "sentence": "nothing moved"}
    before = decision("monitored", FIRST, 7, drift=drift, performance=[judged(FIRST, worse=False)])
    restated = [judged(FIRST, worse=True), judged(SECOND, worse=False)]
    after = decision("monitored", SECOND, 14, drift=drift, performance=restated)
    known = watched([after, before], CHAMPION)

    fresh = untold(known.triggers(PolicyConfig()), [after, before], CHAMPION)
    alarm = decision("alarmed", FIRST, 14, triggers=[t.model_dump(mode="json") for t in fresh])

    assert fresh == (Trigger(window=FIRST, by="performance"),)
    assert untold(known.triggers(PolicyConfig()), [alarm, after, before], CHAMPION) == ()
    assert [(f.window, f.worse) for f in known.flags()] == [(FIRST, True), (SECOND, False)]


def test_a_window_told_of_for_its_drift_is_told_of_again_for_its_performance() -> None:
    alarm = decision(
        "alarmed", FIRST, 7, triggers=[Trigger(window=FIRST, by="drift").model_dump(mode="json")]
    )
    triggers = [Trigger(window=FIRST, by=by) for by in ("drift", "performance")]

    assert untold(triggers, [alarm], CHAMPION) == (Trigger(window=FIRST, by="performance"),)


def test_an_alarm_from_before_triggers_were_listed_told_of_all_windows_up_to_its_own() -> None:
    alarm = decision("alarmed", FIRST, 7)
    triggers = [Trigger(window=w, by="drift") for w in (FIRST, SECOND)]

    assert untold(triggers, [alarm], CHAMPION) == (Trigger(window=SECOND, by="drift"),)
    other = decision("alarmed", SECOND, 8, version="2")
    assert len(untold(triggers, [other], CHAMPION)) == 2


def test_a_backlog_of_alarms_is_one_alarm_about_its_newest_window() -> None:
    moved = {"alarm": True, "sentence": "x moved"}
    decisions = [decision("monitored", w, 20, drift=moved) for w in (SECOND, FIRST)]
    known = watched(decisions, CHAMPION)

    fresh = untold(known.triggers(PolicyConfig()), decisions, CHAMPION)

    assert [t.window for t in fresh] == [FIRST, SECOND]
    assert newest_of(fresh) == SECOND
    assert known.reason(fresh[-1], PolicyConfig()) == "x moved"


def test_what_an_earlier_pass_over_the_same_window_said_is_replaced() -> None:
    first = decision("monitored", FIRST, 7, drift={"alarm": True})
    again = decision("monitored", FIRST, 8, drift={"alarm": False})

    assert watched([again, first], CHAMPION).triggers(PolicyConfig()) == ()


def test_a_gain_that_pays_calls_for_action_once_until_newer_windows_are_judged() -> None:
    def measured(*judged: Window, at: int) -> Decision:
        gain = Gain(
            version="1", metric="mae", gain=3.0, low=2.0, high=4.0, windows=judged, rows=500
        )
        found = decision("monitored", judged[-1], at)
        return found.model_copy(
            update={"evidence": {**found.evidence, "gain": gain.model_dump(mode="json")}}
        )

    policy = PolicyConfig()
    first = measured(FIRST, at=8)
    known = watched([first], CHAMPION)
    triggers = known.triggers(policy)
    assert triggers == (Trigger(window=FIRST, by="gain"),)
    again = watched([measured(FIRST, at=9), first], CHAMPION)
    assert len(again.gains) == 1, "looked at again, it is one measurement"
    assert "retraining would lower mean absolute error by 3.0" in known.reason(triggers[0], policy)
    assert known.flags()[0].gain == known.gain
    alarm = decision("alarmed", FIRST, 9)
    alarm = alarm.model_copy(
        update={"evidence": {"triggers": [t.model_dump(mode="json") for t in triggers]}}
    )
    assert untold(triggers, [alarm, first], CHAMPION) == ()
    later = watched([measured(FIRST, SECOND, at=10), alarm, first], CHAMPION).triggers(policy)
    assert untold(later, [alarm, first], CHAMPION) == (Trigger(window=SECOND, by="gain"),)


def test_a_gain_on_windows_of_a_former_champion_stands_on_the_newest() -> None:
    gain = Gain(version="1", metric="mae", gain=3.0, low=2.0, high=4.0, windows=(FIRST,), rows=500)
    flags = [WindowFlag(window=SECOND, drifted=False)]

    assert [flag.gain for flag in flags_with_gain(flags, [gain])] == [gain]
    both = [WindowFlag(window=FIRST, drifted=False), *flags]
    assert [flag.gain for flag in flags_with_gain(both, [gain])] == [gain, None]
    assert flags_with_gain((), [gain]) == ()


def test_gains_of_many_windows_are_not_compared_with_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []
    monkeypatch.setattr(Gain, "__eq__", lambda one, other: compared.append((one, other)) or False)
    decisions = [
        decision("monitored", FIRST, 8).model_copy(
            update={
                "id": str(rows),
                "evidence": {"gain": {"version": "1", "metric": "mae", "rows": rows}},
            }
        )
        for rows in range(40)
    ]

    assert [gain.rows for gain in watched(decisions, CHAMPION).gains] == list(range(40))
    assert not compared
