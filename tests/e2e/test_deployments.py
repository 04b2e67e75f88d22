"""Deployments and automations on a real Prefect server, which is restarted on the way."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from deploy.doctor import checks
from deploy.prefect import automations
from deploy.prefect.api import connected, deployment_named, speaking_to
from deploy.prefect.automations import (
    apply_automations,
    automations_of,
    remove_automations,
    standing_automations,
)
from deploy.prefect.deployments import DEPLOYED
from deploy.remote.alarm_probe import emit_alarm, run_caused_by
from deploy.remote.remote_deployment import Applied, deploy
from flows.prefect_runs import pipeline_tag
from tasks.base.errors import InfrastructureError, UsageError
from tasks.base.monitoring_records import Cause, Window, new_correlation
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.environment import turn_telemetry_off
from tasks.base.servers.stack_file import RunningStack
from tests.e2e.churn import event_of
from tests.e2e.clocks import AUTUMN, NEW_YORK, SHOWN_AGAIN, SPRING, as_told, on_the_server
from tests.e2e.stacks import PATIENCE, until
from tests.ports import free_port
from tests.prefect_api import migrated
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


class PrefectServer:
    """A server with all its services, on one database, that can be started again."""

    def __init__(self, home: Path, port: int) -> None:
        self.api = f"http://127.0.0.1:{port}/api"
        self._home, self._port = home, port
        self.start()

    def start(self) -> None:
        environ = {
            **os.environ,
            "PREFECT_HOME": str(self._home),
            "PREFECT_API_URL": "",
            "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        }
        turn_telemetry_off(environ)
        place = ("--host", "127.0.0.1", "--port", str(self._port))
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--no-ui", *place],
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually(self._healthy)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api}/health", timeout=10):  # noqa: S310 - loopback
                return True
        except OSError:
            return False

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=PATIENCE)


def eventually(look: Callable[[], Any]) -> Any:
    """Return what `look` returns as soon as it is something."""
    return until(look, every=0.2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    running = PrefectServer(migrated(tmp_path_factory.mktemp("prefect")), free_port())
    with pytest.MonkeyPatch.context() as patch, speaking_to(running.api):
        patch.setenv("PREFECT_API_URL", running.api)
        with connected() as client:
            for name, kind, variables in (
                ("local", "process", ("env", "working_dir")),
                ("boxes", "docker", ("env", "image", "volumes")),
                ("pods", "kubernetes", ("env", "image")),
                ("elsewhere", "ecs", ("env", "image")),
            ):
                client.request("POST", "/work_pools/", json=_pool(name, kind, variables))
        yield running
    running.stop()


def _pool(name: str, kind: str, variables: tuple[str, ...]) -> dict[str, Any]:
    properties = {variable: {"title": variable} for variable in variables}
    configuration = {variable: f"{{{{ {variable} }}}}" for variable in variables}
    template = {"job_configuration": configuration, "variables": {"properties": properties}}
    return {"name": name, "type": kind, "base_job_template": template}


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Pipeline]:
    def write(name: str, **keys: Any) -> Pipeline:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        settings = {
            "name": name,
            "target": "progression",
            "source": {"kind": "demo", "name": "diabetes"},
            "schedules": {"training": "30 2 * * 0", "timezone": "Europe/Berlin"},
            **keys,
        }
        (folder / "keepfit.yaml").write_text(json.dumps(settings))
        return load_pipeline(folder)

    return write


def _changes(applied: Applied) -> dict[str, str]:
    return {one.name: one.change for one in applied.deployments}


def _deploy(pipeline: Pipeline, **options: Any) -> Applied:
    return deploy([pipeline.path], **{"pool": "local", **options})


def _runs(client: Any, name: str, *, scheduled: bool = False) -> list[Any]:
    """Return the runs of a deployment that the calendar asked for, or those it did not."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_named(client, name).id]))
    found = client.read_flow_runs(deployment_filter=wanted)
    return [run for run in found if run.auto_scheduled == scheduled]


