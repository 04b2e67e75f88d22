"""The documentation in the terminal."""

from __future__ import annotations

import re
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


def test_every_page_that_run_and_init_lead_to_stands_in_the_navigation_of_the_site(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path(documentation.__file__).parents[2]
    named = {
        name
        for file in (root / "flows").rglob("*.py")
        for call in re.findall(r"where_explained(?:\(|, \()([^)]*)", file.read_text("utf-8"))
        for name in re.findall(r'"([\w-]+)"', call)
    }

    class Stated:
        def get_all(self, _: str) -> list[str]:
            return ["Documentation, https://example.org"]

    monkeypatch.setattr(documentation, "metadata", lambda _: Stated())
    led = {documentation.where_explained(name) for name in named}
    navigation = (root / "mkdocs.yml").read_text("utf-8")

    assert {"report", "pipeline-file", "contract"} <= named
    assert [
        url for url in led
        if url.removeprefix("https://example.org/").replace(".html", ".md") not in navigation
    ] == []  # fmt: skip


def test_the_installed_package_brings_the_pages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(documentation, "__file__", str(tmp_path / "a" / "b" / "documentation.py"))

    assert "report" in documentation.pages()
