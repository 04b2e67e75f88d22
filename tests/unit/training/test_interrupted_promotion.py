"""What was decided by a process that was killed before its record holds, and is recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.base.errors import EvidenceError
from tasks.base.monitoring_records import Cause, Decision
from tasks.base.training_records import ModelVersion, Verdict
from tasks.ledger.ledger import Ledger
from tasks.training import interrupted_promotion, single_training
from tasks.training.decisions import record_both
from tasks.training.interrupted_promotion import (
    forget_verdict,
    judged_once,
    move_and_record,
    record_interrupted,
    registered_once,
    settled_champion,
    unfinished_version,
)
from tests.opened import opened
from tests.unit.ledger.made import opened as opened_ledger

KEY, FAMILY, ROWS = "ab" * 32, "lightgbm", "d1" * 32
NOW = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)
CAUSE = Cause(kind="alarm", correlation="c" * 32, at=NOW)
OVER_1 = Verdict(
    promoted=True, rule="superior", reason="is better", sentence="Promoted: it is better.",
    reasons=("is better",), champion_version="1",
)  # fmt: skip
KEPT = OVER_1.model_copy(update={"promoted": False, "champion_version": "2"})
EVIDENCE: Any = {
    "key": KEY, "challenger": FAMILY, "metric": "roc_auc", "training": "search",
    "recipe_of": None, "cause": CAUSE.model_dump(mode="json"),
    "verdict": OVER_1.model_dump(mode="json"),
}  # fmt: skip
TRAINED = Decision(
    id="", pipeline="flights", kind="trained", at=NOW, correlation=CAUSE.correlation,
    sentence="Trained on 8 rows.", data_digest=ROWS, config_digest="f1", mlflow_run="parent",
    evidence=EVIDENCE,
)  # fmt: skip


class Killed(BaseException):
    """The process ends here."""


def version(number: str, key: str = KEY, moved: datetime | None = NOW) -> ModelVersion:
    tags = {"keepfit.training_key": key[:16], "keepfit.candidate": FAMILY}
    if moved is not None:
        tags["keepfit.promoted_at"] = moved.isoformat(timespec="seconds")
    return ModelVersion(name="flights", version=number, run_id=f"run {number}", tags=tags)


OTHER = version("1", "cd" * 32)


class Store:
    """A registry that knows its champion."""

    def __init__(self, champion: ModelVersion) -> None:
        self.held = champion
        self.all = [champion]

    def champion(self, name: str) -> ModelVersion:  # noqa: ARG002
        return self.held

    def version(self, name: str, number: str) -> ModelVersion:  # noqa: ARG002
        return version(number)

    def move(self, champion: ModelVersion) -> None:
        self.held = champion
        self.all.insert(0, champion)


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    return SimpleNamespace(
        work=tmp_path, state=tmp_path, digest="f1", config=SimpleNamespace(name="flights")
    )


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    store = Store(OTHER)
    monkeypatch.setattr(interrupted_promotion, "champion_if_any", lambda _: store.held)
    monkeypatch.setattr(interrupted_promotion, "versions_of", lambda _: tuple(store.all))
    return store


@pytest.fixture
def ledger(plan: Any) -> Ledger:
    return opened_ledger(plan.state)


def killed(plan: Any, store: Any, *moved: ModelVersion, trained: Decision = TRAINED) -> None:
    def register() -> ModelVersion:
        for one in moved:
            store.move(one)
        raise Killed

    with pytest.raises(Killed):
        registered_once(opened(plan, store=store), KEY, trained, register)


def again(plan: Any, store: Any) -> tuple[Verdict, ModelVersion]:
    verdict = judged_once(opened(plan, store=store), KEY, FAMILY, lambda: KEPT)
    stated = {**EVIDENCE, "verdict": verdict.model_dump(mode="json")}
    trained = TRAINED.model_copy(update={"evidence": stated})
    return verdict, registered_once(opened(plan, store=store), KEY, trained, lambda: version("3"))


def kinds(ledger: Ledger) -> list[tuple[str, str | None]]:
    return sorted((found.kind, found.version) for found in ledger.decisions("flights"))


BOTH = [("promoted", "2"), ("trained", "2")]


def test_what_was_decided_holds_when_the_alias_had_moved(plan: Any, store: Any) -> None:
    killed(plan, store, version("2"))

    assert again(plan, store) == (OVER_1, version("2"))


def test_a_training_done_again_is_planned_against_the_champion_before_its_own_version(
    plan: Any, store: Any
) -> None:
    killed(plan, store, version("2"))

    assert settled_champion(opened(plan, store=store), ROWS) == version("1")
    forget_verdict(plan, KEY)
    assert settled_champion(opened(plan, store=store), ROWS) == version("2")


def test_a_training_on_other_rows_is_planned_against_the_champion(plan: Any, store: Any) -> None:
    killed(plan, store, version("2"))

    assert settled_champion(opened(plan, store=store), "d2" * 32) == version("2")


def test_a_training_killed_before_its_promotion_is_planned_against_the_champion(
    plan: Any, store: Any
) -> None:
    killed(plan, store)

    assert settled_champion(opened(plan, store=store), ROWS) == OTHER


@pytest.mark.parametrize("moved", [(), (version("4", "ef" * 32),)], ids=["none", "another"])
def test_it_is_judged_again_unless_its_own_version_is_champion(
    plan: Any, store: Any, moved: tuple[ModelVersion, ...]
) -> None:
    killed(plan, store, *moved)

    assert again(plan, store) == (KEPT, version("3"))


def test_a_recorded_training_is_judged_anew(plan: Any, store: Any) -> None:
    killed(plan, store, version("2"))

    forget_verdict(plan, KEY)

    assert again(plan, store) == (KEPT, version("3"))


def test_the_next_command_records_a_promotion_whose_process_was_killed(
    plan: Any, store: Any, ledger: Ledger
) -> None:
    killed(plan, store, version("2"))

    record_interrupted(opened(plan, ledger=ledger))
    record_interrupted(opened(plan, ledger=ledger))

    assert kinds(ledger) == BOTH
    (promoted,) = ledger.decisions("flights", kinds=("promoted",))
    assert (promoted.correlation, promoted.mlflow_run) == (CAUSE.correlation, "parent")
    assert promoted.at == NOW.replace(microsecond=0)
    assert promoted.evidence["former"] == "1"


def test_it_is_recorded_although_another_version_is_champion_since(
    plan: Any, store: Any, ledger: Ledger
) -> None:
    killed(plan, store, version("2"), version("3", "ef" * 32))

    record_interrupted(opened(plan, ledger=ledger))

    assert kinds(ledger) == BOTH


def test_done_again_after_it_was_recorded_a_training_leaves_no_second_record(
    plan: Any, store: Any, ledger: Ledger
) -> None:
    killed(plan, store, version("2"))
    record_interrupted(opened(plan, ledger=ledger))

    verdict, made = again(plan, store)
    record_both(ledger, TRAINED.model_copy(update={"mlflow_run": "another"}), made)

    assert (verdict, kinds(ledger)) == (OVER_1, BOTH)


@pytest.mark.parametrize(
    "made",
    [
        None,
        version("2", moved=None),
        version("2", moved=NOW - timedelta(hours=1)),
        version("2", "ef" * 32),
    ],
    ids=["none", "not promoted", "promoted before", "of another training"],
)
def test_nothing_is_recorded_of_a_training_that_moved_no_alias(
    plan: Any, store: Any, ledger: Ledger, made: ModelVersion | None
) -> None:
    killed(plan, store)
    store.all += [made] if made else []

    record_interrupted(opened(plan, ledger=ledger))

    assert kinds(ledger) == []
    assert not list(plan.work.glob("verdicts/*"))


def test_a_training_that_goes_on_records_itself(plan: Any, store: Any, ledger: Ledger) -> None:
    killed(plan, store, version("2"))
    elsewhere = opened_ledger(plan.state)

    with elsewhere.flight("flights"):
        record_interrupted(opened(plan, ledger=ledger))

    assert kinds(ledger) == []
    record_interrupted(opened(plan, ledger=ledger))
    assert kinds(ledger) == BOTH


@pytest.mark.parametrize("content", ["", "{", OVER_1.model_dump_json()])
def test_what_no_version_of_keepfit_can_read_is_removed(
    plan: Any, store: Any, ledger: Ledger, content: str
) -> None:
    killed(plan, store, version("2"))
    (file,) = plan.work.glob("verdicts/*.json")
    file.write_text(content)

    record_interrupted(opened(plan, ledger=ledger))

    assert (kinds(ledger), file.exists()) == ([], False)


REFUSED = TRAINED.model_copy(
    update={"evidence": {**EVIDENCE, "verdict": KEPT.model_dump(mode="json")}}
)


def refused(number: str, **tags: str) -> ModelVersion:
    stated = {"keepfit.verdict": "refused", "keepfit.verified": "true", **tags}
    made = version(number, moved=None)
    return made.model_copy(update={"tags": {**made.tags, **stated}})


def test_a_refused_version_whose_training_was_killed_gets_its_decision_once(
    plan: Any, store: Any, ledger: Ledger
) -> None:
    killed(plan, store, trained=REFUSED)
    store.all.insert(0, refused("2"))
    assert unfinished_version(plan, KEY) == frozenset()

    record_interrupted(opened(plan, ledger=ledger))
    record_interrupted(opened(plan, ledger=ledger))

    assert kinds(ledger) == [("refused", "2"), ("trained", "2")]
    # Done again, the training may take it: it is the same model.
    assert unfinished_version(plan, KEY) == {"2"}
    forget_verdict(plan, KEY)
    killed(plan, store, trained=REFUSED)
    record_interrupted(opened(plan, ledger=ledger))
    assert len(kinds(ledger)) == 2


@pytest.mark.parametrize(
    "left",
    [
        refused("2", **{"keepfit.verdict": "promoted"}),
        refused("2", **{"keepfit.training_key": "ef" * 8}),
        version("2", moved=None),
    ],
    ids=["promoted", "of another training", "never verified"],
)
def test_no_other_version_is_taken_for_the_refused_one(
    plan: Any, store: Any, ledger: Ledger, left: ModelVersion
) -> None:
    killed(plan, store, trained=REFUSED)
    store.all.insert(0, left)

    record_interrupted(opened(plan, ledger=ledger))

    assert kinds(ledger) == []


def back(at: datetime) -> Decision:
    return Decision(
        id="d1", pipeline="flights", kind="rolled_back", at=at, correlation="c", version="1",
        sentence="Rolled back: worse on probation.", evidence={"by": "probation"},
    )  # fmt: skip


def returned(at: datetime) -> ModelVersion:
    moment = at.isoformat(timespec="seconds")
    return OTHER.model_copy(update={"tags": {**OTHER.tags, "keepfit.returned_at": moment}})


@pytest.mark.parametrize("moved", [True, False])
def test_a_move_of_the_alias_that_was_killed_before_its_record_is_recorded_if_it_was_made(
    plan: Any, store: Any, ledger: Ledger, moved: bool
) -> None:
    decision = back(datetime.now(UTC))

    def move() -> None:
        if moved:
            store.all[0] = returned(datetime.now(UTC))
        raise Killed

    with pytest.raises(Killed):
        move_and_record(opened(plan, ledger=ledger), decision, move)
    assert kinds(ledger) == []
    record_interrupted(opened(plan, ledger=ledger))
    record_interrupted(opened(plan, ledger=ledger))

    assert kinds(ledger) == ([("rolled_back", "1")] if moved else [])
    # What was not made may be about to be.
    assert bool(list(plan.work.glob("verdicts/*"))) is not moved


def test_a_move_that_was_never_made_is_forgotten(plan: Any, store: Any, ledger: Ledger) -> None:
    old = back(datetime.now(UTC) - timedelta(hours=2))
    store.all[0] = returned(old.at - timedelta(days=1))
    for error in (Killed(), EvidenceError("the champion changed")):
        with pytest.raises(type(error)):
            move_and_record(opened(plan, ledger=ledger), old, partial(_raise, error))

        record_interrupted(opened(plan, ledger=ledger))

        assert not list(plan.work.glob("verdicts/*"))
    assert kinds(ledger) == []


def _raise(error: BaseException) -> None:
    raise error


def test_a_move_is_recorded_when_it_is_made(plan: Any, ledger: Ledger) -> None:
    move_and_record(opened(plan, ledger=ledger), back(NOW), lambda: None)

    assert kinds(ledger) == [("rolled_back", "1")]
    assert not list(plan.work.glob("verdicts/*"))


def test_a_training_that_waited_for_a_killed_one_records_it_first(
    plan: Any, store: Any, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(plan, store, version("2"))
    monkeypatch.setattr(single_training, "admit", lambda *_, **__: "admitted")

    with single_training.admitted(opened(plan, ledger=ledger, store=store), CAUSE):
        assert kinds(ledger) == BOTH
