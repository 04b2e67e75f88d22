"""The tutorial followed as it is written, and the site built with the pages that it left."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from docs.gallery import ROOT, Tutorial, collect, followed
from docs.pictures import CHROMIUM, FLAGS
from tasks.base.settings.yaml_document import parse_yaml
from tasks.dashboard.page_environment import script_source
from tests.test_documentation import blocks

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TUTORIAL = "docs/tutorial.md"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.browser,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed"),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gallery")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Iterator[Tutorial]:
    with followed(tmp_path_factory.mktemp("reader")) as tutorial:
        collect(tutorial.state, kept)
        yield tutorial


@pytest.fixture(scope="module")
def site(told: Tutorial, kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    _program("mkdocs", "build", "--strict", "-q", "-d", folder, KEEPFIT_GALLERY=str(kept))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*FLAGS])
        yield found
        found.close()


def test_the_tutorial_ends_as_it_says(told: Tutorial) -> None:
    shown = next(text for page, text in blocks("yaml") if page == TUTORIAL)
    written = (told.folder / "late" / "keepfit.yaml").read_text(encoding="utf-8")
    trained = next(text for text in told.printed if "is the first champion" in text)
    monitored = next(text for text in told.printed if "windows looked at" in text)

    assert parse_yaml(written, Path(TUTORIAL)).values == parse_yaml(shown, Path(TUTORIAL)).values
    assert "39,992 rows to train on, 10,017 held out" in trained
    assert "Trains: retraining would bring" in " ".join(monitored.split())
    assert "Next: keepfit status late" in monitored
    assert "late: alarmed 2013-05-20..2013-05-27: Retraining would bring" in told.stack
    assert "training started (for an alarm)" in told.stack
    assert "late: promoted: " in told.stack
    assert "v2" in told.command("status late")
    assert "Alias champion moved to v2" in told.command("why late")


def test_every_page_of_the_gallery_loads_alone_and_leads_only_to_what_is_there(
    site: Path, browser: Browser
) -> None:
    pages = sorted((site / "gallery").rglob("*.html"))
    rooms = {page.parent.name if page.parent.name == "reports" else page.name for page in pages}
    assert {"reports", "index.html"} <= rooms
    assert len(pages) > 15
    with _opened(browser) as (page, asked, wrong):
        for file in pages:
            asked.clear()
            page.goto(file.as_uri())
            assert asked == [file.as_uri()]
            assert wrong == [], file
            scripts = page.locator("script").all_inner_texts()
            assert {_source(script) for script in scripts} <= {script_source()}
            for link in _links(page):
                assert (file.parent / link).resolve().is_file(), (file, link)


def test_the_site_is_searched_when_it_is_read_from_a_folder(site: Path, browser: Browser) -> None:
    with _opened(browser) as (page, asked, wrong):
        page.goto((site / "index.html").as_uri())
        page.locator("[data-md-component=search-query]").click()
        page.keyboard.type("cooldown", delay=20)
        page.locator(".md-search-result__item").first.wait_for()
        assert {urlsplit(url).scheme for url in asked} == {"file"}
        assert wrong == []


def test_versions_of_the_site_stand_side_by_side(tmp_path: Path, browser: Browser) -> None:
    """Deploy two versions into a clone, and let a browser change from one to the other."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth=1", ROOT.as_uri(), clone], check=True)
    who = {f"GIT_{one}_{key}": "k@example.org" for one in ("AUTHOR", "COMMITTER")
           for key in ("NAME", "EMAIL")}  # fmt: skip
    for version in ("0.1", "0.2"):
        _program("mike", "-q", "deploy", "--update-aliases", version, "latest", cwd=clone, **who)
    _program("mike", "-q", "set-default", "latest", cwd=clone, **who)
    served = tmp_path / "served"
    served.mkdir()
    tar = subprocess.run(
        ["git", "archive", "gh-pages"], cwd=clone, capture_output=True, check=True
    ).stdout
    subprocess.run(["tar", "-x"], cwd=served, input=tar, check=True)

    with _serving(served) as address, _opened(browser) as (page, asked, wrong):
        page.goto(f"{address}/0.1/index.html")
        page.locator(".md-version__current").wait_for()
        others = page.locator(".md-version__link")
        assert [word.strip() for word in others.all_text_contents()] == ["0.2", "0.1"]
        page.goto(str(others.first.get_attribute("href")))
        page.locator(".md-version__current", has_text="0.2").wait_for()
        assert {urlsplit(url).netloc for url in asked} == {urlsplit(address).netloc}
        assert wrong == []


@contextmanager
def _opened(browser: Browser) -> Iterator[tuple[Page, list[str], list[str]]]:
    """Yield a page, what it asks for, and what goes wrong in it."""
    page = browser.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text))
    yield page, asked, wrong
    page.close()


def _links(page: Page) -> set[str]:
    found = page.eval_on_selector_all(
        "a, image, img, link",
        "all => all.map(e => e.getAttribute('href') || e.getAttribute('src') || '')",
    )
    whole = {str(link).partition("#")[0] for link in found}
    return {unquote(link) for link in whole if link and not link.startswith("data:")}


def _source(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _program(name: str, *arguments: str | Path, cwd: Path = ROOT, **environ: str) -> None:
    home = Path(sys.executable).parent
    done = subprocess.run(
        [home / name, *arguments], cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{home}:{os.environ['PATH']}", "NO_MKDOCS_2_WARNING": "1",
             "PYTHONPATH": str(cwd), **environ},
    )  # fmt: skip
    assert done.returncode == 0, re.sub(r"\n+", "\n", done.stdout + done.stderr)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