def _cause(**keys: Any) -> Cause:
    now = datetime.now(UTC)
    return Cause(kind="alarm", correlation=new_correlation(), at=now, **keys)


def _start(client: Any, name: str, **parameters: str) -> UUID:
    """Return a run of the deployment `name` that counts as running."""
    from prefect.states import Running

    deployment = deployment_named(client, name).id
    run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
    client.set_flow_run_state(run.id, Running(), force=True)
    return UUID(str(run.id))


def _is_crashed(client: Any, run: UUID) -> bool:
    state = client.read_flow_run(run).state
    return state is not None and bool(state.is_crashed())


def test_deploying_twice_changes_nothing(
    server: PrefectServer, project: Callable[..., Pipeline]
) -> None:
    pipeline = project("twice")
    flows = ("training", "scoring", "monitoring", "noticing")

    first, second = _deploy(pipeline), _deploy(pipeline)

    assert _changes(first) == {f"{flow}/twice": "created" for flow in flows}
    assert _changes(second) == {f"{flow}/twice": "unchanged" for flow in flows}
    assert (len(first.automations), second.automations) == (3, ())
    assert all(one.removed for one in (*first.probes, *second.probes))
    with connected() as client:
        training = deployment_named(client, "training/twice")
        assert _runs(client, "training/twice") == []
    assert training.entrypoint == "flows.deployed.training"
    assert training.parameters == {"pipeline": str(pipeline.path.resolve())}
    assert set(training.tags) == {"keepfit", "keepfit.pipeline:twice"}
    assert training.global_concurrency_limit is not None
    assert training.global_concurrency_limit.limit == 1


