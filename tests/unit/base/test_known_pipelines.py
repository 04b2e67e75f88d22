"""Which pipeline files flow runs accept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.errors import UsageError
from tasks.base.known_pipelines import pipeline_in_use, registration
from tasks.base.pipeline_file import load_pipeline
from tasks.base.runtime.environment import REGISTERED_VARIABLE
from tests.tables import write_churn, write_pipeline


def test_a_deployed_file_runs_with_the_content_that_was_deployed_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_pipeline(tmp_path, write_churn(tmp_path / "c.csv", 20))
    other = tmp_path / "other.yaml"
    other.write_text(file.read_text("utf-8"), "utf-8")
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    monkeypatch.setenv(REGISTERED_VARIABLE, registration(load_pipeline(file)))

    assert pipeline_in_use(file).config == pipeline_in_use(link).config
    with pytest.raises(UsageError, match="not registered"):
        pipeline_in_use(other)
    file.write_text(file.read_text("utf-8") + "# other hooks\n", "utf-8")
    with pytest.raises(UsageError, match="edited") as refused:
        pipeline_in_use(file)
    assert f"keepfit deploy {file}" in refused.value.remedy
    assert pipeline_in_use(file, edited=True).config.name == "churn"

    monkeypatch.setenv(REGISTERED_VARIABLE, registration(load_pipeline(file)))
    assert pipeline_in_use(file).config.name == "churn"
