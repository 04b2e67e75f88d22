"""The whole stack: real servers, real kills."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from tasks.base.pipeline_file import load_pipeline
from tasks.base.runtime.running_flows import runner_of
from tasks.base.servers.stack_file import running_stack
from tasks.ledger.ledger import ledger_of
from tests.e2e.stacks import PATIENCE, Stack, get, gone, post, running, until
from tests.postgres import Server, postgres_server
from tests.prefect_api import migrated
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.postgres, pytest.mark.timeout(2400)]
__all__ = ["postgres_server"]

# Once a year: nothing starts by itself while a test runs.
SCHEDULES = 'schedules: {training: "0 3 1 1 *", scoring: "30 4 1 1 *", timezone: Europe/Berlin}\n'
NAMES = ("Prefect", "MLflow", "keepfit's page", "the runner", "the checker")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stack")
    write_pipeline(folder, write_churn(folder / "c.csv"), FAST + SCHEDULES)
    return folder


@pytest.fixture(scope="module")
def stack(folder: Path, postgres_server: Server) -> Iterator[Stack]:
    """Yield a stack whose servers keep their data in PostgreSQL."""
    engine = sa.create_engine(postgres_server.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in ("stack_prefect", "stack_mlflow"):
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    with running(
        folder,
        KEEPFIT_PREFECT_DATABASE=postgres_server.url("stack_prefect"),
        KEEPFIT_MLFLOW_DATABASE=postgres_server.url("stack_mlflow"),
    ) as stack:
        yield stack


def port(address: str) -> int:
    found = urlsplit(address).port
    assert found is not None
    return found


def test_it_says_where_everything_is_and_what_runs_next(stack: Stack) -> None:
    found = stack.addresses

    assert all(f"{name} is up" in stack.err for name in NAMES)
    for address in (found.prefect, found.mlflow, found.page):
        assert address.startswith("http://127.0.0.1:")
        assert address in stack.out
    assert "training/churn" in stack.out
    assert max(map(len, stack.out.splitlines())) <= 80
    assert found.pid == stack.process.pid
    with stack.client() as client:
        names = {d.name for d in client.read_deployments()}
        schedules = client.read_deployment_by_name("training/churn").schedules
    assert names == {"churn"}
    assert [s.active for s in schedules] == [True]


@pytest.mark.parametrize("server", ["prefect", "mlflow", "page"])
def test_a_foreign_name_or_origin_gets_nothing(stack: Stack, server: str) -> None:
    address = str(getattr(stack.addresses, server))
    evil = {"host": "evil.example"}
    origin = {"origin": "http://evil.example"}

    assert get(address, auth=stack.login, follow_redirects=True).status_code == 200
    assert get(address).status_code == 401
    assert get(address, auth=stack.login, headers=evil).status_code == 400
    assert post(address, headers=origin).status_code == 403


def test_the_servers_close_what_the_stack_does_not_need(stack: Stack) -> None:
    api, mlflow = stack.addresses.prefect_api, stack.addresses.mlflow

    refused = post(f"{api}/flow_runs/filter", json={}, auth=stack.login)
    assert refused.status_code == 403, "no CSRF token"
    for path in ("assistant/config", "gateway/secrets/list", "jobs/x", "ui-telemetry"):
        assert get(f"{mlflow}/ajax-api/3.0/mlflow/{path}").status_code == 404
    address = f"{mlflow}/ajax-api/2.0/mlflow/experiments/search?max_results=5"
    found = get(address, auth=stack.login)
    assert found.status_code == 200


def test_a_second_stack_on_the_folder_is_told_about_the_first(stack: Stack, folder: Path) -> None:
    second = Stack(folder)

    assert second.process.wait(PATIENCE) == 2
    assert f"process {stack.process.pid}" in second.err
    assert stack.addresses.prefect in second.err
    assert running_stack(stack.state) is not None


@pytest.mark.parametrize(("kind", "name"), [("mlflow", "MLflow"), ("prefect", "Prefect")])
def test_a_server_that_dies_comes_back_where_it_was(stack: Stack, kind: str, name: str) -> None:
    before = stack.err.count(f"{name} is up again")

    stack.part(f"deploy.stack.server_processes {kind}").kill()

    until(lambda: stack.err.count(f"{name} is up again") > before)
    path = "/api/health" if kind == "prefect" else "/health"
    assert get(getattr(stack.addresses, kind) + path).status_code == 200


def test_edits_are_taken_up_or_leave_the_last_valid_version_in_use(
    stack: Stack, folder: Path
) -> None:
    file = folder / "keepfit.yaml"
    before = file.read_text("utf-8")

    file.write_text(before + "scheduels: {}\n", "utf-8")
    until(lambda: f"{file}, line {len(before.splitlines()) + 1}" in stack.err)
    address = f"{stack.addresses.page}/dashboard/"
    page = until(lambda: get(address, auth=stack.login).text)
    until(lambda: "scheduels" in get(address, auth=stack.login).text)
    file.write_text(before.replace("30 4 1 1 *", "40 4 1 1 *"), "utf-8")
    until(lambda: "churn: schedules changed" in stack.err)

    assert "data-due" in page
    with stack.client() as client:
        (schedule,) = client.read_deployment_by_name("scoring/churn").schedules
    assert schedule.schedule.cron == "40 4 1 1 *"
    file.write_text(before, "utf-8")


def request_training(stack: Stack) -> Any:
    with stack.client() as client:
        deployment = client.read_deployment_by_name("training/churn")
        parameters = {**deployment.parameters, "fresh": True}
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters)


def start_training(stack: Stack) -> Any:
    """Start a training and return its run once its process works on it."""
    run = request_training(stack)
    stack.engine(run.id)
    return run


def again(stack: Stack, run: Any) -> list[Any]:
    with stack.client() as client:
        return [
            r for r in client.read_flow_runs(limit=200) if r.idempotency_key == f"again:{run.id}"
        ]


def state_of(stack: Stack, run: Any) -> str:
    with stack.client() as client:
        return str(client.read_flow_run(run.id).state.name)


def finished(stack: Stack, run: Any) -> str:
    ends = {"Completed", "Failed", "Crashed", "Skipped"}
    return str(until(lambda: (s := state_of(stack, run)) in ends and s))


def test_a_training_whose_runner_is_killed_ends_with_it_and_is_done_again_once(
    stack: Stack, folder: Path
) -> None:
    run, plan = start_training(stack), load_pipeline(folder)
    engine = stack.engine(run.id)
    until(lambda: list((plan.work / "fits").glob("*/candidates")), every=0.1)
    # In the middle of its fits it stands still: however busy the machine, it is not over first.
    engine.suspend()
    assert state_of(stack, run) == "Running"
    tree = [engine, *engine.children(recursive=True)]
    killed = time.monotonic()

    stack.part("deploy.runner.runner").kill()

    assert gone(tree)
    until(lambda: state_of(stack, run) == "Crashed")
    found = until(lambda: again(stack, run))
    assert time.monotonic() - killed < PATIENCE
    assert finished(stack, found[0]) == "Completed"
    assert len(again(stack, run)) == 1
    ledger = ledger_of(plan)
    reaped = ledger.decisions("churn", kinds=["reaped"])
    assert [(d.prefect_run, d.evidence["again"]) for d in reaped] == [(str(run.id), True)]
    made = {d.kind: d for d in ledger.decisions("churn", kinds=["trained", "promoted"])}
    assert made["trained"].prefect_run == made["promoted"].prefect_run == str(found[0].id)
    assert made["promoted"].version == "1"


def test_a_failed_run_is_recorded_and_on_the_page_without_any_automation(
    stack: Stack, folder: Path
) -> None:
    with stack.client() as client:
        for automation in client.read_automations_by_name("keepfit churn: failed run → notice"):
            client.delete_automation(automation.id)
        deployment = client.read_deployment_by_name("training/churn")
        run = client.create_flow_run_from_deployment(
            deployment.id, parameters={"pipeline": str(folder / "absent.yaml")}
        )
    ledger = ledger_of(load_pipeline(folder))

    def recorded() -> list[Any]:
        failed = ledger.decisions("churn", kinds=["failed"])
        return [d for d in failed if d.prefect_run == str(run.id)]

    (failed,) = until(recorded)
    assert failed.evidence["flow"] == "training"
    page = f"{stack.addresses.page}/dashboard/"
    until(lambda: "absent.yaml" in get(page, auth=stack.login).text)


def test_both_servers_keep_their_data_in_postgresql(stack: Stack, postgres_server: Server) -> None:
    assert stack.end(signal.SIGTERM) == 0

    for name, table in (("stack_prefect", "flow_run"), ("stack_mlflow", "model_versions")):
        engine = sa.create_engine(postgres_server.url(name))
        with engine.connect() as connection:
            count = connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar()
        engine.dispose()
        assert count
    assert not (stack.state / "prefect" / "prefect.db").exists()
    assert not (stack.state / "mlflow" / "mlflow.db").exists()
    for path in (p for p in stack.state.rglob("*") if p.is_file()):
        assert postgres_server.password.encode() not in path.read_bytes(), path


def test_a_stopped_stack_leaves_nothing_and_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / ".keepfit").mkdir(mode=0o700)
    migrated(tmp_path / ".keepfit" / "prefect")
    write_pipeline(tmp_path, write_churn(tmp_path / "c.csv"), FAST + SCHEDULES)
    (tmp_path / "tmp").mkdir()
    with running(tmp_path, TMPDIR=str(tmp_path / "tmp")) as first:
        run = start_training(first)
        names = ("prefect.db", "mlflow.db")
        kept = [p for p in first.state.rglob("*") if p.name.startswith(names)]
        assert {oct(p.stat().st_mode & 0o077) for p in (*kept, first.state)} == {"0o0"}
        assert len(kept) >= len(names)
        tree, found = first.tree(), first.addresses

        assert first.end(signal.SIGINT) == 0

        assert "cancelled 1 of its runs" in first.err
        assert gone(tree)
        assert not (tmp_path / "tmp" / "runner_storage").exists()
        assert running_stack(first.state) is None
        for address in (found.prefect, found.mlflow, found.page):
            with socket.socket() as free:
                free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                free.bind(("127.0.0.1", port(address)))
    with running(tmp_path) as second:
        assert state_of(second, run) == "Cancelled"
        (cancelled,) = ledger_of(load_pipeline(tmp_path)).decisions("churn", kinds=["cancelled"])
        assert (cancelled.prefect_run, cancelled.evidence["again"]) == (str(run.id), True)
        assert not ledger_of(load_pipeline(tmp_path)).decisions("churn", kinds=["failed", "reaped"])
        retried = until(lambda: again(second, run))
        assert finished(second, retried[0]) == "Completed"
        with second.client() as client:
            schedules = client.read_deployment_by_name("training/churn").schedules
        assert [s.active for s in schedules] == [True]
        run = request_training(second)
        engine = until(lambda: second.started(run.id), every=0.05)
        # Not even a flow run that stands still before keepfit's code begins in it goes on.
        engine.suspend()
        assert runner_of(second.state, str(run.id)) is None
        tree = second.tree()

        second.end(signal.SIGKILL)

        assert engine in tree
        assert gone(tree), "a killed supervisor takes all with it"
        assert running_stack(second.state) is None


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    write_pipeline(tmp_path, write_churn(tmp_path / "c.csv", 20), FAST)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]

        stack = Stack(tmp_path, {"mlflow_port": taken})

        assert stack.process.wait(PATIENCE) == 2
    assert f"Port {taken} for MLflow" in stack.err
    assert running_stack(stack.state) is None


def test_a_wrong_password_is_told_without_it(tmp_path: Path, postgres_server: Server) -> None:
    write_pipeline(tmp_path, write_churn(tmp_path / "c.csv", 20), FAST)
    url = postgres_server.url(password="canary-7431")

    stack = Stack(tmp_path, KEEPFIT_PREFECT_DATABASE=url)

    assert stack.process.wait(PATIENCE) == 1
    assert "Prefect ended with status" in stack.err
    assert "canary-7431" not in stack.err
