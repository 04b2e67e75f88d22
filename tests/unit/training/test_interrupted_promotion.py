"""A training that was killed after the alias moved keeps what was decided."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.base.records import ModelVersion, Verdict
from tasks.training import interrupted_promotion
from tasks.training.interrupted_promotion import forget_verdict, judged_once, registered_once

KEY, FAMILY = "ab" * 32, "lightgbm"
OVER_1 = Verdict(
    promoted=True, rule="superior", reason="is better", sentence="Promoted: it is better.",
    reasons=("is better",), champion_version="1",
)  # fmt: skip
KEPT = OVER_1.model_copy(update={"promoted": False, "champion_version": "2"})


class Killed(BaseException):
    """The process ends here."""


def version(number: str, key: str = KEY) -> ModelVersion:
    tags = {"keepfit.training_key": key[:16], "keepfit.candidate": FAMILY}
    return ModelVersion(name="flights", version=number, run_id="r", aliases=(), tags=tags)


class Store:
    """A registry that knows its champion."""

    def __init__(self, champion: ModelVersion) -> None:
        self.held = champion

    def champion(self, name: str) -> ModelVersion:  # noqa: ARG002
        return self.held

    def version(self, name: str, number: str) -> ModelVersion:  # noqa: ARG002
        return version(number)


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    return SimpleNamespace(work=tmp_path, state=tmp_path, config=SimpleNamespace(name="flights"))


def killed_after_move(plan: Any, store: Any, moved: ModelVersion) -> None:
    def register() -> ModelVersion:
        store.held = moved
        raise Killed

    with pytest.raises(Killed):
        registered_once(plan, store, KEY, FAMILY, OVER_1, register)


def again(plan: Any, store: Any) -> tuple[Verdict, ModelVersion]:
    verdict = judged_once(plan, store, KEY, FAMILY, lambda: KEPT)
    return verdict, registered_once(plan, store, KEY, FAMILY, verdict, lambda: version("3"))


def test_what_was_decided_holds_when_the_alias_had_moved(plan: Any) -> None:
    store = Store(version("1", "cd" * 32))
    killed_after_move(plan, store, version("2"))

    assert again(plan, store) == (OVER_1, version("2"))


def settled(plan: Any, store: Any, monkeypatch: pytest.MonkeyPatch) -> ModelVersion | None:
    monkeypatch.setattr(interrupted_promotion, "champion_if_any", lambda _: store.held)
    return interrupted_promotion.settled_champion(plan, store)


def test_a_training_done_again_is_planned_against_the_champion_before_its_own_version(
    plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(version("1", "cd" * 32))
    killed_after_move(plan, store, version("2"))

    assert settled(plan, store, monkeypatch) == version("1")
    forget_verdict(plan, KEY)
    assert settled(plan, store, monkeypatch) == version("2")


def test_a_training_killed_before_its_promotion_is_planned_against_the_champion(
    plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(version("1", "cd" * 32))
    killed_after_move(plan, store, version("1", "cd" * 32))

    assert settled(plan, store, monkeypatch) == version("1", "cd" * 32)


def test_it_is_judged_again_when_the_alias_had_not_moved(plan: Any) -> None:
    store = Store(version("1", "cd" * 32))
    killed_after_move(plan, store, version("1", "cd" * 32))

    assert again(plan, store) == (KEPT, version("3"))


def test_it_is_judged_again_when_another_training_came_between(plan: Any) -> None:
    store = Store(version("1", "cd" * 32))
    killed_after_move(plan, store, version("4", "ef" * 32))

    assert again(plan, store) == (KEPT, version("3"))


def test_a_recorded_training_is_judged_anew(plan: Any) -> None:
    store = Store(version("1", "cd" * 32))
    killed_after_move(plan, store, version("2"))

    forget_verdict(plan, KEY)

    assert again(plan, store) == (KEPT, version("3"))
