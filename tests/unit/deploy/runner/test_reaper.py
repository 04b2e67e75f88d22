"""The reaper on a real Prefect API, with processes that really ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.prefect.deployments import tags_of
from deploy.runner import reaper as reaping
from deploy.runner.reaper import Reaper
from flows.prefect_runs import end_left
from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.running_flows import mark_running, marked, runner_of
from tasks.base.servers.stack_file import note_stopped
from tasks.ledger.ledger import ledger_of
from tests.prefect_api import prefect_api_in
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield where the Prefect API in use keeps its database."""
    home = tmp_path_factory.mktemp("prefect") / "home"
    with prefect_api_in(home):
        yield home


@pytest.fixture
def client() -> Iterator[Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def plan(tmp_path: Path) -> Pipeline:
    return load_pipeline(write_pipeline(tmp_path, write_churn(tmp_path / "c.csv", 20), FAST))


def reaper_of(plan: Pipeline) -> Reaper:
    return Reaper(plan.state, [plan], os.getpid())


def deployment(client: Any, flow: str = "training") -> Any:
    flow_id = client.create_flow_from_name(flow)
    return client.create_deployment(
        flow_id, "churn", tags=tags_of("churn"), enforce_parameter_schema=False
    )


def running(client: Any, deployment: Any, key: str | None = None) -> Any:
    from prefect.states import Running

    run = client.create_flow_run_from_deployment(
        deployment, parameters={"cause": {"correlation": "c0ffee"}}, idempotency_key=key
    )
    client.set_flow_run_state(run.id, Running(), force=True)
    return run


def mark_with_a_killed_process(plan: Pipeline, run: Any) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; "
        "from tasks.base.runtime.running_flows import *; "
        "mark_running(Path(sys.argv[1]), *sys.argv[2:]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(plan.state),
        str(run.id),
        os.environ["PREFECT_API_URL"],
    ]
    subprocess.run(command, cwd=ROOT, check=False)


def running_task(client: Any, run: Any) -> Any:
    """Return a task run of a flow run, which its process never ends."""
    import prefect
    from prefect.states import Running

    fit = prefect.task(name="fit candidates")(running_task)
    return client.create_task_run(fit, run.id, dynamic_key="0", state=Running())


def again(client: Any, run: Any) -> list[Any]:
    return [r for r in client.read_flow_runs(limit=200) if r.idempotency_key == f"again:{run.id}"]


def name_of(client: Any, run: Any) -> str:
    return str(client.read_flow_run(run.id).state.name)


def test_a_dead_run_is_ended_recorded_and_asked_for_again_once(client: Any, plan: Pipeline) -> None:
    reaper = reaper_of(plan)
    run = running(client, deployment(client))
    task = running_task(client, run)
    mark_with_a_killed_process(plan, run)

    assert str(run.id) in reaper.reap()
    reaper.reap()
    reaper_of(plan).reap()

    assert name_of(client, run) == "Crashed"
    assert client.read_task_run(task.id).state.name == "Crashed"
    retried = again(client, run)
    assert len(retried) == 1
    assert retried[0].parameters == run.parameters
    assert set(tags_of("churn")) <= set(retried[0].tags)
    found = ledger_of(plan).decisions("churn", kinds=["reaped"])
    assert [(d.prefect_run, d.correlation) for d in found] == [(str(run.id), "c0ffee")]
    assert marked(plan.state) == ()


def test_without_a_stack_the_next_command_ends_dead_runs_of_its_own_and_no_others(
    client: Any, plan: Pipeline
) -> None:
    mine, others = (running(client, deployment(client)) for _ in range(2))
    tasks = [running_task(client, run) for run in (mine, others)]
    mark_with_a_killed_process(plan, mine)

    end_left(plan.state)

    assert (name_of(client, mine), name_of(client, others)) == ("Crashed", "Running")
    states = [client.read_task_run(task.id).state.name for task in tasks]
    assert states == ["Crashed", "Running"]
    assert marked(plan.state) == ()


