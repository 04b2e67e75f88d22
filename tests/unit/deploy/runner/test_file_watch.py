"""Edits of a pipeline file while its stack runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.runner.file_watch import WatchedFiles
from tasks.base.errors import ConfigError, UsageError
from tasks.base.known_pipelines import known_pipelines, pipeline_in_use
from tasks.base.pipeline_file import load_pipeline
from tasks.base.runtime.environment import REGISTERED_VARIABLE
from tests.tables import FAST, write_churn, write_pipeline


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_pipeline(tmp_path, write_churn(tmp_path / "c.csv", 20), FAST)


def edit(file: Path, text: str) -> None:
    file.write_text(file.read_text("utf-8") + text, encoding="utf-8")


def looked(files: WatchedFiles) -> str:
    """What a look finds after one that let the file settle."""
    assert files.look() == ()
    found = files.look()
    assert files.look() == ()
    return found[0].sentence if found else ""


def test_a_valid_edit_is_accepted_and_its_keys_named(file: Path) -> None:
    files = WatchedFiles([load_pipeline(file)])
    assert looked(files) == ""

    edit(file, 'schedules: {scoring: "0 * * * *"}\n')

    assert "churn: schedules changed" in looked(files)
    assert files.pipelines[0].config.schedules.scoring == "0 * * * *"


def test_an_invalid_edit_keeps_the_last_valid_version_in_use_and_names_file_and_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load_pipeline(file)
    files = WatchedFiles([plan])
    edit(file, "scheduels: {}\n")

    said = looked(files)

    assert f"{file}, line 7" in said
    assert "`schedules`" in said
    assert "stays in use" in said
    with pytest.raises(ConfigError):
        pipeline_in_use(file)
    monkeypatch.setenv(REGISTERED_VARIABLE, json.dumps({str(file.resolve()): ""}))
    monkeypatch.setenv("KEEPFIT_STATE", str(plan.state))
    used = pipeline_in_use(file)
    assert used.config == plan.config
    assert "line 7" in used.fault
    assert [p.fault for p in known_pipelines(plan.state)] == [used.fault]

    file.write_text("\n".join(file.read_text("utf-8").splitlines()[:-1]) + "\n", encoding="utf-8")

    assert "valid" in looked(files)
    assert pipeline_in_use(file).fault == ""


def test_runs_of_a_stack_use_the_version_that_it_took_up_and_no_other_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load_pipeline(file)
    files = WatchedFiles([plan])
    monkeypatch.setenv("KEEPFIT_STATE", str(plan.state))
    monkeypatch.setenv(REGISTERED_VARIABLE, json.dumps({str(file.resolve()): ""}))
    edit(file, 'schedules: {scoring: "0 * * * *"}\n')
    assert pipeline_in_use(file).config == plan.config
    assert looked(files)
    assert pipeline_in_use(file).config.schedules.scoring == "0 * * * *"

    foreign = file.with_name("foreign.yaml")
    foreign.write_text(file.read_text("utf-8"), "utf-8")
    with pytest.raises(UsageError):
        pipeline_in_use(foreign)


def test_another_name_needs_another_start(file: Path) -> None:
    files = WatchedFiles([load_pipeline(file)])
    file.write_text(file.read_text("utf-8").replace("name: churn", "name: other"), "utf-8")

    said = looked(files)

    assert "`name` changed from churn to other" in said
    assert files.pipelines[0].config.name == "churn"


def test_a_file_that_is_half_written_is_waited_for(file: Path) -> None:
    files = WatchedFiles([load_pipeline(file)])
    whole = file.read_text("utf-8")

    file.write_text(whole[:20], "utf-8")
    assert files.look() == ()
    file.write_text(whole, "utf-8")

    assert looked(files) == ""
