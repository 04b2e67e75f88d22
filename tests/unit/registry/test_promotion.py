from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.base.errors import EvidenceError, InfrastructureError
from tasks.base.records import ModelVersion
from tasks.registry.promotion import VERIFIED, promote, recover


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

    def champion(self, name: str) -> ModelVersion | None:
        return None if self.alias is None else self.version(name, self.alias)

    def version(self, name: str, version: str) -> ModelVersion | None:
        if version not in self.tags:
            return None
        aliases = ("champion",) if version == self.alias else ()
        return ModelVersion(
            name=name, version=version, run_id="r", aliases=aliases, tags=self.tags[version]
        )

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
    champion = shelf.champion("flights")
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
