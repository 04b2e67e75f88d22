from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from tasks.base.errors import InfrastructureError, ModelRefusedError, UsageError
from tasks.base.training_records import ModelVersion
from tasks.registry import open_pipeline
from tasks.serving import current_champion
from tasks.serving.current_champion import CurrentChampion
from tasks.serving.served_model import ServedModel
from tests.unit.serving.served import pipeline_file, served, version


class Registry:
    """A registry that tests write to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.champion = ""
        self.newest = ["1"]
        self.refused: set[str] = set()
        self.loaded: list[str] = []
        monkeypatch.setattr(current_champion, "champion_of", self.champion_of)
        monkeypatch.setattr(open_pipeline, "store_of", lambda _: self)
        monkeypatch.setattr(ServedModel, "load", self.load)

    def champion_of(self, _: Any) -> ModelVersion:
        if not self.champion:
            raise UsageError("mine has no champion yet.", "Train one.")
        return version(self.champion)

    def versions(self, _: str) -> tuple[ModelVersion, ...]:
        return tuple(map(version, self.newest))

    def load(self, _: Any, wanted: ModelVersion) -> ServedModel:
        self.loaded.append(wanted.version)
        if wanted.version in self.refused:
            raise ModelRefusedError("It is another file.")
        return served(number=wanted.version)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    return Registry(monkeypatch)


def test_the_champion_is_loaded_once_and_exchanged_when_the_alias_moves(
    tmp_path: Path, registry: Registry
) -> None:
    champion = CurrentChampion(pipeline_file(tmp_path))
    registry.champion = "1"

    assert champion.look()
    assert not champion.look()
    registry.champion = "2"
    assert champion.look()

    assert registry.loaded == ["1", "2"]
    assert champion.model is not None
    assert champion.model.version.version == "2"


def test_one_that_cannot_be_loaded_or_is_gone_leaves_the_former_answering(
    tmp_path: Path, registry: Registry
) -> None:
    champion = CurrentChampion(pipeline_file(tmp_path))
    assert not champion.look()
    assert "no champion" in str(champion.problem)
    registry.champion = "1"
    champion.look()
    registry.champion, registry.refused = "2", {"2"}

    assert not champion.look()
    assert champion.model is not None
    assert champion.model.version.version == "1"
    assert champion.failures == 2


def test_a_state_that_cannot_be_written_is_named_with_its_remedy(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = CurrentChampion(pipeline_file(tmp_path))
    registry.champion = "1"

    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "/state/serving")

    monkeypatch.setattr(current_champion, "announce", refused)

    assert not champion.look()
    assert isinstance(champion.problem, InfrastructureError)
    assert "/state/serving" in champion.problem.message
    assert "Mount it for writing" in champion.problem.remedy


def test_a_challenger_answers_beside_the_champion_where_the_file_wants_it(
    tmp_path: Path, registry: Registry
) -> None:
    champion = CurrentChampion(pipeline_file(tmp_path, "scoring: {shadow: challenger}\n"))
    registry.champion, registry.newest = "1", ["3", "2", "1"]
    champion.look()
    champion.look()

    assert champion.shadow is not None
    assert champion.shadow.version.version == "3"
    assert registry.loaded == ["1", "3"]
    registry.newest = ["1"]
    champion.look()
    assert champion.shadow is None


def test_an_edited_contract_is_taken_up(tmp_path: Path, registry: Registry) -> None:
    pipeline = pipeline_file(tmp_path)
    champion = CurrentChampion(pipeline)
    registry.champion = "1"
    champion.look()
    pipeline.work.mkdir(parents=True, exist_ok=True)
    (pipeline.work / "contract.yaml").write_text("contract: mine\ncolumns: {}\n")

    assert champion.look()
    assert not champion.look()


def test_an_edited_file_is_taken_up_and_a_challenger_that_did_not_fit_is_tried_again(
    tmp_path: Path, registry: Registry
) -> None:
    shadow = "scoring: {shadow: challenger}\n"
    champion = CurrentChampion(pipeline_file(tmp_path, shadow))
    registry.champion, registry.newest, registry.refused = "1", ["3", "1"], {"3"}
    champion.look()
    assert champion.shadow is None
    registry.refused = set()
    pipeline_file(tmp_path, f"{shadow}kinds: {{x: categorical}}\n")

    assert champion.look()
    assert champion.shadow is not None
    assert registry.loaded == ["1", "3", "1", "3"]


@pytest.mark.parametrize("edit", ["name: other", "ledger: {url: 'sqlite:///o.db'}\nname: mine"])
def test_another_name_or_ledger_in_the_file_waits_for_the_next_server(
    tmp_path: Path, registry: Registry, edit: str, caplog: pytest.LogCaptureFixture
) -> None:
    former = pipeline_file(tmp_path)
    champion = CurrentChampion(former)
    registry.champion = "1"
    champion.look()
    text = former.path.read_text("utf-8")
    former.path.write_text(text.replace("name: mine", edit), "utf-8")

    assert not champion.look()
    assert champion.pipeline == former
    assert "Start the server again" in caplog.text