def test_what_was_asked_for_again_and_dies_too_is_not_asked_for_a_third_time(
    client: Any, plan: Pipeline
) -> None:
    run = running(client, deployment(client), key="again:11111111-1111-1111-1111-111111111111")
    mark_with_a_killed_process(plan, run)

    reaper_of(plan).reap()

    assert name_of(client, run) == "Crashed"
    assert again(client, run) == []


def test_what_a_stopped_stack_ran_is_cancelled_and_asked_for_again(
    client: Any, plan: Pipeline
) -> None:
    run = running(client, deployment(client))
    mark_with_a_killed_process(plan, run)
    note_stopped(plan.state, datetime.now(UTC) + timedelta(seconds=1))

    reaper_of(plan).reap()
    reaper_of(plan).report()

    assert name_of(client, run) == "Cancelled"
    assert len(again(client, run)) == 1
    (found,) = of_run(plan, run)
    assert (found.kind, found.evidence["again"]) == ("cancelled", True)


def test_a_run_that_had_done_its_work_when_the_stack_stopped_is_not_asked_for_again(
    client: Any, plan: Pipeline
) -> None:
    run = running(client, deployment(client))
    mark_with_a_killed_process(plan, run)
    note_stopped(plan.state, datetime.now(UTC) + timedelta(seconds=1))
    ledger_of(plan).record(made_by(run, "trained"))

    reaper_of(plan).reap()
    reaper_of(plan).report()

    assert again(client, run) == []
    assert [d.kind for d in of_run(plan, run)] == ["trained"]


def test_what_a_run_decided_and_died_before_it_told_is_told(
    client: Any, plan: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Decision] = []
    monkeypatch.setattr(reaping, "tell", lambda _, decision: told.append(decision))
    run = running(client, deployment(client, "monitoring"))
    mark_with_a_killed_process(plan, run)
    ledger_of(plan).record(made_by(run, "alarmed"))

    reaper_of(plan).reap()

    own = [decision.kind for decision in told if decision.prefect_run == str(run.id)]
    assert own == ["reaped", "alarmed"]


def made_by(run: Any, kind: Any) -> Decision:
    return Decision(
        id=f"{kind} {run.id}", pipeline="churn", kind=kind, at=datetime.now(UTC),
        correlation="c0ffee", sentence="", prefect_run=str(run.id),
    )  # fmt: skip


def test_the_end_of_the_stack_cancels_what_runs(client: Any, plan: Pipeline) -> None:
    run = running(client, deployment(client))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as runner:
        # The API's server is a child of this process, and stands still with no runner.
        assert Reaper(plan.state, [plan], runner.pid).cancel_open() >= 1
        runner.kill()

    assert name_of(client, run) == "Cancelled"
    assert len(again(client, run)) == 1
    assert [d.kind for d in of_run(plan, run)] == ["cancelled"]


def test_a_failure_that_no_automation_answered_is_recorded_once_whoever_restarts(
    client: Any, plan: Pipeline
) -> None:
    from prefect.states import Failed

    run = running(client, deployment(client))
    client.set_flow_run_state(run.id, Failed(message="it fell over"), force=True)

    assert reaper_of(plan).report() >= 1
    assert reaper_of(plan).report() == 0

    (found,) = of_run(plan, run)
    assert (found.kind, found.correlation) == ("failed", "c0ffee")
    assert found.evidence["message"] == "it fell over"


def test_a_scheduled_run_that_does_not_start_is_reported_once(client: Any, plan: Pipeline) -> None:
    from prefect.states import Cancelled, Scheduled

    due = datetime.now(UTC) - timedelta(hours=1)
    run = client.create_flow_run_from_deployment(
        deployment(client, "monitoring"), state=Scheduled(scheduled_time=due)
    )

    missed = client.create_flow_run_from_deployment(deployment(client, "scoring"))
    client.set_flow_run_state(missed.id, Cancelled(), force=True)

    reaper = reaper_of(plan)
    reaper.report()
    assert of_run(plan, run) == [], "it was due while no runner was there"
    reaper._since = due
    reaper.report()
    reaper.report()

    assert of_run(plan, missed) == []
    (found,) = of_run(plan, run)
    assert (found.evidence["flow"], found.evidence["state"]) == ("monitoring", "Late")


