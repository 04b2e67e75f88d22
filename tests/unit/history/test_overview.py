from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.base.monitoring_records import Decision, DriftResult, Gain
from tasks.base.runtime.files import write_whole
from tasks.base.text.commands import command
from tasks.base.training_records import ModelVersion, RuleResult, SetAside
from tasks.history.health import Champion, overdue
from tasks.history.overview import PipelineHealth, overview
from tasks.ledger.ledger import ledger_of
from tasks.registry.alias.journal import Intent, close_journal, journal_file
from tasks.scoring.quarantine_listing import Kept
from tests.histories import Listed, demand, flights, pipeline, reading

QUIET = "schedules: {}\n"


def health(folder: Path, decisions: tuple[Decision, ...], **how: Any) -> PipelineHealth:
    name = decisions[0].pipeline if decisions else "flights"
    how.setdefault("now", decisions[-1].at + timedelta(hours=5) if decisions else None)
    return reading(Listed(decisions), overview, [pipeline(folder, name)], **how)[0]


def until(decisions: tuple[Decision, ...], kind: str, count: int = 1) -> tuple[Decision, ...]:
    """Return decisions up to the `count`-th of a kind."""
    places = [k for k, d in enumerate(decisions) if d.kind == kind]
    return decisions[: places[count - 1] + 1]


def test_a_quiet_pipeline_is_healthy_and_says_since_when(tmp_path: Path) -> None:
    found = health(tmp_path, flights(), sizes={"ledger": 10})

    assert found.health == "healthy"
    assert found.champion is not None
    assert (found.champion.version, found.champion.candidate) == ("2", "logistic_regression")
    assert found.champion.score is not None
    assert found.age_days == pytest.approx(28.2, abs=0.1)
    assert set(found.last) == {"scoring", "monitoring", "training"}
    assert found.drift is not None
    assert not found.drift.alarm
    assert found.performance is not None
    assert found.performance.mature
    assert found.stores == {"ledger": 10}
    assert "scored" not in {d.kind for d in found.latest}


def test_columns_that_moved_without_harm_are_named_by_a_healthy_pipeline(tmp_path: Path) -> None:
    *before, last = until(flights(), "monitored", 4)
    drift = last.evidence["drift"]
    assert isinstance(drift, dict)
    first, *others = drift["columns"]
    columns = [{**first, "drifted": True}, *({**c, "drifted": False} for c in others)]
    moved = {**drift, "columns": columns, "harmful": False, "alarm": True}
    harmless = last.model_copy(update={"evidence": {**last.evidence, "drift": moved}})

    found = health(tmp_path, (*before, harmless))

    assert found.health == "healthy"
    assert first["column"] in found.reason


def test_rows_that_broke_their_contract_stop_it_until_the_next_run_holds(tmp_path: Path) -> None:
    stopped = until(flights(), "stopped")

    assert health(tmp_path, stopped).health == "stopped"
    assert "broke 2 rules" in health(tmp_path, stopped).reason
    held = flights()[: len(stopped) + 12]
    assert health(tmp_path, held).health != "stopped"


def test_rows_that_wait_are_scored_from_where_the_files_lie_now(tmp_path: Path) -> None:
    made = pipeline(tmp_path, "flights")
    file = made.work / "quarantine" / "ab.parquet"
    rule = RuleResult("fee", "range", "error", passed=False, expected="0 to 9")
    aside = SetAside(
        rows=2, of=9, whole=False, file="/was/here/ab.parquet", digest="d", contract_digest="c",
        rules=(rule,), score_command="keepfit score was/keepfit.yaml --input /was/here/ab.parquet",
    )  # fmt: skip
    write_whole(
        file.with_suffix(".json"),
        Kept(
            aside=aside, contract_digest="c", at=datetime(2026, 1, 1, tzinfo=UTC)
        ).model_dump_json(),
    )

    found = health(tmp_path, flights())

    assert found.waiting == 2
    assert found.waiting_command.split() == [
        *command("score", file=made.path).split(), "--input", str(file),
    ]  # fmt: skip


def test_a_failed_flow_stops_it(tmp_path: Path) -> None:
    found = health(tmp_path, until(flights(), "failed"))

    assert (found.health, found.last["scoring"].kind) == ("stopped", "failed")


def test_drift_in_the_last_window_is_drifting_and_names_columns(tmp_path: Path) -> None:
    found = health(tmp_path, until(demand(), "alarmed"))

    assert found.health == "drifting"
    assert "price" in found.reason


def test_predictions_that_moved_alone_are_named_where_no_column_is(tmp_path: Path) -> None:
    alarmed = until(demand(), "alarmed")
    looked = next(d for d in reversed(alarmed) if d.kind == "monitored")
    drift = DriftResult.model_validate(looked.evidence["drift"])
    moved = drift.model_copy(
        update={"columns": (), "harmful": True, "score": 0.2, "limit": 1.0, "alarm": False,
                "harm_sentence": "could hurt: the predictions moved by 0.42 SD (limit 0.30)"}
    )  # fmt: skip
    evidence = {**looked.evidence, "drift": moved.model_dump(mode="json")}
    changed = looked.model_copy(update={"evidence": evidence})
    found = health(tmp_path, tuple(changed if d is looked else d for d in alarmed))

    assert found.health == "drifting"
    assert "the predictions moved by 0.42 SD" in found.reason
    assert found.drift is not None
    assert "predictions" in found.drift.harm


