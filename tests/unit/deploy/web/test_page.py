from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from deploy.web.page import page_app, served_file
from tasks.dashboard.page_environment import script_source


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    work = state / "pipelines" / "flights"
    for folder in (state / "dashboard", work / "reports", work / "monitoring" / "a", work / "fits"):
        folder.mkdir(parents=True)
    (state / "dashboard" / "index.html").write_text("<p>cards</p>")
    (work / "reports" / "one.html").write_text("<script>report</script>")
    (work / "monitoring" / "a" / "drift.html").write_text("<p>drift</p>")
    (work / "fits" / "model.json").write_text("{}")
    (state / "stack.json").write_text("{}")
    (work / "reports" / ".hidden.html").write_text("no")
    (work / "reports" / "model.skops").write_text("no")
    (work / "reports" / "link.html").symlink_to(state / "stack.json")
    return state


def get(state: Path, path: str, method: str = "GET") -> httpx.Response:
    import asyncio

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=page_app(state))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path)

    return asyncio.run(ask())


def test_the_dashboard_is_the_first_page_and_runs_only_its_one_script(state: Path) -> None:
    assert get(state, "/").headers["location"] == "/dashboard/"

    page = get(state, "/dashboard/")

    assert page.text == "<p>cards</p>"
    policy = page.headers["content-security-policy"]
    assert f"script-src {script_source()};" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["content-type"] == "text/html; charset=utf-8"


def test_before_the_first_run_it_says_so(tmp_path: Path) -> None:
    assert get(tmp_path, "/dashboard/").text.startswith("Nothing has run yet")


def test_reports_are_served_in_an_origin_of_their_own(state: Path) -> None:
    for path in (
        "/pipelines/flights/reports/one.html",
        "/pipelines/flights/monitoring/a/drift.html",
    ):
        page = get(state, path)
        policy = page.headers["content-security-policy"]
        assert page.status_code == 200
        assert policy.startswith("sandbox allow-scripts")
        assert "allow-same-origin" not in policy
        assert "default-src 'none'" in policy


@pytest.mark.parametrize(
    "path",
    [
        "/stack.json", "/dashboard/../stack.json", "/dashboard/%2e%2e/stack.json",
        "/dashboard/..%2fstack.json", "/dashboard//etc/passwd", "/dashboard/%00",
        "/dashboard/a%5cb",
        "/pipelines/flights/fits/model.json", "/pipelines/flights/reports/model.skops",
        "/pipelines/flights/reports/.hidden.html", "/pipelines/flights/reports/link.html",
        "/pipelines/flights/reports/", "/pipelines/flights/monitoring/a", "/pipelines/../reports/x",
        "/pipelines/%2e%2e/reports/one.html", "/pipelines/flights/reports/absent.html",
    ],
)  # fmt: skip
def test_nothing_else_is_served(state: Path, path: str) -> None:
    assert get(state, path).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(state: Path, method: str) -> None:
    assert get(state, "/dashboard/index.html", method).status_code == 405


def test_a_name_too_long_for_the_disk_is_not_found(tmp_path: Path) -> None:
    assert served_file(tmp_path, "a" * 5000 + ".html") is None
