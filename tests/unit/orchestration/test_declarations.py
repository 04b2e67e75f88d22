"""Flows and tasks as this process runs them alone; Prefect's way is tested with the flows."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.base.errors import ContractError, TransientError
from tasks.orchestration import artifacts, declarations
from tasks.orchestration.artifacts import emit, leave
from tasks.orchestration.current_run import (
    completed,
    deployment_id,
    in_prefect,
    is_scheduled,
    run_id,
)
from tasks.orchestration.declarations import flow, task

ROOT = Path(__file__).parents[3]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(declarations.time, "sleep", waited.append)
    return waited


def failing(error: Exception, times: int) -> Any:
    left = [times]

    @task("fail", retried=(2.0, 10.0))
    def fail() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return "done"

    return fail


def test_a_task_is_tried_again_for_what_may_pass(waits: list[float]) -> None:
    assert failing(TransientError("locked"), 2)() == "done"
    assert waits == [2.0, 10.0]


def test_a_task_gives_up_after_its_last_try(waits: list[float]) -> None:
    with pytest.raises(TransientError):
        failing(TransientError("locked"), 3)()
    assert waits == [2.0, 10.0]


def test_what_does_not_pass_is_not_tried_again(waits: list[float]) -> None:
    with pytest.raises(ContractError):
        failing(ContractError("broken"), 1)()
    assert waits == []


def test_submitted_tasks_run_beside_the_flow_and_know_its_run() -> None:
    both = threading.Barrier(2, timeout=20)

    @task("meet")
    def meet() -> tuple[str, bool]:
        both.wait()
        return run_id(), threading.current_thread() is threading.main_thread()

    @flow("meeting", run_name="meeting")
    def meeting() -> list[tuple[str, bool]]:
        beside = meet.submit()
        here = meet()
        return [(run_id(), True), here, beside.result()]

    own, here, beside = meeting()
    assert own == here
    assert beside == (own[0], False)
    assert meeting()[0] != own, "each run has an id of its own"
    assert run_id() == ""


def test_a_flow_that_fails_is_cleared_when_what_it_submitted_has_ended() -> None:
    order: list[str] = []

    @task("wait")
    def wait() -> None:
        threading.Event().wait(0.1)
        order.append("submitted")

    @flow("hurry", run_name="hurry", on_unsuccessful=lambda *_: order.append("cleared"))
    def hurry() -> None:
        wait.submit()
        order.append("failed")
        raise KeyError

    with pytest.raises(KeyError):
        hurry()
    assert order == ["failed", "submitted", "cleared"]


def test_what_a_submitted_task_raises_is_raised_where_its_result_is_taken() -> None:
    @flow("taking", run_name="taking")
    def taking() -> Any:
        return failing(ContractError("broken"), 1).submit().result()

    with pytest.raises(ContractError):
        taking()


@pytest.mark.parametrize("ending", [ValueError("no"), KeyboardInterrupt()])
def test_an_unsuccessful_run_is_cleared_with_its_parameters_and_id(ending: BaseException) -> None:
    cleared: list[tuple[dict[str, Any], str]] = []
    ids: list[str] = []

    def clear(parameters: dict[str, Any], run: str) -> None:
        cleared.append((parameters, run))
        raise OSError("the store is away")

    @flow("failing", run_name="failing", on_unsuccessful=clear)
    def falling(pipeline: str, *, fresh: bool = False) -> None:
        ids.append(run_id())
        raise ending

    with pytest.raises(type(ending)):
        falling("flights.yaml", fresh=True)
    assert cleared == [({"pipeline": "flights.yaml", "fresh": True}, ids[0])]


def test_alone_nothing_is_sent_to_prefect() -> None:
    @flow("quiet", run_name="quiet")
    def quiet() -> tuple[Any, ...]:
        leave("markdown", "key", "what", markdown="text")
        event = emit("keepfit.alarm", {}, {})
        return event, completed("nothing to do"), in_prefect(), deployment_id(), is_scheduled()

    assert quiet() == ("", None, False, "", False)


def test_a_run_is_known_from_its_context_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimpleNamespace(id="r", deployment_id="d", tags=["auto-scheduled"])
    context = SimpleNamespace(get=lambda: SimpleNamespace(flow_run=run))
    monkeypatch.setitem(sys.modules, "prefect.context", SimpleNamespace(FlowRunContext=context))
    assert (in_prefect(), run_id(), deployment_id(), is_scheduled()) == (True, "r", "d", True)
    run.deployment_id, run.tags = None, []
    assert (deployment_id(), is_scheduled()) == ("", False)


def test_an_artifact_that_prefect_refuses_ends_no_run_and_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent = []

    def create(**what: Any) -> None:
        sent.append((what["key"], threading.current_thread() is threading.main_thread()))
        raise OSError("no answer")

    monkeypatch.setattr(artifacts, "in_prefect", lambda: True)
    monkeypatch.setattr("prefect.artifacts.create_markdown_artifact", create)
    leave("markdown", "key", "what", markdown="text")
    artifacts.wait()
    artifacts.wait()

    assert sent == [("key", False)]
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["no answer"]


def test_what_could_not_be_cleared_is_said_in_a_line_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: object) -> None:
        raise OSError("canary")

    @flow("filling", run_name="filling", on_unsuccessful=full)
    def filling() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        filling()

    (said,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert said.exc_info is None
    assert "filling left could not be cleared: OSError" in said.getMessage()
    assert "canary" not in said.getMessage()


_TERMINATED = """
import os, signal, sys
from tasks.orchestration.current_run import was_terminated
from tasks.orchestration.declarations import flow
@flow("ended", run_name="ended", on_unsuccessful=lambda *_: print("cleared", flush=True))
def ended():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    finally:
        print(was_terminated(), "prefect" in sys.modules, flush=True)
ended()
"""


def test_sigterm_lets_a_run_clear_up_and_then_ends_the_process_without_prefect() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TERMINATED], cwd=ROOT, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip

    assert done.stdout.split("\n") == ["True False", "cleared", ""]
    assert done.returncode == -15, done.stderr