def test_a_training_that_an_alarm_asked_for_is_shown_until_it_has_an_outcome(
    tmp_path: Path,
) -> None:
    asked = until(flights(), "alarmed", 2)
    found = health(tmp_path, asked)

    assert found.asked is not None
    assert found.asked.at == asked[-1].at
    assert health(tmp_path, until(flights(), "alarmed", 1)).asked is None
    assert health(tmp_path, flights()).asked is None
    trained = next(d for d in flights() if d.kind == "trained")
    later = asked[-1].at + timedelta(minutes=5)
    by_hand = trained.model_copy(update={"id": "hand", "at": later, "correlation": "hand"})
    assert health(tmp_path, (*asked, by_hand)).asked is None


def test_a_pipeline_is_not_healthy_while_a_training_for_an_alarm_is_awaited(
    tmp_path: Path,
) -> None:
    asked = until(flights(), "alarmed", 2)
    looked = [d for d in asked if d.kind == "monitored"]
    quiet = next(d for d in looked if not d.evidence["alarm"])
    later = quiet.model_copy(
        update={"id": "later", "at": asked[-1].at, "window": None, "version": looked[-1].version}
    )
    due = {**asked[-1].evidence, "answer_by": "2013-06-01T10:00:00+00:00"}
    awaited = asked[-1].model_copy(update={"evidence": due})
    found = health(tmp_path, (*asked[:-1], awaited, later))

    assert found.health == "retraining"
    assert "2013-06-01 10:00" in found.reason
    assert f"{asked[-1].at:%Y-%m-%d %H:%M}" in found.reason


def test_worse_realised_performance_is_falling(tmp_path: Path) -> None:
    found = health(tmp_path, until(flights(), "skipped"))

    assert found.health == "falling"
    assert found.performance is not None
    assert found.performance.worse


def test_a_gain_that_pays_is_open_until_a_training_answers_it(tmp_path: Path) -> None:
    decisions = flights()
    *before, last = decisions
    looked = [d for d in decisions if d.kind == "monitored"][-1]
    gain = Gain(
        version=looked.version or "", metric="roc_auc", gain=0.04, low=0.03, high=0.05, rows=5402
    )
    measured = looked.model_copy(
        update={"evidence": {**looked.evidence, "gain": gain.model_dump(mode="json")}}
    )
    found = health(tmp_path, (*(d for d in decisions if d is not looked), measured))

    assert found.health == "falling"
    assert (found.weighed, found.gain) == ("pays", gain)
    assert found.reason.startswith("Retraining would bring 0.040 (0.030 to 0.050) ROC AUC")
    trained = [d for d in before if d.kind == "trained"][-1]
    answer = trained.model_copy(
        update={"id": "later", "at": last.at + timedelta(minutes=1), "version": "9"}
    )
    answered = health(tmp_path, (*(d for d in decisions if d is not looked), measured, answer))
    assert answered.weighed == ""
    assert answered.health != "falling"


def test_a_promoted_challenger_is_on_probation_until_confirmed(tmp_path: Path) -> None:
    decisions = flights()
    promoted = until(decisions, "monitored", 8)
    confirmed = until(decisions, "confirmed")

    assert health(tmp_path, promoted).health == "on probation"
    assert health(tmp_path, confirmed).health == "healthy"


def test_a_champion_confirmed_long_ago_is_on_probation_no_more(tmp_path: Path) -> None:
    confirmed = until(flights(), "confirmed")
    quiet = [d for d in confirmed if d.kind == "monitored"][-1]
    later = tuple(
        quiet.model_copy(update={"id": f"later-{k}", "at": confirmed[-1].at + timedelta(minutes=k)})
        for k in range(1, 300)
    )

    assert health(tmp_path, (*confirmed, *later)).health == "healthy"


def test_the_first_champion_is_on_no_probation(tmp_path: Path) -> None:
    assert health(tmp_path, until(flights(), "monitored")).health == "healthy"


def test_a_run_that_failed_for_its_rows_is_not_shown_beside_its_stop(tmp_path: Path) -> None:
    decisions = flights()
    stop = decisions[-1].model_copy(update={"id": "s", "kind": "stopped", "sentence": "It broke."})
    for error, shown in (("ContractError", False), ("OSError", True)):
        failed = stop.model_copy(
            update={"id": "f", "kind": "failed", "evidence": {"flow": "scoring", "error": error}}
        )
        found = health(tmp_path, (*decisions, stop, failed))
        assert ("f" in {d.id for d in found.latest}) is shown
        assert "s" in {d.id for d in found.latest}


