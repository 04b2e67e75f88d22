from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.base.monitoring_records import Decision, DriftResult, Gain, PolicyDecision
from tasks.dashboard.window_page import ordered, window_html
from tests.histories import flights, hostile
from tests.unit.dashboard.pages import PAYLOADS, Page

MONITORED = [d for d in flights() if d.kind == "monitored"]
ALARM = next(d for d in MONITORED if d.evidence["alarm"])


def words(decision: Decision) -> str:
    return Page(window_html(decision)).words


def changed(**evidence: object) -> Decision:
    return ALARM.model_copy(update={"evidence": {**ALARM.evidence, **evidence}})


def test_both_answers_stand_plainly_on_the_page() -> None:
    drift = ALARM.evidence["drift"]
    assert isinstance(drift, dict)
    harm = {"measure": "outside", "value": 0.26, "limit": 0.2, "found": True, "columns": ["temp"]}
    segment = {"column": "origin", "value": "JFK", "rows": 300, "harmful": True}
    stated = {
        "window": None, "version": "1", "metric": "roc_auc", "rows": 9, "worse": True,
        "segments": [
            {"column": "carrier", "value": "AA", "rows": 300, "loss": 1.9, "reference": 0.4,
             "p_value": 0.001, "worse": True}
        ],
    }  # fmt: skip
    drift = {**drift, "segments": [segment]}
    assert re.search(r"carrier = AA\s*loss 1.9\d*, 0.4\d*", words(changed(performance=[stated])))
    text = words(
        changed(
            drift={
                **drift,
                "harm_sentence": "could hurt in JFK",
                "harmful": True,
                "alarm": False,
                "harm": [harm],
                "restless": True,
            }
        )
    )
    assert re.search(r"could it hurt\?\s*yes", text)
    assert re.search(r"is it unusual\?\s*no", text)
    assert re.search(r"rows outside what was learned\s*beyond\s*26 %\s*20 %\s*temp", text)
    assert "retrain on a schedule" in text
    assert "Could hurt in JFK." in text
    assert re.search(r"origin = JFK\s*could hurt", text)


def test_several_columns_of_a_measure_stay_in_one_cell_where_cells_become_rows() -> None:
    drift = ALARM.evidence["drift"]
    assert isinstance(drift, dict)
    columns = ["temp", "dest"]
    harm = {"measure": "outside", "value": 0.26, "limit": 0.2, "found": True, "columns": columns}

    page = window_html(changed(drift={**drift, "harm": [harm], "harmful": True}))

    (cell,) = re.findall(r'<td data-label="Most by">(.*?)</td>', page)
    assert re.fullmatch(r"<span>.*temp.*, .*dest.*</span>", cell)


def test_the_verdict_stands_first_and_every_part_is_there() -> None:
    text = words(ALARM)
    places = [
        text.index(part)
        for part in (
            "This window is an alarm",
            "moved: 2.",
            "What keepfit makes of it",
            "persistence",
            "Realised",
            "0.7",
            "by its importance to the champion",
            "p, corrected",
            "Every rule holds, with warnings",
            ALARM.correlation,
        )
    ]
    assert places == sorted(places)


def test_what_retraining_would_bring_stands_before_performance_with_its_method() -> None:
    gain = Gain(
        version="2", metric="roc_auc", gain=0.04, low=0.03, high=0.05, rows=5402, family="lightgbm",
        refreshed=0.74, champion=0.7, rows_fitted=4000, rows_available=9000, seconds=2.5,
    )  # fmt: skip
    policy = PolicyDecision(retrain=True, by=("gain",), weighed="pays")
    text = words(changed(gain=gain.model_dump(mode="json"), policy=policy.model_dump(mode="json")))

    assert "Retraining would bring 0.040 (0.030 to 0.050) ROC AUC on 5,402 labelled rows." in text
    assert "fitted on 4,000 of 9,000 rows, in 2.5 s" in text
    assert text.index("What retraining would bring") < text.index("Realised")
    skipped = Gain(version="2", metric="roc_auc", skipped="no recipe")
    said = words(changed(gain=skipped.model_dump(mode="json")))
    assert "Gain not measured: the champion's version does not record how it was fitted" in said