def of_run(plan: Pipeline, run: Any) -> list[Decision]:
    found = ledger_of(plan).decisions("churn")
    return [decision for decision in found if decision.prefect_run == str(run.id)]


def test_a_notice_is_not_given_twice(client: Any, plan: Pipeline) -> None:
    run = running(client, deployment(client, "noticing"))
    mark_with_a_killed_process(plan, run)

    reaper_of(plan).reap()

    assert name_of(client, run) == "Crashed"
    assert again(client, run) == []


def test_a_run_whose_process_lives_is_left_alone_however_old(client: Any, plan: Pipeline) -> None:
    run = running(client, deployment(client))
    mark_running(plan.state, str(run.id))
    reaper = reaper_of(plan)

    for _ in range(3):
        reaper.reap()

    assert name_of(client, run) == "Running"
    assert runner_of(plan.state, str(run.id)) is not None


def test_a_run_being_started_is_left_alone_and_one_of_an_earlier_runner_is_not(
    client: Any, plan: Pipeline
) -> None:
    row = deployment(client)
    earlier = running(client, row)
    reaper = reaper_of(plan)
    later = running(client, row)

    reaper.reap()

    assert name_of(client, earlier) == "Crashed"
    assert name_of(client, later) == "Running"


def test_a_run_of_somebody_else_is_left_alone(client: Any, plan: Pipeline) -> None:
    flow_id = client.create_flow_from_name("theirs")
    run = running(client, client.create_deployment(flow_id, "x", enforce_parameter_schema=False))

    reaper_of(plan).reap()

    assert name_of(client, run) == "Running"


def test_a_run_of_another_stack_on_the_same_server_is_left_alone(
    client: Any, plan: Pipeline
) -> None:
    flow_id = client.create_flow_from_name("training")
    other = client.create_deployment(
        flow_id, "other", tags=tags_of("other"), enforce_parameter_schema=False
    )
    run = running(client, other)

    assert str(run.id) not in map(str, reaper_of(plan).reap())

    assert name_of(client, run) == "Running"


def test_of_the_runs_that_were_missed_only_the_latest_is_made_up_for(
    client: Any, plan: Pipeline, home: Path
) -> None:
    from prefect.states import Scheduled

    row = deployment(client, "scoring")
    now = datetime.now(UTC)
    moments = [now - timedelta(hours=3), now - timedelta(hours=1), now - timedelta(hours=2)]
    ids = []
    for moment in (*moments, now + timedelta(hours=1)):
        state: Any = Scheduled(scheduled_time=moment)
        run = client.create_flow_run_from_deployment(row, state=state)
        ids.append(run)
    by_hand = client.create_flow_run_from_deployment(
        row, state=Scheduled(scheduled_time=moments[0])
    )
    make_auto_scheduled(home, ids)

    assert reaper_of(plan).skip_missed() == 2

    names = [name_of(client, run) for run in ids]
    assert names == ["Cancelled", "Scheduled", "Cancelled", "Scheduled"]
    assert name_of(client, by_hand) == "Scheduled"


def make_auto_scheduled(home: Path, runs: list[Any]) -> None:
    """Let runs look as the server's scheduler makes them; its API has no way to say so."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(home / "prefect.db", timeout=60)) as connection, connection:
        marks = ", ".join("?" * len(runs))
        changed = connection.execute(
            f"UPDATE flow_run SET auto_scheduled = 1 WHERE id IN ({marks})",
            [str(run.id) for run in runs],
        )
        assert changed.rowcount == len(runs), "the API in use keeps its runs there"