def test_a_schedule_that_was_missed_twice_is_stale(tmp_path: Path) -> None:
    decisions = flights()
    found = health(tmp_path, decisions, now=decisions[-1].at + timedelta(days=3))

    assert found.health == "stale"
    assert "Scoring was due" in found.reason


@pytest.mark.parametrize(("minutes", "missed"), [(4, False), (14, True)])
def test_a_schedule_of_a_minute_is_missed_after_longer_than_a_start_takes(
    minutes: int, missed: bool, tmp_path: Path
) -> None:
    made = pipeline(tmp_path)
    often = type(made.config.schedules)(scoring="* * * * *", monitoring="* * * * *")
    busy = replace(made, config=made.config.model_copy(update={"schedules": often}))
    since = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
    champion = Champion(version="1", since=since)

    found = overdue(busy, champion, {}, since + timedelta(minutes=minutes))

    assert bool(found) is missed


def test_without_schedules_two_unwatched_windows_are_stale(tmp_path: Path) -> None:
    made = pipeline(tmp_path)
    config = made.config.model_copy(
        update={"schedules": type(made.config.schedules).model_validate({})}
    )
    bare = replace(made, config=config)
    decisions = flights()
    for days, word in ((13, "healthy"), (15, "stale")):
        now = decisions[-1].at + timedelta(days=days)
        assert reading(Listed(decisions), overview, [bare], now=now)[0].health == word


def test_a_pipeline_without_any_record_says_what_to_run(tmp_path: Path) -> None:
    (found,) = overview([pipeline(tmp_path)])

    assert (found.health, found.champion) == ("no champion", None)
    assert found.next_command.startswith("keepfit run ")
    assert not (tmp_path / ".keepfit").exists()


def test_what_the_registry_says_goes_before_the_records(tmp_path: Path) -> None:
    tags = {"keepfit.score": "0.7", "keepfit.metric": "roc_auc", "keepfit.candidate": "svm"}
    moved = ModelVersion(name="flights", version="9", run_id="r", tags=tags)

    found = health(tmp_path, flights(), champions={"flights": moved})

    assert found.champion is not None
    assert (found.champion.version, found.champion.candidate) == ("9", "svm")
    assert found.champion.unrecorded == "registry"


@pytest.mark.parametrize(("version", "mover"), [("9", "hand"), ("2", "")])
def test_a_move_by_hand_that_was_killed_before_its_record_is_shown(
    version: str, mover: str, tmp_path: Path
) -> None:
    plan = pipeline(tmp_path, "flights")
    intent = Intent(
        name="flights", version=version, previous="2", written=datetime.now(UTC), by_hand=True
    )
    journal = journal_file(plan.state / "promotions", "flights")
    write_whole(journal, intent.model_dump_json())
    close_journal(journal, intent)
    at = ModelVersion(name="flights", version=version, run_id="r", tags={})

    found = health(tmp_path, flights(), champions={"flights": at})

    assert found.champion is not None
    assert (found.champion.version, found.champion.unrecorded) == (version, mover)


def test_a_champion_that_was_deleted_in_mlflow_does_not_score(tmp_path: Path) -> None:
    found = health(tmp_path, flights(), champions={"flights": None})

    assert (found.health, found.champion) == ("no champion", None)
    assert "v2" in found.reason
    assert "MLflow" in found.reason


def test_a_version_made_anew_under_an_earlier_number_is_not_taken_for_that(tmp_path: Path) -> None:
    anew = ModelVersion(
        name="flights", version="2", run_id="r", created=flights()[-1].at + timedelta(days=1),
        tags={"keepfit.candidate": "decision_tree", "keepfit.training_key": "f" * 16},
    )  # fmt: skip
    found = health(tmp_path, flights(), champions={"flights": anew})

    assert found.champion is not None
    assert found.champion.candidate == "decision_tree"


def test_next_runs_observe_daylight_saving(tmp_path: Path) -> None:
    made = pipeline(tmp_path, "other", "")
    from tasks.base.settings.monitoring import SchedulesConfig
    from tasks.history.schedule import next_runs

    schedules = SchedulesConfig(scoring="0 6 * * *", timezone="Europe/Berlin")
    winter = next_runs(schedules, datetime(2026, 3, 28, 12, tzinfo=UTC))
    summer = next_runs(schedules, datetime(2026, 3, 29, 12, tzinfo=UTC))

    assert made.config.name == "other"
    assert winter["scoring"].isoformat() == "2026-03-29T04:00:00+00:00"
    assert summer["scoring"].isoformat() == "2026-03-30T04:00:00+00:00"


def test_it_reads_a_real_ledger(tmp_path: Path) -> None:
    made = pipeline(tmp_path)
    ledger = ledger_of(made)
    decisions = tuple(d for d in flights() if d.kind != "scored")
    for decision in decisions:
        assert ledger.record(decision)

    now = decisions[-1].at + timedelta(hours=5)
    assert reading(Listed(decisions), overview, [made], now=now) == overview([made], now=now)
