from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.base.monitoring_records import Decision
from tasks.base.servers.stack_file import RunningStack
from tasks.dashboard import page as dashboard_page
from tasks.dashboard.page import MOST_TOGETHER, write_dashboard
from tasks.dashboard.page_environment import page_script, script_source
from tasks.ledger.ledger import ledger_of
from tests.histories import WEEK, Listed, demand, flights, hostile, pipeline, reading
from tests.unit.dashboard.pages import PAYLOADS, Page

NOW = flights()[-1].at + timedelta(hours=5)


def html_of(
    folder: Path, decisions: Sequence[Decision], names: Sequence[str] = ("flights", "demand")
) -> str:
    made = [pipeline(folder, name) for name in names]
    target = folder / ".keepfit" / "dashboard" / "index.html"
    written = reading(Listed(decisions), write_dashboard, made, target, now=NOW)
    return written.read_text(encoding="utf-8")


def test_every_pipeline_has_its_card_and_its_picture(tmp_path: Path) -> None:
    page = Page(html_of(tmp_path, [*flights(), *demand()]))

    assert page.words.index("healthy") < page.words.index("stale") < page.words.index("Decisions")
    assert page.tags.count("svg") == 4
    assert "ROC AUC" in page.words
    assert "Root mean squared error" in page.words
    assert {"pipeline-0", "pipeline-1"} <= set(page.ids)


def test_every_kind_of_decision_opens_to_its_evidence(tmp_path: Path) -> None:
    decisions = [*flights(), *demand()]
    html = html_of(tmp_path, decisions)

    for kind in {d.kind for d in decisions}:
        assert '<li id="d-' in html
        assert re.search(rf'<li [^>]*class="k-{kind} p-[01] ', html), kind
    words = Page(html).words
    for told in (
        "14,812 rows in 28 blocks of time",
        "smallest to be seen",
        "column `carrier` is missing",
        "connection refused",
        "the runner died",
        "an alarm about 2013-04-15..2013-04-22",
        "cooldown",
    ):
        assert told in words, told


def test_decisions_of_a_chain_lead_to_each_other(tmp_path: Path) -> None:
    page = Page(html_of(tmp_path, flights(), ["flights"]))

    inside = [link[1:] for link in page.links if link.startswith("#d-")]
    assert len(inside) > 20
    assert set(inside) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_reports_in_the_state_folder_are_linked_relatively_while_they_are_there(
    tmp_path: Path,
) -> None:
    decisions = flights()
    trained = next(d for d in decisions if d.kind == "trained")
    file = tmp_path / ".keepfit" / trained.links["report"]
    assert f'href="../{trained.links["report"]}"' not in html_of(tmp_path, decisions)
    file.parent.mkdir(parents=True)
    file.write_text("x")

    html = html_of(tmp_path, decisions)

    assert f'href="../{trained.links["report"]}"' in html
    target = tmp_path / ".keepfit" / "dashboard"
    assert (target / "x" / ".." / ".." / trained.links["report"]).resolve() == file.resolve()
    assert 'href="http://127.0.0.1:5000/#/experiments/1/runs/' in html


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_names_stay_text(tmp_path: Path, payload: str) -> None:
    html = html_of(tmp_path, [hostile(d, payload) for d in flights()], ["flights"])
    page = Page(html)

    forbidden = {"iframe", "img", "link", "object", "form", "embed", "base", "video"}
    assert not forbidden & set(page.tags)
    # One script, of this house, with nothing of the data in it.
    assert page.tags.count("script") == 1
    assert html.count(f"<script>{page_script()}</script>") == 1
    assert page.handlers == []
    assert page.tags.count("meta") == 4
    allowed = r"#|http://127\.0\.0\.1:|http://example\.invalid/"
    assert [v for v in page.links if not re.match(allowed, v)] == []
    assert "7 * 7" not in payload or "{{ 7 * 7 }}" in page.words
    html.encode("utf-8")


