"""Noticing as an automation starts it: a run that failed is recorded, and told once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from flows.noticing import noticing
from tasks.base.errors import TransientError
from tasks.ledger.ledger import ledger_of
from tests.ports import free_port
from tests.prefect_api import prefect_api_in
from tests.receivers import http_receiver, mail_receiver
from tests.unit.monitoring.alerts.test_notification import pipeline
from tests.unit.monitoring.decisions import decision

CANARY = "c4n4ry53cr3t"


@pytest.fixture(scope="module", autouse=True)
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prefect_api_in(tmp_path_factory.mktemp("prefect")) as url:
        yield url


def test_prefect_uses_the_api_of_the_command_though_it_was_imported_before(
    prefect_api: str,
) -> None:
    assert PREFECT_API_URL.value() == prefect_api


@flow(name="falling over")
def falling_over(error: str) -> None:
    raise {"own": TransientError("The store is locked.", "Wait."), "other": KeyError("Alice")}[
        error
    ]


def failed_run(error: str) -> dict[str, str]:
    """Let a flow fail and return its run as an automation passes it on."""
    state = falling_over(error, return_state=True)
    run = state.state_details.flow_run_id
    return {
        "flow_run": str(run), "flow": "training", "state": str(state.name),
        "message": str(state.message),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "said"), [("own", "The store is locked."), ("other", "KeyError; the run keeps")]
)
def test_a_failed_run_is_recorded_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, said: str
) -> None:
    run = failed_run(error)
    with http_receiver() as hook, mail_receiver() as mail:
        monkeypatch.setenv("ALERT_0", hook.apprise(f"/{CANARY}"))
        monkeypatch.setenv("ALERT_1", mail.apprise())
        plan = pipeline(tmp_path, hook.apprise(f"/{CANARY}"), mail.apprise())
        first = noticing(str(plan.path), **run)
        noticing(str(plan.path), **run)

    assert first is not None
    assert first.sent == 2
    (request,) = hook.received
    assert request.json["title"] == "flights: training failed"
    assert said in request.json["message"]
    assert run["flow_run"] in request.json["message"]
    assert "Alice" not in request.json["message"]
    assert len(mail.received) == 1
    decisions = ledger_of(plan).decisions("flights")
    assert [d.kind for d in decisions] == ["alerted", "failed"]
    assert {d.correlation for d in decisions} == {decisions[0].correlation}
    assert {d.prefect_run for d in decisions} == {run["flow_run"]}


def test_a_run_that_told_why_it_stopped_is_not_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.monitoring.alerts.notification import tell

    with http_receiver() as hook:
        monkeypatch.setenv("ALERT_0", hook.apprise())
        plan = pipeline(tmp_path, hook.apprise())
        stop = decision("stopped", {"flow": "scoring", "rules": ["dest"]}, prefect_run="run-1")
        ledger_of(plan).record(stop)
        tell(plan, stop)
        noticing(str(plan.path), flow_run="run-1", flow="scoring", state="Failed")

    assert len(hook.received) == 1


def test_an_unreachable_channel_leaves_the_run_completed_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"json://me:{CANARY}@127.0.0.1:{free_port()}/{CANARY}"
    monkeypatch.setenv("ALERT_0", url)
    plan = pipeline(tmp_path, url)
    state = noticing(
        str(plan.path), flow_run="run-1", flow="training", state="Crashed", return_state=True
    )

    assert state.is_completed()
    assert [d.kind for d in ledger_of(plan).decisions("flights")] == ["unheard", "failed"]
    assert "nothing listens there" in caplog.text
    assert CANARY not in caplog.text
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        assert CANARY not in json.dumps(run.model_dump(mode="json"))
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path


def test_without_channels_the_failure_is_still_recorded(tmp_path: Path) -> None:
    plan = pipeline(tmp_path)

    assert noticing(str(plan.path), flow_run="run-1", flow="training", state="TimedOut") is None
    (failed,) = ledger_of(plan).decisions("flights")
    assert failed.sentence == "training ended as TimedOut."
