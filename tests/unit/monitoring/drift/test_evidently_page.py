from __future__ import annotations

import html
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.base.monitoring_records import DriftResult
from tasks.base.training_records import Kind
from tasks.monitoring.drift.detector import measure
from tasks.monitoring.drift.evidently_page import _harmless, write_page
from tasks.monitoring.drift.reference_summary import build_reference

CHROMIUM = Path("/usr/bin/chromium")
_RUN = "top.ran=1;parent.postMessage('ran','*');document.title='ran'"
_SHAPES = (
    "<script>{0}</script>", "</script><script>{0}</script>", "</ScRiPt ><script>{0}</script>",
    "<!--<script>{0}</script>", "--><script>{0}</script>", "]]><script>{0}</script>",
    "<img src=x onerror=\"{0}\">", "\"><img src=x onerror='{0}'>", "'><img src=x onerror={0}>",
    "</title><script>{0}</script>", "</style><script>{0}</script>",
    "</textarea><script>{0}</script>", "</iframe><script>{0}</script>",
    "\"></iframe><script>{0}</script>", "<svg onload=\"{0}\">", "<svg><script>{0}</script></svg>",
    "<math><mtext><script>{0}</script></mtext></math>", "<body onload=\"{0}\">",
    "<details open ontoggle=\"{0}\">", "<video src=x onerror=\"{0}\">",
    "<iframe srcdoc=\"<script>{0}</script>\">", "<a href=\"javascript:{0}\">x</a>",
    "[x](javascript:{0})", "![x](x\" onerror=\"{0})", "<b onmouseover=\"{0}\">b</b>",
    "';{0};//", "\";{0};//", "\\\";{0};//", "\\\\\";{0};//", "`;{0};//", "${{{0}}}", "{{{{{0}}}}}",
    "\u2028{0}\u2029", "\u2028;{0};", "\n{0}\n", "\r\n;{0};\r\n", "*/{0}/*", "//\n{0}",
    "\\u003cscript\\u003e{0}\\u003c/script\\u003e", "&lt;script&gt;{0}&lt;/script&gt;",
    "&#60;script&#62;{0}&#60;/script&#62;", "%3Cscript%3E{0}%3C/script%3E",
    "\x00<script>{0}</script>", "\ud800<script>{0}</script>", "\u202e<script>{0}</script>",
    "<script src=http://127.0.0.1:9/a.js></script>{0}",
    "<link rel=stylesheet href=//127.0.0.1:9/b>",
    "<meta http-equiv=refresh content=\"0;url=javascript:{0}\">", "__proto__", "constructor",
)  # fmt: skip
PAYLOADS = tuple(shape.format(_RUN) for shape in _SHAPES)


def write(
    path: Path, reference: pd.DataFrame, window: pd.DataFrame, features: dict[str, Kind]
) -> DriftResult:
    made = build_reference(reference, features, None, timedelta(days=7))
    result = measure(made, window, false_alarms=0.05, min_rows=20)
    write_page(
        reference, window, features, path, findings=result.columns, rows=500, title="flights <&>"
    )
    return result


def inner(page: str) -> str:
    found = re.search(r'srcdoc="([^"]*)"', page)
    assert found is not None
    return html.unescape(found[1])


def frames(n: int = 900) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    reference = pd.DataFrame({"fee": rng.normal(size=n), "plan": rng.choice(["a", "b"], n)})
    window = pd.DataFrame({"fee": rng.normal(2, 1, n), "plan": rng.choice(["a", "b"], n)})
    return reference, window


def test_there_are_fifty_payloads() -> None:
    assert len(set(PAYLOADS)) == 50


def test_the_page_shows_keepfits_verdict_and_limit(tmp_path: Path) -> None:
    reference, window = frames()
    result = write(
        tmp_path / "p.html", reference, window, {"fee": "numeric", "plan": "categorical"}
    )
    page = (tmp_path / "p.html").read_text("utf-8")
    shown = inner(page)
    fee = next(finding for finding in result.columns if finding.column == "fee")
    assert "keepfit, ks" in shown
    assert f"{fee.statistic:.6f}"[:6] in shown
    assert "Dataset Drift is detected" in shown
    assert "flights &lt;&amp;&gt;" in page
    assert "500 training rows" in page


def test_the_page_is_framed_and_may_reach_no_network(tmp_path: Path) -> None:
    reference, window = frames()
    write(tmp_path / "p.html", reference, window, {"fee": "numeric"})
    page = (tmp_path / "p.html").read_text("utf-8")
    assert '<iframe sandbox="allow-scripts"' in page
    outside = re.sub(r'srcdoc="[^"]*"', "", page)
    assert "<script" not in outside
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', outside)
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    assert "http" not in policy[1]
    assert "connect-src" not in policy[1]


