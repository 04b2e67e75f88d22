"""The documentation in the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.terminal import documentation
from tasks.base.errors import UsageError


def test_a_page_is_named_by_the_site_where_the_package_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stated:
        def get_all(self, name: str) -> list[str] | None:
            assert name == "Project-URL"
            return ["Source, https://example.org/code", "Documentation, https://example.org/docs/"]

    assert documentation.where_explained("report") == "keepfit docs report"
    monkeypatch.setattr(documentation, "metadata", lambda _: Stated())
    assert documentation.where_explained("report") == "https://example.org/docs/how-to/report.html"


def test_every_page_that_commands_name_is_there_and_a_wrong_name_is_mended() -> None:
    assert {"index", "report", "pipeline-file", "contract"} <= set(documentation.pages())
    assert documentation.page_text("report").startswith("# ")
    with pytest.raises(UsageError, match="'report'"):
        documentation.page_text("reprot")


def test_the_installed_package_brings_the_pages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(documentation, "__file__", str(tmp_path / "a" / "b" / "documentation.py"))

    assert "report" in documentation.pages()
