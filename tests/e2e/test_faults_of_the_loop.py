"""The loop under fire: servers that die, runs that are killed, storms, races, odd clocks."""

from __future__ import annotations

import ast
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import psutil
import pytest

from deploy.api import speaking_to
from deploy.automations import ALARM, resource_of
from deploy.deployments import DEPLOYED, deployment_of
from deploy.upcoming import next_runs
from tasks.base.loop import Cause, Decision, DriftResult, Window, new_correlation
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.ledger.ledger import ledger_of
from tests.e2e.faults import Going, say
from tests.e2e.stacks import ROOT, Stack, running, until
from tests.e2e.test_stack import again, finished, start_training, state_of
from tests.program import keepfit
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1200)]
# Once a year: nothing starts by itself while a test runs.
LOOP = FAST + (
    'schedules: {training: "0 3 1 1 *", timezone: Europe/Berlin}\n'
    "policy: {persistence: 1 of 1, cooldown: 0s, probation: 0}\n"
)
WEEK = Window(start=datetime(2026, 3, 2, tzinfo=UTC), end=datetime(2026, 3, 9, tzinfo=UTC))


def add_rows(folder: Path, rows: int, seed: int) -> None:
    """Let rows arrive at the source, so that there is something new to train on."""
    data = folder / "c.csv"
    start = data.read_text(encoding="utf-8").count("\n") - 1
    later = write_churn(folder / f"later-{seed}.csv", rows, seed, start=start)
    more = later.read_text(encoding="utf-8").split("\n", 1)[1]
    data.write_text(data.read_text(encoding="utf-8") + more, encoding="utf-8")
    later.unlink()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loop")
    write_pipeline(folder, write_churn(folder / "c.csv"), LOOP)
    first = keepfit("run", folder, "--json")
    assert first.status == 0, first.err
    return folder


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    with running(folder) as stack:
        yield stack


@pytest.fixture
def plan(folder: Path) -> Pipeline:
    return load_pipeline(folder)


def alarm_of(plan: Pipeline, name: str) -> Cause:
    """Record that a window of the champion drifted; return the cause of the training it calls for.

    `name` makes its key: as a monitoring pass would, but for a window of its own.
    """
    from tasks.registry.stores import store_of

    champion = store_of(plan.state).champion("churn")
    assert champion is not None
    now = datetime.now(UTC)
    drift = DriftResult(
        rows=1000, reference_rows=1000, enough=True, alarm=True, false_alarms=0.05, columns=()
    )
    correlation = new_correlation()
    ledger_of(plan).record(
        Decision(
            id=f"monitored-{name}", pipeline="churn", kind="monitored", at=now,
            correlation=correlation, sentence="drift", version=champion.version, window=WEEK,
            evidence={"rows": 1000, "alarm": True, "enough": True, "performance": [],
                      "drift": drift.model_dump(mode="json")},
        )
    )  # fmt: skip
    key = f"alarm:v{champion.version}:{name}"
    return Cause(kind="alarm", correlation=correlation, key=key, window=WEEK, at=now)


def ask(stack: Stack, cause: Cause, **parameters: Any) -> Any:
    with stack.client() as client:
        deployment = client.read_deployment_by_name("training/churn")
        given = {**deployment.parameters, "cause": cause.model_dump(mode="json"), **parameters}
        return client.create_flow_run_from_deployment(deployment.id, parameters=given)


def trained_for(plan: Pipeline, key: str) -> list[Decision]:
    found = ledger_of(plan).decisions("churn", kinds=("trained",))
    return [d for d in found if d.evidence["cause"]["key"] == key]  # type: ignore[index,call-overload]


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
            stack.part("deploy.servers prefect").kill()
        time.sleep(0.2)
    until(lambda: answers(stack), 120)
    return time.monotonic() - began


def answers(stack: Stack) -> bool:
    try:
        health = httpx.get(f"{stack.addresses.prefect_api}/health", timeout=5)
    except httpx.HTTPError:
        return False
    return health.status_code == 200


def test_a_training_goes_on_while_its_prefect_server_is_away(stack: Stack, plan: Pipeline) -> None:
    before = len(ledger_of(plan).decisions("churn", kinds=("trained",)))
    add_rows(plan.path.parent, 40, 11)
    run = start_training(stack)

    say("away", kill_prefect(stack, 20))

    assert finished(stack, run) == "Completed"
    assert again(stack, run) == []
    assert len(ledger_of(plan).decisions("churn", kinds=("trained",))) == before + 1