def test_odd_columns_are_left_out_or_drawn_but_do_not_crash(tmp_path: Path) -> None:
    reference, window = frames()
    n = len(reference)
    for frame in (reference, window):
        frame["constant"] = 1.0
        frame["infinite"] = np.where(np.arange(n) < 3, np.inf, np.arange(n))
        frame["when"] = pd.date_range("2020", periods=n, freq="h")
        frame["text"] = ["x" * (k % 7) for k in range(n)]
        frame["level"] = [f"l{k % 90}" for k in range(n)]
        frame["yes"] = np.arange(n) % 2 == 0
    reference["null before"] = None
    window["null before"] = 1.0
    window["null"] = None
    reference["null"] = 1.0
    reference["gone"] = 1.0
    features: dict[str, Kind] = {
        **dict.fromkeys(["fee", "constant", "infinite", "null before", "null", "gone"], "numeric"),
        **dict.fromkeys(["plan", "level"], "categorical"),
        "when": "datetime", "text": "text", "yes": "boolean",
    }  # fmt: skip
    write(tmp_path / "p.html", reference, window, features)
    page = (tmp_path / "p.html").read_text("utf-8")
    assert "3 columns without values to draw are left out" in page
    shown = inner(page)
    assert "when (days since 1970)" in shown
    assert "text (length)" in shown


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    reference = pd.DataFrame({"x": [None] * 50})
    write(tmp_path / "p.html", reference, reference, {"x": "numeric"})
    page = (tmp_path / "p.html").read_text("utf-8")
    assert "Nothing to draw" in page
    assert "<iframe" not in page


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_markup_is_left_of_a_hostile_name(payload: str) -> None:
    name = _harmless(payload)
    assert not set(name) & set("<>&\"'`\\[]{}\n\r\x00\u2028\u2029\u202e")
    assert 0 < len(name) <= 60


def _hostile_frames() -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Kind]]:
    rng = np.random.default_rng(0)
    # pandas takes no lone surrogate as a column's name; as a level it does.
    names = [payload.replace("\ud800", "") for payload in PAYLOADS]
    middle = len(names) // 2
    kinds: dict[str, Kind] = dict.fromkeys(names[:middle], "numeric")
    kinds |= dict.fromkeys([*names[middle:], "levels"], "categorical")
    sides = []
    for shift in (0, 3):
        columns: dict[str, Any] = {name: rng.normal(shift, 1, 300) for name in names[:middle]}
        for name in [*names[middle:], "levels"]:
            picked = rng.integers(0, 6 + shift if name != "levels" else len(PAYLOADS), 300)
            columns[name] = pd.Series([PAYLOADS[k] for k in picked], dtype=object)
        sides.append(pd.DataFrame(columns))
    return sides[0], sides[1], kinds


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed")
def test_in_a_browser_it_renders_offline_and_runs_no_script_of_a_name(tmp_path: Path) -> None:
    from playwright.sync_api import Page, sync_playwright

    reference, window = frames()
    write(tmp_path / "plain.html", reference, window, {"fee": "numeric", "plan": "categorical"})
    before, after, kinds = _hostile_frames()
    write(tmp_path / "hostile.html", before, after, kinds)
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip

    def opened(page: Page, name: str) -> tuple[list[str], list[str]]:
        asked: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.add_init_script("addEventListener('message', e => { if (e.data === 'ran') ran = 2 })")
        page.goto((tmp_path / name).as_uri())
        frame = page.frame_locator("iframe")
        frame.get_by_text("Data Drift Summary").wait_for(timeout=60_000)
        frame.get_by_role("row").nth(1).get_by_role("button").first.click()
        frame.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=60_000)
        return asked, errors

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        try:
            for name in ("plain.html", "hostile.html"):
                page = browser.new_page(viewport={"width": 1200, "height": 1000})
                asked, errors = opened(page, name)
                outside = [
                    u for u in asked if not u.startswith(("file:", "data:", "blob:", "about:"))
                ]
                assert outside == []
                assert errors == []
                assert page.evaluate("typeof ran") == "undefined"
                assert page.title() == "flights <&>"
                inside = page.frames[1]
                assert inside.title() != "ran"
                scripts = inside.evaluate("[...document.scripts].map(s => s.textContent)")
                assert [s for s in scripts if s.strip().startswith(_RUN[:7])] == []
                assert inside.evaluate(
                    "fetch('http://127.0.0.1:9/').then(() => 'got', () => 'refused')"
                ) == "refused"  # fmt: skip
                page.close()
        finally:
            browser.close()
