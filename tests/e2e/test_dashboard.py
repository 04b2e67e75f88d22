"""The dashboard and a window's page as a person sees them, in a real browser."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks.base.monitoring_records import Decision
from tasks.dashboard.page import write_dashboard
from tasks.dashboard.window_page import window_html
from tests.histories import WEEK, Listed, demand, flights, hostile, pipeline, reading
from tests.unit.dashboard.pages import PAYLOADS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
NOW = flights()[-1].at + timedelta(hours=5)
_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
              "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=_ARGUMENTS)
        yield found
        found.close()


def written(folder: Path, decisions: Sequence[Decision], *names: str) -> Path:
    """Return the page of `decisions`, with the pages of its windows beside it."""
    state = folder / ".keepfit"
    for decision in decisions:
        if decision.kind == "monitored":
            page = state / decision.links["report"]
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(window_html(decision), encoding="utf-8")
    made = [pipeline(folder, name) for name in names or ("flights", "demand")]
    target = state / "dashboard" / "index.html"
    sizes = {"ledger": 3_400_000, "MLflow": 18_000_000}
    return reading(Listed(decisions), write_dashboard, made, target, now=NOW, sizes=sizes)


class Visit:
    """A page, all that it asked for, and all that went wrong in it."""

    def __init__(self, browser: Browser, width: int = 1280, **how: bool | str) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 900}, **how)  # type: ignore[arg-type]
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.page.on("console", lambda said: self.errors.append(said.text))


def test_everything_is_there_at_every_width_in_light_and_dark(
    tmp_path: Path, browser: Browser
) -> None:
    target = written(tmp_path, [*flights(), *demand()], "flights", "demand", "churn")
    grounds = set()
    for scheme in ("light", "dark"):
        visit = Visit(browser, color_scheme=scheme)
        visit.page.goto(target.as_uri())
        visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        for width in (380, 700, 810, 1000, 1280, 1920):
            visit.page.set_viewport_size({"width": width, "height": 900})
            assert visit.page.evaluate(_OVERFLOW) <= 0, width
            pictures = visit.page.locator("svg.story:visible")
            assert pictures.count() == 2, width
            letters = pictures.first.evaluate(
                "svg => 12 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width"
            )
            assert letters >= 9.5, (width, letters)
        grounds.add(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert visit.asked == [target.as_uri()]
        assert visit.errors == []
        visit.page.close()
    assert len(grounds) == 2


def test_decisions_open_filter_and_lead_to_each_other(tmp_path: Path, browser: Browser) -> None:
    target = written(tmp_path, [*flights(), *demand()])
    visit = Visit(browser, java_script_enabled=False)
    page = visit.page
    page.goto(target.as_uri())

    assert page.locator("li.k-scored:visible").count() == 0
    assert page.locator("li.k-alerted:visible").count() == 7
    page.uncheck("#k-alerted")
    page.check("#k-monitored")
    page.uncheck("#p-1")
    assert page.locator("li.k-alerted:visible").count() == 0
    assert page.locator("li.k-monitored.p-0:visible").count() == 19
    assert page.locator("li.p-1:visible").count() == 0

    entry = page.locator("li.k-promoted.p-0").first
    assert not entry.locator(".evidence").is_visible()
    entry.locator("summary").click()
    assert entry.locator(".evidence").is_visible()
    assert "14,812" in entry.inner_text()
    entry.locator("a", has_text="trained").click()
    page.wait_for_selector("li:target.k-trained", state="attached")
    page.close()


def test_a_keyboard_reaches_the_decisions_and_opens_them(tmp_path: Path, browser: Browser) -> None:
    visit = Visit(browser)
    visit.page.goto(written(tmp_path, flights(), "flights").as_uri())

    visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url("**#decisions")
    for _ in range(40):
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("#decisions details[open]").count() == 1
    visit.page.close()


def test_a_window_in_the_picture_opens_its_page_and_leads_back(
    tmp_path: Path, browser: Browser
) -> None:
    decisions = [
        d.model_copy(update={"links": {**d.links, "report": _placed(tmp_path, d)}})
        if d.kind == "monitored"
        else d
        for d in flights()
    ]
    target = written(tmp_path, decisions, "flights")
    served = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0),
        functools.partial(_Quiet, directory=str(tmp_path / ".keepfit")),
    )
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        for address in (
            target.as_uri(),
            f"http://127.0.0.1:{served.server_address[1]}/dashboard/index.html",
        ):
            visit = Visit(browser)
            visit.page.goto(address)
            visit.page.locator(".wide svg.story a").nth(6).click()
            visit.page.wait_for_load_state()
            assert "This window is an alarm" in visit.page.inner_text("main")
            assert visit.page.evaluate(_OVERFLOW) <= 0
            visit.page.click("text=All decisions")
            visit.page.wait_for_selector("li:target.k-monitored")  # routine is hidden otherwise
            assert visit.errors == []
            visit.page.close()
    finally:
        served.shutdown()
        served.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _placed(folder: Path, decision: Decision) -> str:
    window = f"v{decision.version}-{decision.window}"
    rooms = folder / ".keepfit" / "pipelines" / "flights" / "monitoring"
    return str(rooms / window / "index.html")


def one_of_each() -> list[Decision]:
    """Return the newest decision of each kind, and a few windows."""
    kinds = {d.kind: d for d in flights()}
    return [*kinds.values(), *[d for d in flights() if d.kind == "monitored"][4:9]]


def test_fifty_payloads_run_nothing_and_fetch_nothing(tmp_path: Path, browser: Browser) -> None:
    assert len(PAYLOADS) == 50
    looked = next(d for d in flights() if d.kind == "monitored" and d.evidence["alarm"])
    visit = Visit(browser, 380)
    for first in range(0, 50, 10):
        payloads = {f"p{k}": PAYLOADS[k] for k in range(first, first + 10)}
        spoilt = [
            hostile(d, payload).model_copy(update={"pipeline": name, "id": f"{name}-{d.id}"})
            for name, payload in payloads.items()
            for d in one_of_each()
        ]
        made = [pipeline(tmp_path, name) for name in payloads]
        dashboard = tmp_path / "dashboard.html"
        reading(Listed(spoilt), write_dashboard, made, dashboard, now=NOW)
        look(visit, dashboard, "keepfit: 10 pipelines", str(payloads))
    for payload in PAYLOADS:
        window = tmp_path / "window.html"
        window.write_text(window_html(hostile(looked, payload)), encoding="utf-8")
        look(visit, window, "flights v1, ", payload)
    visit.page.close()


def look(visit: Visit, file: Path, title: str, payload: str) -> None:
    """Open a page and everything in it; nothing of `payload` may run or fetch."""
    visit.asked.clear()
    visit.page.goto(file.as_uri())
    visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    visit.page.mouse.move(150, 400)
    visit.page.keyboard.press("Tab")
    assert visit.page.title().startswith(title), payload
    assert visit.asked == [file.as_uri()], payload
    assert visit.errors == [], payload
    assert visit.page.evaluate(_OVERFLOW) <= 0, payload


def test_a_thousand_decisions_stay_usable(tmp_path: Path, browser: Browser) -> None:
    many = [
        d.model_copy(update={"id": f"{d.id}{k}", "at": d.at - 30 * k * WEEK})
        for k in range(30)
        for d in flights()
        if d.kind != "scored"
    ]
    assert len(many) > 1000
    visit = Visit(browser, 380)
    visit.page.goto(written(tmp_path, many, "flights").as_uri())

    assert visit.page.locator("ol.timeline > li").count() == 360
    visit.page.uncheck("#k-alerted")
    assert visit.page.locator("li.k-alerted:visible").count() == 0
    assert "Older ones" in visit.page.inner_text("#decisions")
    assert visit.page.evaluate(_OVERFLOW) <= 0
    visit.page.close()


def test_a_page_without_any_record_says_what_to_do(tmp_path: Path, browser: Browser) -> None:
    visit = Visit(browser, 380)
    visit.page.goto(written(tmp_path, [], "flights").as_uri())

    assert "keepfit run" in visit.page.inner_text("body")
    assert visit.page.evaluate(_OVERFLOW) <= 0
    visit.page.close()