def test_what_moved_stands_first_by_importance_then_what_is_odd() -> None:
    drift = DriftResult.model_validate(ALARM.evidence["drift"])
    found = ordered(drift)

    moved = [c for c in found if c.drifted]
    assert list(found[: len(moved)]) == moved
    assert [c.importance for c in moved] == sorted((c.importance or 0 for c in moved), reverse=True)
    assert found[len(moved)].unseen > 0


def test_a_window_of_too_few_rows_is_not_judged() -> None:
    few = next(d for d in MONITORED if not d.evidence["enough"])

    assert "Not enough data for a judgement" in words(few)
    assert "140 rows are too few" in words(few)


def test_a_quiet_window_whose_pass_calls_for_a_training_is_not_called_free_of_action() -> None:
    policy = {"retrain": True, "reasons": ["gain"], "withheld": "", "sentence": "Trains: gain."}
    text = words(changed(alarm=False, policy=policy))
    assert "Nothing calls for action" not in text
    assert "No alarm in this window, yet a training is called for" in text


def test_broken_rules_and_warnings_are_listed() -> None:
    contract = {"passed": False, "broken": ["`a`: nulls 100 %"], "warnings": ["`b`: new"]}

    text = words(changed(contract=contract))

    assert "These rows break their contract" in text
    assert "`a`: nulls 100 %" in text
    assert "`b`: new" in text


def test_absent_evidence_is_said_to_be_absent() -> None:
    text = words(ALARM.model_copy(update={"evidence": {}, "window": None, "links": {}}))

    assert "No column was compared." in text
    assert "Nothing is known of performance" in text
    assert "after its newest window" in text


def test_numbers_that_are_none_are_dashes() -> None:
    drift = DriftResult.model_validate(ALARM.evidence["drift"])
    bare = {"statistic": None, "threshold": None, "p_value": None, "missing": None}
    odd = tuple(
        c.model_copy(update={**bare, "importance": None, "notes": ("all null",)})
        for c in drift.columns
    )
    text = words(changed(drift=drift.model_copy(update={"columns": odd}).model_dump(mode="json")))

    assert "all null" in text
    assert "nan" not in text.lower().replace("maintenance", "")


def test_many_columns_are_cut_and_counted() -> None:
    drift = DriftResult.model_validate(ALARM.evidence["drift"])
    many = tuple(drift.columns[0].model_copy(update={"column": f"c{k}"}) for k in range(650))
    wide = drift.model_copy(update={"columns": many}).model_dump(mode="json")

    assert "and 250 more" in words(changed(drift=wide))


def test_it_links_to_its_neighbour_and_to_the_decisions(tmp_path: Path) -> None:
    folder = tmp_path / "pipelines" / "flights" / "monitoring" / "v1-2013-04-15..2013-04-22"
    given = {
        "report": str(folder / "index.html"),
        "evidently": str(folder / "evidently.html"),
        "mlflow": "http://127.0.0.1:5000/#/experiments/2/runs/abc",
        "prefect": "javascript:alert(1)",
    }
    page = Page(window_html(ALARM.model_copy(update={"links": given})))

    dashboard = f"../../../../dashboard/index.html#d-{ALARM.id}"
    assert page.links == ["evidently.html", given["mlflow"], dashboard]
    assert (folder / dashboard.partition("#")[0]).resolve() == tmp_path / "dashboard" / "index.html"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_names_stay_text(payload: str) -> None:
    html = window_html(hostile(ALARM, payload))
    page = Page(html)

    assert not {"script", "iframe", "img", "link", "object", "form", "base"} & set(page.tags)
    assert page.handlers == []
    assert page.tags.count("meta") == 4
    # What is no address of a server is a page beside this one.
    assert [v for v in page.links if not re.match(r"http://|[^/:]+(/|\.html$)", v)] == []
    html.encode("utf-8")
