from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tasks.base.text.numbers import moment, number
from tasks.evaluation.findings import Diagnosis, Suspicion
from tasks.reporting.report.report import changed, render_report
from tasks.reporting.report.report_data import Change, Link, ReportData
from tasks.reporting.report.report_rows import address, code
from tests.unit.evaluation.reports import report_data

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = (
    "<script>document.title='ran'</script>",
    "</script><script>document.title='ran'</script>",
    "</title><script>document.title='ran'</script>",
    "</style><img src=x onerror=\"document.title='ran'\">",
    "\"><img src=http://example.invalid/a onerror=\"document.title='ran'\">",
    "' onmouseover='document.title=\"ran\"' style='position:fixed;inset:0",
    "</svg><svg onload=\"document.title='ran'\">",
    "{{ 7 * 7 }}{% raw %}",
    "<iframe src=http://example.invalid/></iframe><link rel=stylesheet href=//example.invalid/b>",
    "$\\frac{1}{2}$ `<b>`",
    "w" * 400,
    "日本語 \u202eabc \ud800 \x00",
)  # fmt: skip


_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class _Page(HTMLParser):
    """Elements, addresses and handlers of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name.startswith("on"):
                self.handlers.append(name)
            if name in ("href", "src", "xlink:href", "action", "data"):
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_leak_is_named_beside_the_verdict() -> None:
    leak = Suspicion(about="leak", level="warning", sentence="'paid' looks like a leak.")
    words = _Page(render_report(report_data(diagnosis=Diagnosis(suspicions=(leak,))))).words
    assert words.index("'paid' looks like a leak") < words.index("Leaderboard")


def test_how_the_challenger_came_about_stands_before_its_metrics() -> None:
    words = _Page(render_report(report_data("yes"))).words
    assert "yes is predicted from a probability of 0.2 on" in words
    assert words.index("How it came about") < words.index("precision")


def test_a_split_by_group_names_it_and_a_note_is_told_once() -> None:
    data = report_data()
    split = data.split.model_copy(update={"group": "speaker", "notes": ("one note",)})
    told = replace(data, split=split, assumptions=(*data.assumptions, "one note"))
    words = _Page(render_report(told)).words
    assert "by a stable hash of speaker: all rows of one are on one side" in words
    assert words.count("one note") == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str) -> None:
    html = render_report(report_data(name))
    page = _Page(html)
    assert not {"script", "iframe", "img", "link", "object", "form"} & set(page.tags)
    assert page.handlers == []
    outside = [v for v in page.links if not re.match(r"#|data:image/png;|http://127\.0\.0\.1", v)]
    assert outside == []
    assert "7 * 7" not in name or "{{ 7 * 7 }}" in page.words
    html.encode("utf-8")


def test_the_page_forbids_itself_everything_but_its_style_and_pictures() -> None:
    html = render_report(report_data())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


def test_the_verdict_stands_first_and_every_part_is_there() -> None:
    data = report_data()
    words = _Page(render_report(data)).words
    places = [
        words.index(text)
        for text in (
            data.verdict.sentence,
            "Data",
            "parquet files",
            "rules hold",
            "Ordered by cross-validation",
            "On the holdout, with bootstrap intervals",
            "Confusion matrix",
            "Gain in roc_auc",
            "What changed against the champion",
            "keepfit score",
        )
    ]
    assert places == sorted(places)


def test_intervals_of_scores_hold_whatever_the_gate_asks_of_a_gain() -> None:
    data = report_data()
    verdict = data.verdict.model_copy(update={"confidence": 0.8})
    page = render_report(replace(data, verdict=verdict))
    assert "in 95 of 100 cases" in page
    assert "80 % interval" in page


def _titled(data: ReportData) -> str:
    found = re.search(r"<title>(.*?)</title>", render_report(data))
    assert found is not None
    return found[1]


def test_the_title_tells_the_outcome() -> None:
    data = report_data()
    assert "promoted" in _titled(data)
    kept = data.verdict.model_copy(update={"promoted": False})
    assert "champion kept" in _titled(report_data(verdict=kept))
    assert "not promoted" in _titled(report_data(verdict=kept, champion_version=None))


def test_the_champions_score_comes_from_the_gate_where_its_metrics_are_absent() -> None:
    words = _Page(render_report(report_data())).words
    assert re.search(r"champion: v3\s*0\.500", words)


def test_an_undefined_metric_is_a_dash() -> None:
    # A label that sorts last, so that the baseline predicts no positive row.
    data = report_data("~~")
    assert data.baseline is not None
    assert data.baseline.metrics["precision"].value is None
    assert "–" in render_report(data)


def test_a_report_with_as_little_as_possible_renders() -> None:
    data = report_data()
    bare = ReportData(
        **{
            field: getattr(data, field)
            for field in (
                "pipeline", "keepfit_version", "created", "source", "snapshot", "schema", "split",
                "metric", "challenger", "verdict",
            )
        },
        leaderboard=(),
    )  # fmt: skip
    words = _Page(render_report(bare)).words
    assert "No contract was checked." in words
    assert "None were drawn." in words


def test_many_columns_are_cut_and_counted() -> None:
    data = report_data()
    kinds = {f"column {k}": "numeric" for k in range(650)}
    wide = data.snapshot.model_copy(update={"kinds": kinds})
    words = _Page(render_report(report_data(snapshot=wide))).words
    assert "and 450 more" in words
    assert "column 649" not in words


def test_what_changed_names_only_what_did() -> None:
    assert changed({"a": 1, "b": None}, {"a": 1, "b": 2}) == (Change("b", "None", "2"),)


@pytest.mark.parametrize(
    ("target", "linked"),
    [
        ("https://example.org/a?b=c", True),
        ("contract.html", True),
        ("/state/contract.html", True),
        ("//example.invalid/a.html", False),
        ("d8455f34-fd32-4d08", False),
        ("javascript:alert(1)", False),
        (" JavaScript:alert(1)", False),
        ("data:text/html,x", False),
        ("0a1b at sqlite:///mlflow.db", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_only_web_addresses_and_paths_become_links(target: str, linked: bool) -> None:
    assert (address(target) is not None) == linked
    html = render_report(report_data(links=(Link("there", target),)))
    assert ('rel="noreferrer noopener"' in html) == linked


def test_code_needs_its_closing_mark() -> None:
    assert str(code("a `b` c")) == "a <code>b</code> c"
    assert str(code("a `b")) == "a `b"


def test_numbers_keep_the_digits_their_interval_supports() -> None:
    assert number(0.123456, 0.004) == "0.1235"
    assert number(-0.0004, 0.5) == "0.00"
    assert number(float("nan")) == "–"
    assert number(1e-12) == "1e-12"


def test_times_are_shown_in_utc() -> None:
    there = timezone(timedelta(hours=2))
    assert moment(datetime(2026, 3, 1, 14, 5, tzinfo=there)) == "2026-03-01 12:05 UTC"
    assert moment(datetime(2026, 3, 1, 14, 5, tzinfo=UTC)) == "2026-03-01 14:05 UTC"


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed")
def test_in_a_browser_nothing_runs_nothing_is_fetched_nothing_overflows(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        try:
            for place, name in enumerate((*HOSTILE[:2], " ".join(HOSTILE), "w" * 400)):
                path = tmp_path / f"{place}.html"
                path.write_text(render_report(report_data(name)), encoding="utf-8")
                page = browser.new_page(viewport={"width": 390, "height": 800})
                asked: list[str] = []
                page.on("request", lambda request, asked=asked: asked.append(request.url))
                page.goto(path.as_uri())
                for summary in page.query_selector_all("summary"):
                    summary.click()
                page.mouse.move(200, 400)
                assert page.title().startswith("flights:"), name
                assert [u for u in asked if not u.startswith(("file:", "data:image/png"))] == []
                for width in (390, 1280):
                    page.set_viewport_size({"width": width, "height": 800})
                    assert page.evaluate(_OVERFLOW) <= 0, (width, name)
                page.close()
        finally:
            browser.close()


def test_a_diagnosis_stands_in_the_report_with_what_to_try_and_its_figures() -> None:
    page = _Page(render_report(report_data("churned")))
    for said in ("Diagnosis", "What to try", "Where it goes wrong", "no, overconfident", "0.7700"):
        assert said in page.words, said
    assert "Groups of churned" in page.words


def test_rows_have_no_names_in_the_report_unless_the_file_allows_them() -> None:
    data = report_data("churned")
    worst = tuple(w.model_copy(update={"row": ""}) for w in data.diagnosis.worst)
    unnamed = report_data("churned", diagnosis=data.diagnosis.model_copy(update={"worst": worst}))
    assert "report: {ids: true}" in _Page(render_report(unnamed)).words
    assert "report: {ids: true}" not in _Page(render_report(data)).words


def test_a_report_without_a_diagnosis_has_no_such_section() -> None:
    page = render_report(report_data("churned", diagnosis=Diagnosis()))
    assert 'id="diagnosis"' not in page
