"""The loop under fire: servers that die, killed runs, slots that stay taken, storms of alarms."""

from __future__ import annotations

import ast
import signal
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from deploy.remote.alarm_probe import probe
from tasks.base.monitoring_records import new_correlation
from tasks.base.pipeline_file import Pipeline
from tasks.ledger.ledger import ledger_of
from tests.e2e.churn import (
    add_rows,
    alarm_of,
    answers,
    ask,
    event_of,
    folder,
    plan,
    stack,
    trained_for,
)
from tests.e2e.faults import say
from tests.e2e.stacks import PATIENCE, ROOT, Stack, until
from tests.e2e.test_stack import again, finished, start_training, state_of

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(2400)]
__all__ = ["folder", "plan", "stack"]
LEASE = 60  # seconds, the fewest that Prefect takes


def slots(stack: Stack) -> int:
    with stack.client() as client:
        limit = client.read_deployment_by_name("training/churn").global_concurrency_limit
    assert limit is not None
    return int(limit.active_slots)


def kill_prefect(stack: Stack, seconds: float) -> float:
    """Kill Prefect's server as often as it comes back, for so long; return how long it was away."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        with suppress(StopIteration, psutil.Error):
            stack.part("deploy.stack.server_processes prefect").kill()
        time.sleep(0.2)
    until(lambda: answers(stack))
    return time.monotonic() - began


def test_a_training_goes_on_while_its_prefect_server_is_away(stack: Stack, plan: Pipeline) -> None:
    before = len(ledger_of(plan).decisions("churn", kinds=("trained",)))
    add_rows(plan.path.parent, 40, 11)
    run = start_training(stack)

    say("away", kill_prefect(stack, 12))

    assert finished(stack, run) == "Completed"
    assert again(stack, run) == []
    assert len(ledger_of(plan).decisions("churn", kinds=("trained",))) == before + 1


def test_a_killed_training_of_an_alarm_is_done_again_and_is_no_duplicate(
    stack: Stack, plan: Pipeline
) -> None:
    add_rows(plan.path.parent, 40, 12)
    cause = alarm_of(plan, "killed")
    run = ask(stack, cause)

    stack.engine(run.id).kill()
    killed = time.monotonic()

    until(lambda: state_of(stack, run) == "Crashed")
    retried = until(lambda: again(stack, run))[0]
    say("asked for again after", time.monotonic() - killed)
    assert finished(stack, retried) == "Completed"
    (trained,) = trained_for(plan, cause.key)
    assert trained.prefect_run == str(retried.id)
    assert trained.correlation == cause.correlation
    skipped = ledger_of(plan).decisions("churn", kinds=("skipped",), correlation=cause.correlation)
    assert skipped == ()
    # Once more the same alarm, and now it is one.
    assert finished(stack, ask(stack, cause)) == "Skipped"
    assert len(trained_for(plan, cause.key)) == 1


def test_a_slot_that_a_killed_server_and_a_killed_run_held_is_free_again(
    stack: Stack, plan: Pipeline
) -> None:
    run = start_training(stack)
    engine = stack.engine(run.id)
    engine.suspend()  # it still runs when it is killed, however busy the machine
    assert slots(stack) == 1
    name, held = leased(stack)

    stack.part("deploy.stack.server_processes prefect").kill()
    engine.kill()
    killed = time.monotonic()

    until(lambda: answers(stack))
    if time.monotonic() - held < LEASE - 10:
        assert active(stack, name) == 1, "a restart alone frees nothing"
    until(lambda: state_of(stack, run) == "Crashed" and answers(stack))
    retried = until(lambda: again(stack, run))[0]
    until(lambda: state_of(stack, retried) not in {"Scheduled", "Late", "AwaitingConcurrencySlot"})
    say("held for", time.monotonic() - killed)
    assert finished(stack, retried) in {"Completed", "Skipped"}
    until(lambda: slots(stack) == 0)
    # Nobody who died gave this one back: it ends with its time, restart or not.
    until(lambda: active(stack, name) == 0)
    say("freed after", time.monotonic() - held)
    assert time.monotonic() - held > LEASE - 10


def leased(stack: Stack) -> tuple[str, float]:
    """Take a slot of a limit; return the limit's name, and when that was."""
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

    name = f"leased-{uuid4()}"
    limit = GlobalConcurrencyLimitCreate(name=name, limit=1)
    with stack.client() as client:
        client.create_global_concurrency_limit(limit)
        client.increment_concurrency_slots_with_lease(
            [name], 1, "concurrency", lease_duration=LEASE
        )
    return name, time.monotonic()