def test_a_changed_file_changes_its_deployments_only(
    server: PrefectServer, project: Callable[..., Pipeline]
) -> None:
    _deploy(project("still"))
    _deploy(project("moved"))

    changed = project("moved", schedules={"scoring": "0 * * * *"})
    applied = deploy([changed.path, project("still").path], pool="local")

    with connected() as client:
        training = deployment_named(client, "training/moved")
        scoring = deployment_named(client, "scoring/moved")
    updated = {name for name, change in _changes(applied).items() if change == "updated"}
    flows = ("training", "scoring", "monitoring", "noticing")
    assert updated == {f"{flow}/moved" for flow in flows}
    stated = (scoring.job_variables or {})["env"]["KEEPFIT_PIPELINES"]
    assert json.loads(stated) == {
        str(changed.path.resolve()): hashlib.sha256(changed.path.read_bytes()).hexdigest()
    }
    assert training.schedules == []
    assert [one.schedule.cron for one in scoring.schedules] == ["0 * * * *"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pool": "nowhere"}, "prefect work-pool create nowhere --type process"),
        ({"pool": "elsewhere"}, "keepfit deploys to process, docker, kubernetes"),
        ({"kind": "docker"}, "is of type process, not docker"),
        ({"pool": "boxes"}, "--image NAME:TAG"),
        ({"image": "keepfit:1"}, "Leave out --image"),
    ],
)
def test_a_pool_that_does_not_fit_is_refused_before_anything_is_made(
    server: PrefectServer, project: Callable[..., Pipeline], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        _deploy(project("nofit"), **options)

    assert said in str(refused.value)
    with connected() as client, pytest.raises(InfrastructureError, match="no deployment"):
        deployment_named(client, "training/nofit")


@pytest.mark.parametrize("pool", ["boxes", "pods"])
def test_containers_get_their_image_and_no_telemetry(
    server: PrefectServer, project: Callable[..., Pipeline], pool: str
) -> None:
    pipeline = project(f"in-{pool}")

    _deploy(pipeline, pool=pool, image="registry.example/keepfit:1")

    with connected() as client:
        variables = deployment_named(client, f"training/in-{pool}").job_variables
    assert variables["image"] == "registry.example/keepfit:1"
    assert variables["env"]["DO_NOT_TRACK"] == "true"
    assert variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    mounted = f"{pipeline.root}:{pipeline.root}"
    assert (mounted in variables.get("volumes", ())) == (pool == "boxes")


def test_a_storm_of_alarms_trains_once_and_swallows_no_probe(
    server: PrefectServer, project: Callable[..., Pipeline]
) -> None:
    pipeline = project("storm")
    _deploy(pipeline)
    week = Window(start=datetime(2013, 3, 4, tzinfo=UTC), end=datetime(2013, 3, 11, tzinfo=UTC))
    causes = [_cause(key=f"k{i % 80}", reasons=('"</script>{{ 7 * 7 }}é',), window=week)
              for i in range(120)]  # fmt: skip
    began = time.monotonic()
    storm = [event_of(cause, "storm") for cause in causes]

    with connected() as client:
        training = deployment_named(client, "training/storm").id
        client.request("POST", "/events", json=storm)
        eventually(lambda: _runs(client, "training/storm"))
        again = _deploy(pipeline)
        # Events are handled in their order: with the probe, all of the storm are.
        assert len(again.probes) == 1
        runs = _runs(client, "training/storm")
    minutes = (time.monotonic() - began) / 60

    assert 1 <= len(runs) <= 1 + minutes, "one a minute"
    sent = {cause.correlation: cause for cause in causes}
    for run in runs:
        arrived = run.parameters["cause"]
        assert isinstance(arrived, dict)
        assert isinstance(arrived["window"], dict)
        assert isinstance(arrived["reasons"], list)
        assert Cause.model_validate(arrived) == sent[arrived["correlation"]]
    assert training == runs[0].deployment_id


def test_an_alarm_that_asks_for_nothing_starts_nothing(
    server: PrefectServer, project: Callable[..., Pipeline]
) -> None:
    _deploy(project("calm"))
    silent, asking = _cause(), _cause()

    with connected() as client:
        training = deployment_named(client, "training/calm").id
        emit_alarm(client, "calm", silent, {"keepfit.retrain": "false"})
        emit_alarm(client, "calm", asking)
        eventually(lambda: run_caused_by(client, training, asking.correlation))

        assert run_caused_by(client, training, silent.correlation) is None


def test_a_failed_and_a_silent_run_are_told_once_each_and_notices_never(
    server: PrefectServer, project: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.states import Failed

    monkeypatch.setattr(automations, "SILENCE", timedelta(seconds=15))
    _deploy(project("ill"))
    message = "broken: \"'</script>{{ 3 * 3 }}"
    with connected() as client:
        silent = _start(client, "training/ill")
        heartbeat = {
            "id": str(uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": "prefect.flow-run.heartbeat",
            "resource": {"prefect.resource.id": f"prefect.flow-run.{silent}"},
            "related": [
                {
                    "prefect.resource.id": f"prefect.tag.{pipeline_tag('ill')}",
                    "prefect.resource.role": "tag",
                }
            ],
        }
        client.request("POST", "/events", json=[heartbeat])
        last_sign = time.monotonic()
        broken = _start(client, "scoring/ill")
        notice = _start(client, "noticing/ill", flow_run="other", flow="training", state="Failed")
        client.set_flow_run_state(notice, Failed(message="not told"), force=True)
        client.set_flow_run_state(broken, Failed(message=message), force=True)
        told = eventually(lambda: _notices(client))
        assert told == {str(broken): ("scoring", "Failed", message)}

        eventually(lambda: _is_crashed(client, silent))
        assert time.monotonic() - last_sign > 10
        eventually(lambda: len(_notices(client)) > 1)
        told = _notices(client)

    assert set(told) == {str(broken), str(silent)}
    assert told[str(silent)][:2] == ("training", "Crashed")
    assert "No sign of life for 15 s" in told[str(silent)][2]


def _notices(client: Any) -> dict[str, tuple[str, str, str]]:
    runs = (run.parameters for run in _runs(client, "noticing/ill"))
    return {
        p["flow_run"]: (p["flow"], p["state"], p["message"])
        for p in runs
        if p["flow_run"] != "other"
    }


def test_automations_that_are_not_wanted_go_and_others_stay(
    server: PrefectServer, project: Callable[..., Pipeline]
) -> None:
    pipeline = project("tidy")
    _deploy(pipeline)
    _deploy(project("neighbour"))
    with connected() as client:
        ids = [deployment_named(client, f"{flow}/tidy").id for flow in ("training", "noticing")]
        alarm, failure, silence = automations_of(pipeline, *ids)
        former = alarm.model_copy(update={"name": "keepfit tidy: of an earlier version"})
        foreign = alarm.model_copy(update={"name": "mine", "tags": []})
        for extra in (former, foreign, failure):
            client.create_automation(extra)
        silent = next(a for a in standing_automations(client, "tidy") if a.name == silence.name)
        client.pause_automation(silent.id)

        changed = apply_automations([pipeline])

        standing = [a.name for a in standing_automations(client, "tidy")]
        assert sorted(changed) == sorted([former.name, failure.name, silence.name])
        assert sorted(standing) == sorted([alarm.name, failure.name, silence.name])
        assert all(a.enabled for a in standing_automations(client, "tidy"))
        assert [a.name for a in client.read_automations_by_name("mine")] == ["mine"]
        assert len(standing_automations(client, "neighbour")) == 3
        assert apply_automations([pipeline]) == ()
        assert len(remove_automations(["tidy"])) == 3
        assert len(standing_automations(client, "neighbour")) == 3


def test_a_broken_automation_fails_the_probe_with_what_to_look_at(
    server: PrefectServer, project: Callable[..., Pipeline]
) -> None:
    from deploy.remote.alarm_probe import probe

    _deploy(project("deaf"))
    with connected() as client:
        remove_automations(["deaf"])
        training = deployment_named(client, "training/deaf").id

        with pytest.raises(InfrastructureError, match="did not react") as missed:
            probe(client, "deaf", training, 3.0)

    assert "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED" in missed.value.remedy


def test_schedules_and_automations_survive_the_server(
    server: PrefectServer, project: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = project("lasting")
    _deploy(pipeline)

    server.stop()
    server.start()

    stack = RunningStack(
        pid=1, prefect_api=server.api, prefect="", mlflow="", page="", started=datetime.now(UTC)
    )
    cause = _cause()
    with connected() as client:
        training = deployment_named(client, "training/lasting")
        emit_alarm(client, "lasting", cause)
        run = eventually(lambda: run_caused_by(client, training.id, cause.correlation))
        scheduled = eventually(lambda: _runs(client, "training/lasting", scheduled=True))
        sound = checks.deployments(pipeline, stack)
        for one in _runs(client, "training/lasting", scheduled=True):
            client.delete_flow_run(one.id)
        # The server schedules anew what was deleted, within a minute.
        monkeypatch.setattr(checks, "_SCHEDULER_PATIENCE", 0.0)
        idle = checks.deployments(pipeline, stack)
    assert Cause.model_validate(run.parameters["cause"]) == cause
    assert (sound.status, idle.status) == ("ok", "failed")
    first = min(r.expected_start_time for r in scheduled)
    assert first.astimezone(UTC).hour in (0, 1)  # 02:30 in Berlin
    assert first - datetime.now(UTC) < timedelta(days=8)
    again = _deploy(pipeline)
    assert set(_changes(again).values()) == {"unchanged"}
    assert again.automations == ()


@pytest.mark.parametrize("start", [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_a_change_of_the_clocks_neither_skips_nor_doubles_a_run(
    server: PrefectServer, tmp_path: Path, start: datetime
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
        with connected() as client:
            done = on_the_server(client, plan, row, start, end)
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


def test_without_a_server_the_error_says_what_to_set(
    project: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "none"))

    with pytest.raises(UsageError, match="No Prefect API is configured"):
        _deploy(project("alone"))