def test_the_page_forbids_itself_everything_but_its_style_and_its_one_script(
    tmp_path: Path,
) -> None:
    html = html_of(tmp_path, flights())

    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy[1] == (
        f"default-src 'none'; script-src {script_source()}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_the_page_says_when_it_was_written_for_the_browser_to_tell_its_age(tmp_path: Path) -> None:
    html = html_of(tmp_path, flights())

    assert re.search(r'<span id="age" data-written="[0-9T:.-]+\+00:00"', html)
    assert 'id="old" hidden' in html


def test_without_any_record_it_says_what_to_do(tmp_path: Path) -> None:
    words = Page(html_of(tmp_path, [])).words

    assert "keepfit run" in words
    assert "Nothing was decided yet" in words
    assert "No window was monitored yet" in words
    assert "No pipeline is known here yet" in Page(html_of(tmp_path, [], [])).words
    assert [path.name for path in (tmp_path / ".keepfit").iterdir()] == ["dashboard"]


def test_a_champion_that_was_never_monitored_is_told_how_to_be(tmp_path: Path) -> None:
    words = Page(html_of(tmp_path, flights()[:3], ["flights"])).words

    assert "keepfit monitor" in words
    assert "keepfit up" in words


def test_many_decisions_are_cut_to_the_newest_and_the_rest_is_told_of(tmp_path: Path) -> None:
    many = [
        d.model_copy(update={"id": f"{d.id}{k}", "at": d.at - 30 * k * WEEK})
        for k in range(30)
        for d in flights()
        if d.kind != "scored"
    ]
    assert len(many) > 1000
    html = html_of(tmp_path, many, ["flights"])

    assert html.count("<li id=") == 360
    assert "Older ones" in Page(html).words
    assert "Older ones" not in Page(html_of(tmp_path, flights())).words
    assert len(html) < 2_000_000


def test_of_many_pipelines_each_has_a_page_that_is_written_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"p{place:02}" for place in range(MOST_TOGETHER + 1)]
    few = [d for d in flights() if d.kind != "scored"][:9]
    decisions = [
        d.model_copy(update={"pipeline": name, "id": f"{name}{d.id}"})
        for name in names
        for d in few
    ]
    target = tmp_path / ".keepfit" / "dashboard" / "index.html"
    made = [pipeline(tmp_path, name) for name in names]

    def written(told: Sequence[Decision]) -> set[str]:
        before = {path: path.stat().st_ino for path in target.parent.glob("pipeline-*.html")}
        reading(Listed(told), write_dashboard, made, target, now=NOW)
        found = target.parent.glob("pipeline-*.html")
        return {path.name for path in found if before.get(path) != path.stat().st_ino}

    assert written(decisions) == {f"pipeline-{name}.html" for name in names}
    page, own = Page(target.read_text()), Page((target.parent / "pipeline-p07.html").read_text())
    assert "svg" not in page.tags
    assert "pipeline-p07.html" in page.links
    assert "index.html" in own.links
    assert own.tags.count("svg") == 2
    assert written(decisions) == set()
    more = few[-1].model_copy(update={"pipeline": "p07", "id": "new", "kind": "failed", "at": NOW})
    assert written([*decisions, more]) == {"pipeline-p07.html"}

    at = "http://127.0.0.1:4200"
    moved = RunningStack(
        pid=1, prefect_api=f"{at}/api", prefect=at, mlflow=at, page=at, started=NOW
    )
    monkeypatch.setattr(dashboard_page, "running_stack", lambda _: moved)
    assert len(written([*decisions, more])) == len(names)


def test_a_secret_that_reached_the_ledger_does_not_reach_the_page(tmp_path: Path) -> None:
    secret = "s3cr&t<canary>"
    made = replace(pipeline(tmp_path), secrets=(secret,))
    told = [d.model_copy(update={"sentence": f"at {secret}"}) for d in flights()]

    page = reading(Listed(told), write_dashboard, [made], tmp_path / "index.html", now=NOW)

    assert "canary" not in page.read_text(encoding="utf-8")


def test_it_is_written_whole_from_real_ledgers(tmp_path: Path) -> None:
    made = [pipeline(tmp_path, name) for name in ("flights", "demand")]
    decisions = [d for d in (*flights(), *demand()) if d.kind != "scored"]
    for decision in decisions:
        ledger_of(made[0]).record(decision)
    target = tmp_path / ".keepfit" / "dashboard" / "index.html"

    assert write_dashboard(made, target, now=NOW) == target

    html = target.read_text(encoding="utf-8")
    assert [p.name for p in target.parent.glob("[!.]*")] == ["index.html"]
    reading(Listed(decisions), write_dashboard, made, target, now=NOW)
    assert html == target.read_text(encoding="utf-8")
