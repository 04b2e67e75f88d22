from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.base.errors import EvidenceError, InfrastructureError, UsageError
from tasks.base.runtime.failpoints import VARIABLE
from tasks.base.training_records import ModelVersion
from tasks.registry.alias.champion_alias import (
    REPLACED,
    ROLLED_BACK,
    VERIFIED,
    promote,
    promote_by_hand,
    recover,
    rollback,
)
from tests.unit.registry.alias.paper import NAME, Paper

ROOT = Path(__file__).resolve().parents[4]
PLACES = (
    "registry.journal.before_write",
    "registry.journal.after_write",
    "registry.alias.before_move",
    "registry.alias.after_move",
    "registry.journal.before_removal",
    "registry.journal.after_removal",
)


class Killed(BaseException):
    """The process ends here."""


class Shelf:
    """A registry in memory, whose process can be killed before or after a side effect."""

    def __init__(self, unverified: tuple[str, ...] = ()) -> None:
        self.alias: str | None = None
        self.tags: dict[str, dict[str, str]] = {
            str(v): {} if str(v) in unverified else {VERIFIED: "true"} for v in range(1, 6)
        }
        self.moves = 0
        self.effects_left: int | None = None

    def pointed(self, name: str) -> ModelVersion | None:
        return None if self.alias is None else self.found(name, self.alias)

    def found(self, name: str, version: str) -> ModelVersion | None:
        if version not in self.tags:
            return None
        aliases = ("champion",) if version == self.alias else ()
        return ModelVersion(
            name=name, version=version, run_id="r", aliases=aliases, tags=self.tags[version]
        )

    def require_intact(self, version: ModelVersion) -> None:
        """Refuse nothing: what is here lies in no folder."""

    def tag_version(self, version: ModelVersion, tags: dict[str, str]) -> None:
        self._effect()
        self.tags[version.version] = {**self.tags[version.version], **tags}
        self._effect()

    def point_alias(self, name: str, version: str | None) -> None:  # noqa: ARG002
        self._effect()
        self.alias = version
        self.moves += 1
        self._effect()

    def _effect(self) -> None:
        if self.effects_left is None:
            return
        if self.effects_left == 0:
            raise Killed
        self.effects_left -= 1


def test_the_champion_is_compared_before_it_is_set(tmp_path: Path) -> None:
    shelf = Shelf()
    assert promote(shelf, tmp_path, "flights", "1", None).aliases == ("champion",)
    with pytest.raises(EvidenceError, match="from none to version 1"):
        promote(shelf, tmp_path, "flights", "2", None)
    promote(shelf, tmp_path, "flights", "2", "1")
    assert shelf.alias == "2"
    assert shelf.tags["2"]["keepfit.replaced"] == "1"


def test_promoting_the_champion_again_changes_nothing(tmp_path: Path) -> None:
    shelf = Shelf()
    promote(shelf, tmp_path, "flights", "1", None)
    promote(shelf, tmp_path, "flights", "1", "never")
    assert shelf.moves == 1


@pytest.mark.parametrize(("version", "said"), [("3", "never loaded back"), ("9", "no version 9")])
def test_a_version_that_is_not_verified_is_refused(tmp_path: Path, version: str, said: str) -> None:
    shelf = Shelf(unverified=("3",))
    with pytest.raises(EvidenceError, match=said):
        promote(shelf, tmp_path, "flights", version, None)
    assert shelf.alias is None
    assert not list(tmp_path.glob("*.journal"))