def test_a_killed_training_of_an_alarm_is_done_again_and_is_no_duplicate(
    stack: Stack, plan: Pipeline
) -> None:
    add_rows(plan.path.parent, 40, 12)
    cause = alarm_of(plan, "killed")
    run = ask(stack, cause)
    until((stack.state / "runs" / f"{run.id}.json").exists, 120)

    stack.part("prefect.engine").kill()
    killed = time.monotonic()

    until(lambda: state_of(stack, run) == "Crashed", 120)
    retried = until(lambda: again(stack, run), 60)[0]
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
    assert slots(stack) == 1
    engine = stack.part("prefect.engine")

    stack.part("deploy.servers prefect").kill()
    engine.kill()
    killed = time.monotonic()

    until(lambda: answers(stack), 120)
    until(lambda: state_of(stack, run) == "Crashed" and answers(stack), 150)
    retried = until(lambda: again(stack, run), 60)[0]
    until(lambda: state_of(stack, retried) not in {"Scheduled", "Late", "AwaitingConcurrencySlot"},
          150)  # fmt: skip
    say("held for", time.monotonic() - killed)
    assert finished(stack, retried) in {"Completed", "Skipped"}
    until(lambda: slots(stack) == 0, 60)


def test_a_lease_outlives_a_killed_server_and_ends_with_its_time(stack: Stack) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

    name = f"leased-{uuid4()}"
    with stack.client() as client:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        client.increment_concurrency_slots_with_lease([name], 1, "concurrency", lease_duration=60)
    held = time.monotonic()
    stack.part("deploy.servers prefect").kill()
    until(lambda: answers(stack), 120)

    def active() -> int:
        with stack.client() as client:
            return int(client.read_global_concurrency_limit_by_name(name).active_slots)

    assert active() == 1, "a restart alone frees nothing"
    until(lambda: active() == 0, 150)
    say("freed after", time.monotonic() - held)
    assert time.monotonic() - held > 50


def test_a_storm_of_alarms_with_a_restart_in_it_trains_once(stack: Stack, plan: Pipeline) -> None:
    add_rows(plan.path.parent, 40, 13)
    cause = alarm_of(plan, "storm")
    events = [event_of(cause.model_copy(update={"correlation": new_correlation()}))
              for _ in range(700)]  # fmt: skip
    sent = 0
    with stack.client() as client:
        for number in range(1_000):
            if number == 500:
                stack.part("deploy.servers prefect").kill()
            # Three in ten were sent before: the same event, with its id.
            place = number if number < 350 else number - (350 if number < 650 else 300)
            send(client, events[place])
            sent += 1
    for _ in range(4):
        ask(stack, cause)

    runs = until(lambda: settled(stack), 600)
    say("runs", len(runs))
    say("events", sent)
    assert len(trained_for(plan, cause.key)) == 1
    states = [str(run.state.name) for run in runs]
    assert states.count("Completed") == 1, states
    assert set(states) == {"Completed", "Skipped"}, states
    skips = ledger_of(plan).decisions("churn", kinds=("skipped",))
    assert {"duplicate"} <= {str(d.evidence["withheld"]) for d in skips}


def event_of(cause: Cause) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": ALARM,
        "resource": {
            "prefect.resource.id": resource_of("churn"),
            "prefect.resource.name": "churn",
            "keepfit.retrain": "true",
            "keepfit.correlation": cause.correlation,
        },
        "payload": {"cause": cause.model_dump(mode="json"), "sentence": "", "reasons": []},
    }


def send(client: Any, event: dict[str, Any]) -> None:
    """Send an event until the server has taken it."""

    def taken() -> bool:
        try:
            client.request("POST", "/events", json=[event])
        except httpx.HTTPError:
            return False
        return True

    until(taken, 120)


_seen: dict[str, tuple[int, float]] = {}


