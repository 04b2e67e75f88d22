"""Moves by hand: what a killed process moved and did not record is recorded by the next."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.base.errors import UsageError
from tasks.base.monitoring_records import Decision
from tasks.registry import manual_promotion
from tasks.registry.alias import champion_alias
from tasks.registry.alias.journal import journal_file
from tests.opened import opened
from tests.unit.registry.alias.test_champion_alias import Killed, Shelf

NAME = "flights"
PLAN: Any = SimpleNamespace(config=SimpleNamespace(name=NAME), digest="0" * 64)


class Store(Shelf):
    """A registry in memory, with the moves that people ask for."""

    def __init__(self, state: Path) -> None:
        super().__init__()
        self.state = state
        self._folder = state / "promotions"
        self._folder.mkdir()

    def promote_by_hand(self, name: str, version: str) -> champion_alias.Moved:
        return champion_alias.promote_by_hand(self, self._folder, name, version)

    def rollback(self, name: str) -> champion_alias.Moved:
        return champion_alias.rollback(self, self._folder, name)

    def recover(self) -> None:
        champion_alias.recover(self, self._folder)


class Ledger:
    """Decisions by their ids; the first write of a killed process does not come about."""

    def __init__(self) -> None:
        self.held: dict[str, Decision] = {}
        self.killed = False

    def record(self, decision: Decision) -> bool:
        if self.killed:
            raise Killed
        return self.held.setdefault(decision.id, decision) is decision

    @property
    def told(self) -> list[tuple[str, str | None, object]]:
        return [(d.kind, d.version, d.evidence["former"]) for d in self.held.values()]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    return Store(tmp_path)


def test_a_move_by_hand_is_recorded_once(store: Any) -> None:
    ledger: Any = Ledger()

    manual_promotion.promote_by_hand(opened(PLAN, ledger=ledger, store=store), "v2")
    decision = manual_promotion.promote_by_hand(opened(PLAN, ledger=ledger, store=store), "3")
    manual_promotion.promote_by_hand(opened(PLAN, ledger=ledger, store=store), "3")
    manual_promotion.roll_back_by_hand(opened(PLAN, ledger=ledger, store=store))

    assert ledger.told == [
        ("promoted", "2", None),
        ("promoted", "3", "2"),
        ("rolled_back", "2", "3"),
    ]
    assert ledger.held[decision.id] == decision
    assert list(store.state.rglob("*.moved")) == []


def test_what_a_process_moved_and_could_not_record_the_next_one_records(store: Any) -> None:
    ledger: Any = Ledger()
    manual_promotion.promote_by_hand(opened(PLAN, ledger=ledger, store=store), "1")
    ledger.killed = True
    with pytest.raises(Killed):
        manual_promotion.promote_by_hand(opened(PLAN, ledger=ledger, store=store), "2")
    ledger.killed = False

    decision = manual_promotion.promote_by_hand(opened(PLAN, ledger=ledger, store=store), "2")

    assert decision.sentence.startswith("Version 2 is champion already")
    assert ledger.told == [("promoted", "1", None), ("promoted", "2", "1")]


def test_a_rollback_that_a_killed_process_made_is_recorded_by_one_that_finds_none_left(
    store: Any,
) -> None:
    ledger: Any = Ledger()
    for version in ("1", "2"):
        manual_promotion.promote_by_hand(opened(PLAN, ledger=ledger, store=store), version)
    ledger.killed = True
    with pytest.raises(Killed):
        manual_promotion.roll_back_by_hand(opened(PLAN, ledger=ledger, store=store))
    ledger.killed = False

    with pytest.raises(UsageError):
        manual_promotion.roll_back_by_hand(opened(PLAN, ledger=ledger, store=store))

    assert ledger.told[2:] == [("rolled_back", "1", "2")]


@pytest.mark.parametrize("effects", range(4))
def test_a_kill_in_the_midst_of_a_move_leaves_one_record(store: Any, effects: int) -> None:
    ledger: Any = Ledger()
    manual_promotion.promote_by_hand(opened(PLAN, ledger=ledger, store=store), "1")
    store.effects_left = effects
    with pytest.raises(Killed):
        manual_promotion.promote_by_hand(opened(PLAN, ledger=ledger, store=store), "2")
    store.effects_left = None

    store.recover()
    manual_promotion.promote_by_hand(opened(PLAN, ledger=ledger, store=store), "2")

    assert ledger.told == [("promoted", "1", None), ("promoted", "2", "1")]
    assert not journal_file(store.state / "promotions", NAME).exists()