@pytest.mark.parametrize("name", ["../up", "A", "", "a/b"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InfrastructureError, match="not a pipeline's name"):
        promote(Shelf(), tmp_path, name, "1", None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(kill_after=st.integers(0, 4), kill_again=st.integers(0, 4), vanish=st.booleans())
def test_after_a_kill_anywhere_the_next_start_leaves_a_verified_champion(
    tmp_path: Path, kill_after: int, kill_again: int, vanish: bool
) -> None:
    shelf = Shelf()
    promote(shelf, tmp_path, "flights", "1", None)
    shelf.effects_left = kill_after
    try:
        promote(shelf, tmp_path, "flights", "2", "1")
        finished = True
    except Killed:
        finished = False
    if vanish and not finished:
        del shelf.tags["2"][VERIFIED]
    shelf.effects_left = kill_again
    try:
        recover(shelf, tmp_path)
    except Killed:
        shelf.effects_left = None
        recover(shelf, tmp_path)
    assert not list(tmp_path.glob("*.journal"))
    assert shelf.alias == ("1" if vanish and not finished else "2")
    champion = shelf.pointed("flights")
    assert champion is not None
    assert champion.tags[VERIFIED] == "true"
    assert recover(shelf, tmp_path) == ()


def test_a_first_promotion_that_cannot_be_completed_leaves_no_champion(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.effects_left = 1
    with pytest.raises(Killed):
        promote(shelf, tmp_path, "flights", "1", None)
    shelf.effects_left = None
    del shelf.tags["1"][VERIFIED]
    recover(shelf, tmp_path)
    assert shelf.alias is None


def test_a_version_that_was_deleted_meanwhile_gives_way_to_the_one_before(tmp_path: Path) -> None:
    shelf = Shelf()
    promote(shelf, tmp_path, "flights", "1", None)
    shelf.effects_left = 1
    with pytest.raises(Killed):
        promote(shelf, tmp_path, "flights", "2", "1")
    shelf.effects_left = None
    # MLflow removes an alias with its version.
    del shelf.tags["2"]
    shelf.alias = None
    recover(shelf, tmp_path)
    assert shelf.alias == "1"


def test_a_journal_keepfit_did_not_write_is_left_and_named(tmp_path: Path) -> None:
    (tmp_path / "flights.journal").write_text("{}")
    with pytest.raises(InfrastructureError, match=r"flights\.journal: not a journal"):
        recover(Shelf(), tmp_path)
    assert (tmp_path / "flights.journal").exists()


def test_of_promotions_at_once_over_the_same_champion_one_wins(tmp_path: Path) -> None:
    for _ in range(10):
        shelf = Shelf()
        won: list[str] = []

        def attempt(version: str, shelf: Shelf = shelf, won: list[str] = won) -> None:
            try:
                promote(shelf, tmp_path, "flights", version, None)
            except EvidenceError:
                return
            won.append(version)

        threads = [threading.Thread(target=attempt, args=(str(v),)) for v in range(1, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (won, shelf.moves) == ([shelf.alias], 1)


def crowned(shelf: Shelf, folder: Path, *versions: str) -> None:
    """Let one version after the other be champion."""
    for version in versions:
        promote(shelf, folder, "flights", version, shelf.alias)


def test_a_rollback_returns_to_the_version_that_was_replaced(tmp_path: Path) -> None:
    shelf = Shelf()
    crowned(shelf, tmp_path, "1", "2")
    moved = rollback(shelf, tmp_path, "flights")
    assert (moved.version.version, moved.former, shelf.alias) == ("1", "2", "1")
    assert moved.version.aliases == ("champion",)
    assert ROLLED_BACK in shelf.tags["2"]
    assert shelf.tags["1"][REPLACED] == "none"
    assert not list(tmp_path.glob("*.journal"))


def test_rollbacks_never_play_ping_pong(tmp_path: Path) -> None:
    shelf = Shelf()
    crowned(shelf, tmp_path, "1", "2", "3")
    assert rollback(shelf, tmp_path, "flights").version.version == "2"
    assert rollback(shelf, tmp_path, "flights").version.version == "1"
    with pytest.raises(UsageError, match="no version before the champion, version 1") as caught:
        rollback(shelf, tmp_path, "flights")
    assert "keepfit promote" in caught.value.remedy
    # A later champion that replaced a good one goes back to it, past those that were sent back.
    promote_by_hand(shelf, tmp_path, "flights", "3")
    promote(shelf, tmp_path, "flights", "4", "3")
    assert rollback(shelf, tmp_path, "flights").version.version == "1"
    with pytest.raises(UsageError, match="no version before"):
        rollback(shelf, tmp_path, "flights")


def test_a_rollback_passes_over_a_version_that_was_sent_back_itself(tmp_path: Path) -> None:
    shelf = Shelf()
    crowned(shelf, tmp_path, "1", "2")
    rollback(shelf, tmp_path, "flights")
    promote_by_hand(shelf, tmp_path, "flights", "2")
    promote(shelf, tmp_path, "flights", "3", "2")
    assert rollback(shelf, tmp_path, "flights").version.version == "1"


def test_there_is_nothing_to_roll_back_without_a_champion(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no champion"):
        rollback(Shelf(), tmp_path, "flights")


def test_a_rollback_of_another_champion_than_expected_moves_nothing(tmp_path: Path) -> None:
    shelf = Shelf()
    crowned(shelf, tmp_path, "1", "2", "3")
    with pytest.raises(EvidenceError, match="is version 3, no longer version 2"):
        rollback(shelf, tmp_path, "flights", "2")
    assert shelf.alias == "3"


def test_a_rollback_to_a_version_that_is_not_verified_is_refused(tmp_path: Path) -> None:
    shelf = Shelf()
    crowned(shelf, tmp_path, "1", "2")
    del shelf.tags["1"][VERIFIED]
    with pytest.raises(EvidenceError, match="never loaded back"):
        rollback(shelf, tmp_path, "flights")
    assert shelf.alias == "2"


def test_by_hand_any_verified_version_becomes_champion(tmp_path: Path) -> None:
    shelf = Shelf(unverified=("3",))
    crowned(shelf, tmp_path, "1", "2")
    moved = promote_by_hand(shelf, tmp_path, "flights", "4")
    assert (moved.version.version, moved.former) == ("4", "2")
    again = promote_by_hand(shelf, tmp_path, "flights", "4")
    assert (again.version.version, again.former, shelf.moves) == ("4", "4", 3)
    with pytest.raises(EvidenceError, match="never loaded back"):
        promote_by_hand(shelf, tmp_path, "flights", "3")
    assert rollback(shelf, tmp_path, "flights").version.version == "2"


def test_a_journal_is_left_alone_where_another_host_moved_on(tmp_path: Path) -> None:
    shelf = Shelf()
    crowned(shelf, tmp_path, "1")
    shelf.effects_left = 0
    with pytest.raises(Killed):
        promote(shelf, tmp_path, "flights", "2", "1")
    shelf.effects_left = None
    crowned(shelf, tmp_path / "elsewhere", "3", "4")
    recover(shelf, tmp_path)
    assert shelf.alias == "4"
    assert not list(tmp_path.glob("*.journal"))


def test_the_next_promotion_finishes_the_interrupted_one_first(tmp_path: Path) -> None:
    shelf = Shelf()
    crowned(shelf, tmp_path, "1")
    shelf.effects_left = 1
    with pytest.raises(Killed):
        promote(shelf, tmp_path, "flights", "2", "1")
    shelf.effects_left = None
    with pytest.raises(EvidenceError, match="from version 1 to version 2"):
        promote(shelf, tmp_path, "flights", "3", "1")
    assert shelf.tags["2"][REPLACED] == "1"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(kill_after=st.integers(0, 6), kill_again=st.integers(0, 6))
def test_after_a_kill_in_a_rollback_the_next_start_completes_it(
    tmp_path: Path, kill_after: int, kill_again: int
) -> None:
    shelf = Shelf()
    crowned(shelf, tmp_path, "1", "2")
    shelf.effects_left = kill_after
    try:
        rollback(shelf, tmp_path, "flights")
    except Killed:
        shelf.effects_left = kill_again
        try:
            recover(shelf, tmp_path)
        except Killed:
            shelf.effects_left = None
            recover(shelf, tmp_path)
    assert not list(tmp_path.glob("*.journal"))
    assert shelf.alias == "1"
    assert ROLLED_BACK in shelf.tags["2"]
    assert "keepfit.returned_at" in shelf.tags["1"]


def test_the_lock_across_hosts_is_held_around_every_move(tmp_path: Path) -> None:
    shelf = Shelf()
    seen: list[tuple[str, str | None]] = []

    @contextmanager
    def across(name: str) -> Iterator[None]:
        seen.append((f"take {name}", shelf.alias))
        yield
        seen.append((f"free {name}", shelf.alias))

    promote(shelf, tmp_path, "flights", "1", None, across)
    promote_by_hand(shelf, tmp_path, "flights", "2", across)
    rollback(shelf, tmp_path, "flights", None, across)
    aliases = [alias for _, alias in seen]
    assert [word for word, _ in seen] == ["take flights", "free flights"] * 3
    assert aliases == [None, "1", "1", "2", "2", "1"]


def on_paper(folder: Path, what: str, argument: str, place: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.registry.alias.paper", str(folder), what, argument],
        cwd=ROOT, env={**os.environ, VARIABLE: place}, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("what", ["promote", "rollback"])
@pytest.mark.parametrize("place", PLACES)
def test_a_process_killed_at_any_place_leaves_a_state_that_the_next_start_makes_whole(
    tmp_path: Path, place: str, what: str
) -> None:
    paper = Paper(tmp_path)
    paper.add("1", "2")
    promote(paper, tmp_path, NAME, "1", None)
    if what == "rollback":
        promote(paper, tmp_path, NAME, "2", "1")
    killed = on_paper(tmp_path, what, "2", place)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    recover(paper, tmp_path)
    done = place != PLACES[0]
    assert paper.held["alias"] == ("2" if done == (what == "promote") else "1")
    assert not list(tmp_path.glob("*.journal"))
    tags = paper.held["tags"]
    if done and what == "promote":
        assert tags["2"][REPLACED] == "1"
    if done and what == "rollback":
        assert ROLLED_BACK in tags["2"]
    # What was not begun can be done now, what was done is not done again.
    moves = paper.held["moves"]
    assert recover(paper, tmp_path) == ()
    assert paper.held["moves"] == moves


@pytest.mark.slow
def test_of_processes_at_once_exactly_one_wins_over_each_champion(tmp_path: Path) -> None:
    paper = Paper(tmp_path)
    shares = [[str(50 * place + turn + 1) for turn in range(50)] for place in range(8)]
    paper.add(*(version for share in shares for version in share))
    started = [on_paper(tmp_path, "race", json.dumps(share)) for share in shares]
    won = [pair for process in started for pair in json.loads(process.communicate()[0])]
    assert [process.returncode for process in started] == [0] * 8
    over = dict(won)
    assert len(over) == len(won) == paper.held["moves"] < 400
    line, champion = 0, None
    while champion in over:
        champion, line = over[champion], line + 1
    assert (champion, line) == (paper.held["alias"], len(won))