def settled(stack: Stack) -> list[Any]:
    """Return the runs since the storm, once all have ended and none has come for 75 s."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    with stack.client() as client:
        deployment = client.read_deployment_by_name("training/churn").id
        wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        found = client.read_flow_runs(deployment_filter=wanted, limit=200)
    runs = [r for r in found if not r.auto_scheduled and "storm" in str(r.parameters)]
    count, since = _seen.get("storm", (-1, 0.0))
    if len(runs) != count:
        _seen["storm"] = (len(runs), time.monotonic())
        return []
    over = all(run.state is not None and run.state.is_final() for run in runs)
    return runs if over and time.monotonic() - since > 75 else []


def test_of_four_trainings_at_once_one_trains_and_the_others_find_it_done(
    tmp_path: Path,
) -> None:
    write_pipeline(tmp_path, write_churn(tmp_path / "c.csv"), LOOP)
    four = [Going(tmp_path, "run", tmp_path, "--json") for _ in range(4)]
    ran = [going.ended(500) for going in four]

    assert [one.status for one in ran] == [0] * 4, [one.err for one in ran]
    assert {one.answer["model"]["version"] for one in ran} == {"1"}
    assert len({one.answer["mlflow_run_id"] for one in ran}) == 1
    assert sum("fitted, the baseline among them" in one.err for one in ran) == 1
    assert sum("trained already" in one.err for one in ran) == 3
    decisions = ledger_of(load_pipeline(tmp_path)).decisions("churn")
    assert sorted(d.kind for d in decisions) == ["promoted", "trained"]


def test_promotions_by_hand_that_race_follow_each_other(tmp_path: Path) -> None:
    from tasks.registry.stores import store_of

    write_pipeline(tmp_path, write_churn(tmp_path / "c.csv"), LOOP)
    for seed in (21, 22):
        assert keepfit("run", tmp_path, "--json").status == 0
        add_rows(tmp_path, 60, seed)
    plan = load_pipeline(tmp_path)
    store = store_of(plan.state)
    before = store.champion("churn")
    assert before is not None
    racing = [Going(tmp_path, "promote", v, tmp_path, "--json") for v in ("1", "2", "1", "2")]
    ran = [going.ended() for going in racing]

    assert [one.status for one in ran] == [0] * 4, [one.err for one in ran]
    after = store.champion("churn")
    assert after is not None
    moves = [d for d in ledger_of(plan).decisions("churn", kinds=("promoted",))
             if d.evidence["by"] == "hand"]  # fmt: skip
    assert 1 <= len(moves) <= 4
    champion, left = before.version, [(str(d.evidence["former"]), str(d.version)) for d in moves]
    while left:
        # Each was decided over the champion that another had made.
        found = next((move for move in left if move[0] == champion), None)
        assert found is not None, (champion, left)
        left.remove(found)
        champion = found[1]
    assert champion == after.version


NEW_YORK = ZoneInfo("America/New_York")
SPRING = datetime(2027, 3, 13, 5, tzinfo=UTC)  # the clocks go forward on the 14th
AUTUMN = datetime(2027, 11, 6, 4, tzinfo=UTC)  # and back on the 7th
SHOWN_AGAIN = datetime(2027, 11, 7, 6, tzinfo=UTC)


@pytest.mark.parametrize("start", [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_a_change_of_the_clocks_neither_skips_nor_doubles_a_run(
    stack: Stack, tmp_path: Path, start: datetime
) -> None:
    crons = {"training": "30 2 * * *", "scoring": "30 1 * * *", "monitoring": "0 * * * *"}
    keys = ", ".join(f'{flow}: "{cron}"' for flow, cron in crons.items())
    name = f"clock-{start:%b}".lower()
    file = write_pipeline(
        tmp_path, write_churn(tmp_path / "c.csv", 20),
        f"{FAST}schedules: {{{keys}, timezone: America/New_York}}\n",
    )  # fmt: skip
    file.write_text(file.read_text().replace("name: churn", f"name: {name}"))
    plan, end = load_pipeline(file), start + timedelta(days=3)

    for row in DEPLOYED[:3]:
        done = on_the_server(stack, plan, row, start, end)
        told = as_told(plan, row.flow, start, end)

        assert told == done, "`up` and `status` tell what the server does"
        local = [moment.astimezone(NEW_YORK) for moment in done]
        if row.flow == "monitoring":
            hours = [start + timedelta(hours=n) for n in range(72)]
            # An hour that the clock shows twice counts once; the next run makes up for it.
            assert done == [hour for hour in hours if hour != SHOWN_AGAIN]
        else:
            days = [moment.date() for moment in local]
            assert len(days) == len(set(days)) == 3, local


def on_the_server(
    stack: Stack, plan: Pipeline, row: Any, start: datetime, end: datetime
) -> list[datetime]:
    """Let the real server schedule a deployment between two moments; return its runs' times."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    with speaking_to(stack.addresses.prefect_api):
        identity = UUID(str(deployment_of(plan, row).apply()))
    with stack.client() as client:
        asked = {"start_time": start.isoformat(), "end_time": end.isoformat(), "max_runs": 100,
                 "min_time": (end - start).total_seconds()}  # fmt: skip
        client.request("POST", f"/deployments/{identity}/schedule", json=asked)
        wanted = DeploymentFilter(id=DeploymentFilterId(any_=[identity]))
        runs: list[Any] = []
        while page := client.read_flow_runs(deployment_filter=wanted, limit=200, offset=len(runs)):
            runs += page
        client.delete_deployment(identity)
    due = sorted(run.expected_start_time for run in runs)
    return [moment.astimezone(UTC) for moment in due if start <= moment < end]


def as_told(plan: Pipeline, flow: str, start: datetime, end: datetime) -> list[datetime]:
    """Return the moments that keepfit tells as next, one after the other."""
    found: list[datetime] = []
    moment = start - timedelta(seconds=1)
    while True:
        run = next(r for r in next_runs([plan], moment) if r.deployment.startswith(f"{flow}/"))
        assert run.at is not None
        moment = run.at.astimezone(UTC)
        if moment >= end:
            return found
        found.append(moment)


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
    "deploy/checks.py", "deploy/retention.py", "flows/commands.py", "tasks/models/fitting.py",
    "tasks/registry/runs.py",
}  # fmt: skip


def _is_wall_clock(node: ast.expr) -> bool:
    called = ast.unparse(node)
    return called.startswith(("time.time()", "datetime.now(", "datetime.utcnow("))


def test_ctrl_c_in_the_middle_of_a_storm_leaves_nothing(stack: Stack) -> None:
    tree = stack.tree()

    assert stack.end(signal.SIGINT) == 0

    assert not any(p.is_running() and p.status() != "zombie" for p in tree)
