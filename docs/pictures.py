"""The README's three pictures, taken of the tutorial's stack while it runs.

``python -m docs.gallery --pictures`` takes them anew, into ``docs/pictures``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.base.servers.stack_file import running_stack

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from docs.gallery import Tutorial

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip
FOLDER = Path(__file__).parent / "pictures"
_COLOURS = 128
_SIZE = {"width": 1280, "height": 1440}
_ASSISTANT = "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"

# The commands as a reader in the folder would write them.
_SHORTER = (
    "folder => document.querySelectorAll('code').forEach("
    "code => { code.textContent = code.textContent.replaceAll(folder, '') })"
)


def take(tutorial: Tutorial, folder: Path = FOLDER) -> None:
    """Take dashboard, report and MLflow's comparison of the first training's candidates."""
    folder.mkdir(parents=True, exist_ok=True)
    report = min(tutorial.state.glob("pipelines/late/reports/*.html"), key=_written)
    compared = re.search(r'href="http://[^/]*([^"]*compare-runs[^"]*)"', report.read_text("utf-8"))
    stack = running_stack(tutorial.state)
    assert compared is not None, f"{report} leads to no comparison"
    assert stack is not None, "the tutorial's stack does not run"
    with _browser() as page:
        page.goto(tutorial.command("link late").strip())
        page.get_by_role("heading", name="Decisions").wait_for()
        page.evaluate(_SHORTER, f"{tutorial.folder}/")
        _keep(page, folder / "dashboard.png")
        page.goto(report.as_uri())
        _keep(page, folder / "report.png")
        # Else MLflow opens a chat beside the first page that it shows.
        page.add_init_script(f"localStorage.setItem({_ASSISTANT!r}, 'true')")
        page.goto(f"{stack.mlflow}{unescape(compared[1])}")
        page.get_by_text("cv_mean").first.wait_for()
        # The third parameter that MLflow draws is known of two candidates only.
        page.locator("[class$=select-selection-item-remove]").nth(2).click()
        page.wait_for_timeout(3_000)
        _keep(page, folder / "compare.png")


def _written(file: Path) -> float:
    return file.stat().st_mtime


@contextmanager
def _browser() -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*FLAGS])
        yield browser.new_page(viewport=_SIZE, color_scheme="light")  # type: ignore[arg-type]
        browser.close()


def _keep(page: Page, file: Path) -> None:
    """Save what is visible, in so few colours that the file stays small."""
    from PIL import Image

    taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    few = taken.quantize(_COLOURS, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
