"""Whether a training that is asked for is done, on what the ledger knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from tasks.base.errors import NoNewerRowsError
from tasks.base.monitoring_records import Cause, Decision, Window, WindowFlag, decision_id
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.training_records import ModelVersion, Schema
from tasks.ledger.ledger import ledger_of
from tasks.policy.admission import admit, answer_alarm, handled
from tasks.policy.triggers import watched
from tasks.training.single_training import admitted, hold_back
from tests.opened import opened
from tests.tables import write_pipeline

NOW = datetime(2026, 3, 16, 12, tzinfo=UTC)
WEEK = Window(start=datetime(2026, 3, 2, tzinfo=UTC), end=datetime(2026, 3, 9, tzinfo=UTC))
CHAMPION = ModelVersion(name="churn", version="1", run_id="r")


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    policy = "policy: {persistence: 1 of 1, cooldown: 1d}\n"
    return load_pipeline(write_pipeline(tmp_path, tmp_path / "rows.csv", policy))


def cause(kind: str = "alarm", key: str = "alarm:v1:w") -> Cause:
    return Cause.model_validate({"kind": kind, "correlation": "c" * 32, "key": key, "at": NOW})


def trained(by: Cause, at: datetime = NOW) -> Decision:
    return Decision(
        id=decision_id("churn", "trained", by.key, at.isoformat()), pipeline="churn",
        kind="trained", at=at, correlation=by.correlation, sentence="Trained.",
        evidence={"cause": by.model_dump(mode="json")},
    )  # fmt: skip


def monitored(window: Window, *, alarm: bool, worse: bool = False, **fields: object) -> Decision:
    performance = {
        "window": window.model_dump(mode="json"), "version": "1", "metric": "roc_auc",
        "rows": 9, "worse": worse,
    }  # fmt: skip
    return Decision.model_validate(
        {
            "id": decision_id(str(window), str(alarm), str(fields)), "pipeline": "churn",
            "kind": "monitored", "at": NOW, "correlation": "c", "sentence": "", "version": "1",
            "window": window,
            "evidence": {"drift": {"alarm": alarm}, "enough": True, "performance": [performance]},
            **fields,
        }
    )  # fmt: skip


def test_by_hand_is_always_done(pipeline: Pipeline) -> None:
    ledger_of(pipeline).record(trained(cause("manual", ""), NOW - timedelta(minutes=5)))

    assert admit(opened(pipeline), cause("manual", ""), NOW).retrain is True


def test_a_probe_never_trains_and_is_recorded(pipeline: Pipeline) -> None:
    assert admit(opened(pipeline), cause("probe", ""), NOW).withheld == "probe"
    (skipped,) = ledger_of(pipeline).decisions("churn", kinds=("skipped",))
    assert skipped.evidence["withheld"] == "probe"


def test_the_calendar_does_not_wait_for_the_cooldown(pipeline: Pipeline) -> None:
    ledger_of(pipeline).record(trained(cause("manual", ""), NOW - timedelta(hours=3)))
    answer = admit(opened(pipeline), cause("schedule", ""), NOW)

    assert answer.retrain is True


def test_what_was_acted_on_is_a_duplicate_whoever_asks_how_often(pipeline: Pipeline) -> None:
    ledger_of(pipeline).record(trained(cause(), NOW - timedelta(days=9)))
    answers = [admit(opened(pipeline), cause(), NOW + timedelta(seconds=n)) for n in range(50)]

    assert {a.withheld for a in answers} == {"duplicate"}
    assert len(ledger_of(pipeline).decisions("churn", kinds=("skipped",))) == 1


def test_keys_are_compared_and_empty_ones_never() -> None:
    assert handled([trained(cause())], cause()) is True
    assert handled([trained(cause())], cause(key="alarm:v1:other")) is False
    assert handled([trained(cause(key=""))], cause(key="")) is False


def test_while_one_trains_the_calendar_is_refused_and_the_next_one_admitted(
    pipeline: Pipeline,
) -> None:
    with (
        ledger_of(pipeline).flight("churn"),
        admitted(opened(pipeline), cause("schedule", "")) as answer,
    ):
        assert answer.withheld == "running"
    with admitted(opened(pipeline), cause("schedule", "")) as answer:
        assert answer.retrain is True


def test_the_newest_statement_about_a_window_counts() -> None:
    before = monitored(WEEK, alarm=False, worse=False, at=NOW - timedelta(days=1))
    restated = monitored(WEEK, alarm=False, worse=True)
    (flag,) = watched([restated, before], CHAMPION).flags()

    assert flag == WindowFlag(window=WEEK, worse=True)


def test_windows_of_an_earlier_champion_do_not_count() -> None:
    assert watched([monitored(WEEK, alarm=True, version="7")], CHAMPION).flags() == ()


def test_a_pass_over_all_rows_stands_before_windows_with_a_time() -> None:
    everything = monitored(WEEK, alarm=True, id="all").model_copy(update={"window": None})

    flags = watched([monitored(WEEK, alarm=False), everything], CHAMPION).flags()

    assert [(flag.window, flag.drifted) for flag in flags] == [(None, True), (WEEK, False)]


def test_an_alarm_of_an_earlier_window_trains_though_the_newest_is_quiet(
    pipeline: Pipeline,
) -> None:
    later = Window(start=WEEK.end, end=WEEK.end + timedelta(weeks=1))
    flags = (WindowFlag(window=WEEK, drifted=True), WindowFlag(window=later))

    def asked(window: Window | None) -> bool:
        return answer_alarm(opened(pipeline), flags, window, (), None, NOW, handled=False).retrain

    assert asked(WEEK)
    assert not asked(later)
    assert not asked(None)
    assert not answer_alarm(
        opened(pipeline), flags, WEEK, (trained(cause()),), None, NOW, handled=False
    ).retrain, "the cooldown holds for earlier windows too"


def test_the_answer_states_whether_to_refit_or_to_search(pipeline: Pipeline) -> None:
    searched = admit(opened(pipeline), cause("schedule", ""), NOW)
    refitted = admit(opened(pipeline), cause("manual", ""), NOW, refit=True)

    assert (searched.training, searched.training_reason) == ("search", "the calendar")
    assert (refitted.training, refitted.training_reason) == ("refit", "requested by hand")


def test_a_refit_without_newer_rows_waits_and_starts_no_cooldown(pipeline: Pipeline) -> None:
    waits = hold_back(opened(pipeline), cause(), NoNewerRowsError("3 labelled rows are newer."))
    (skipped,) = ledger_of(pipeline).decisions("churn", kinds=("skipped", "trained"))

    assert waits.withheld == "rows"
    assert skipped.evidence["withheld"] == "rows"
    assert skipped.sentence == "Not trained: 3 labelled rows are newer."
    assert not handled((skipped,), cause())


def test_rows_at_the_time_of_the_newest_that_a_training_saw_are_not_new(tmp_path: Path) -> None:
    policy = "policy: {min_new_rows: 3}\n"
    file = write_pipeline(tmp_path, tmp_path / "rows.csv", policy, time=True)
    pipeline, day = load_pipeline(file), datetime(2026, 3, 9, tzinfo=UTC)
    ledger, roles = ledger_of(pipeline), Schema(
        target="Churned?", task="binary", features={}, id_columns=("customer",), time_column="when"
    )  # fmt: skip
    saw = trained(cause("schedule", ""), NOW - timedelta(days=3))
    ledger.record(saw.model_copy(update={"evidence": {"seen_until": day.isoformat()}}))

    def scored(name: str, when: datetime) -> None:
        rows = pd.DataFrame(
            {"customer": [f"{name}{k}" for k in range(3)], "when": when, "prediction": "No"}
        )
        ledger.write_predictions("churn", rows, roles, version="1", run_id="r", batch=name)

    scored("seen", day)
    assert admit(opened(pipeline), cause("schedule", ""), NOW).withheld == "rows"
    scored("new", day + timedelta(days=1))
    assert admit(opened(pipeline), cause("schedule", ""), NOW).retrain is True