def active(stack: Stack, name: str) -> int:
    with stack.client() as client:
        return int(client.read_global_concurrency_limit_by_name(name).active_slots)


def test_a_storm_of_alarms_with_a_restart_in_it_trains_once(stack: Stack, plan: Pipeline) -> None:
    add_rows(plan.path.parent, 40, 13)
    cause = alarm_of(plan, "storm")
    events = [event_of(cause.model_copy(update={"correlation": new_correlation()}))
              for _ in range(350)]  # fmt: skip
    # Three in ten are sent twice: the same event, with its id.
    storm = [*events[:175], *events[:150], *events[175:]]
    with stack.client() as client:
        for first in range(0, len(storm), 10):
            if first == 250:
                stack.part("deploy.stack.server_processes prefect").kill()
            send(client, storm[first : first + 10])
    for _ in range(4):
        ask(stack, cause)

    runs = settled(stack)
    say("runs", len(runs))
    say("events", len(storm))
    assert len(trained_for(plan, cause.key)) == 1
    states = [str(run.state.name) for run in runs]
    assert states.count("Completed") == 1, states
    assert set(states) == {"Completed", "Skipped"}, states
    skips = ledger_of(plan).decisions("churn", kinds=("skipped",))
    assert {"duplicate"} <= {str(d.evidence["withheld"]) for d in skips}


def send(client: Any, events: list[dict[str, Any]]) -> None:
    """Send events until the server has taken them."""

    def taken() -> bool:
        try:
            client.request("POST", "/events", json=events)
        except httpx.HTTPError:
            return False
        return True

    until(taken)


def settled(stack: Stack) -> list[Any]:
    """Return the runs since the storm, once its events are handled and all runs have ended."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    with stack.client() as client:
        training = client.read_deployment_by_name("training/churn").id
        # Events are handled in their order: with the probe, all of the storm are.
        probe(client, "churn", training, PATIENCE)
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[training]))

    def over() -> list[Any]:
        with stack.client() as client:
            found = client.read_flow_runs(deployment_filter=wanted, limit=200)
        runs = [r for r in found if not r.auto_scheduled and "storm" in str(r.parameters)]
        return runs if all(run.state is not None and run.state.is_final() for run in runs) else []

    return list(until(over, 900))


def test_no_duration_is_taken_from_a_clock_that_jumps() -> None:
    """Only moments come from the clock on the wall: none is subtracted from another as it runs."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("flows", "deploy", "tasks", "expectations")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Sub)
        and any(_is_wall_clock(side) for side in (node.left, node.right))
    ]

    # Ages of files, runs and versions, which outlive a process; none is a duration of its work.
    assert {place.rpartition(":")[0] for place in found} <= AGES, found


AGES = {
    "deploy/doctor/checks.py", "deploy/retention/state_folder.py", "deploy/web/session_access.py",
    "flows/commands.py", "tasks/models/run_context.py", "tasks/data/sources/file_completeness.py",
    "tasks/registry/mlflow/runs.py", "tasks/training/interrupted_promotion.py",
}  # fmt: skip


def _is_wall_clock(node: ast.expr) -> bool:
    called = ast.unparse(node)
    return called.startswith(("time.time()", "datetime.now(", "datetime.utcnow("))


def test_ctrl_c_after_all_of_it_leaves_nothing(stack: Stack) -> None:
    tree = stack.tree()

    assert stack.end(signal.SIGINT) == 0

    assert not any(p.is_running() and p.status() != "zombie" for p in tree)
