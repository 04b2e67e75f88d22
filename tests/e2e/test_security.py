"""What nobody else may see, reach or send: a whole cycle, watched, and the three servers.

The stack of the cycle serves the doctor and the calendar too.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deploy.doctor.report import Report, examine, table
from tasks.base.pipeline_file import load_pipeline
from tasks.base.runtime.environment import module_command
from tasks.ledger.ledger import ledger_of
from tests.e2e.routes import group
from tests.e2e.stacks import PATIENCE, ROOT, Stack, running, until
from tests.receivers import http_receiver
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(2400)]
GUARD = Path(__file__).parent / "guarded"
CANARY = "c4n4ry-l00p-5ecr3t"
PIPELINE = FAST + (
    'alerts: ["${KEEPFIT_ALERT_URL}"]\nmonitoring: {window: 7d, min_rows: 100}\n'
    'schedules: {training: "0 3 1 1 *", timezone: Europe/Berlin}\n'
)

# Every group of routes of the three servers, and what was decided about it. A version that
# brings another fails the test until somebody has decided.
_NEAR = ("127.", "::1", "::ffff:127.")
OPEN, CLOSED = "open on loopback", "refused"
ROUTES: dict[str, dict[str, str]] = {
    "prefect": {
        **dict.fromkeys(
            (
                "api/admin", "api/artifacts", "api/automations", "api/block_capabilities",
                "api/block_documents", "api/block_schemas", "api/block_types", "api/collections",
                "api/concurrency_limits", "api/csrf-token", "api/deployments", "api/docs",
                "api/events", "api/flow_run_states", "api/flow_runs", "api/flows", "api/health",
                "api/hello", "api/logs", "api/observed-states", "api/openapi.json", "api/ready",
                "api/redoc", "api/saved_searches", "api/static", "api/task_run_states",
                "api/task_runs",
                "api/task_workers", "api/templates", "api/ui", "api/v2", "api/variables",
                "api/version", "api/work_pools", "api/work_queues", "docs", "openapi.json",
                "redoc", "ui-settings",
            ),
            OPEN,
        ),
    },
    "mlflow": {
        **dict.fromkeys(
            (
                "", "build", "get-artifact", "graphql", "health", "mlflow-artifacts",
                "mlflow/artifacts", "mlflow/datasets", "mlflow/experiments", "mlflow/genai",
                "mlflow/get-online-trace-details", "mlflow/get-trace-artifact", "mlflow/issues",
                "mlflow/label-schemas", "mlflow/logged-models", "mlflow/metrics",
                "mlflow/model-versions", "mlflow/registered-models", "mlflow/review-queues",
                "mlflow/runs", "mlflow/scorer", "mlflow/scorers", "mlflow/server-info",
                "mlflow/traces", "mlflow/unified-traces", "mlflow/upload-artifact",
                "mlflow/workspaces", "model-versions", "static-files", "version",
            ),
            OPEN,
        ),
        **dict.fromkeys(
            (
                "gateway", "gateway/anthropic", "gateway/gemini", "gateway/mlflow",
                "gateway/openai", "gateway/proxy", "gateway/typesafe", "jobs", "mlflow/assistant",
                "mlflow/demo", "mlflow/gateway", "mlflow/gateway-proxy", "mlflow/jobs",
                "mlflow/mcp-servers", "mlflow/prompt-optimization", "mlflow/ui-telemetry",
                "mlflow/webhooks", "v1",
            ),
            CLOSED,
        ),
    },
    "page": dict.fromkeys(("", "dashboard", "health", "pipelines"), OPEN),
}  # fmt: skip
# Every command with the sockets that it binds to; the others bind to none.
COMMANDS: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        (
            "backtest", "backup", "completion", "config", "contract", "deploy", "docs", "export",
            "init", "keys", "link", "monitor", "promote", "restore", "rollback", "run", "score",
            "status", "why",
        ),
        frozenset[str](),
    ),
    # A port is probed; a runner and a receiver of its own hear the loop that it tries.
    "doctor": frozenset({"AF_INET 127.0.0.1"}),
    "page": frozenset({"AF_INET 127.0.0.1"}),
    "serve": frozenset({"AF_INET 127.0.0.1"}),
    "up": frozenset({"AF_INET 127.0.0.1", "AF_UNIX checker.sock"}),
}  # fmt: skip
# All else needs the key of the state folder, or a browser that was let in.
# Of modules that are no command: whose part they are.
_PARTS = {
    "servers.py": "up",
    "runner.py": "up",
    "checker.py": "up",
    "-c": "up",
    "loop_runner.py": "doctor",
}
HEALTH = {(method, path) for method in ("GET", "HEAD") for path in ("/health", "/api/health")}
# Of open groups: a single route that starts something.
CLOSED_ROUTES = (
    "/ajax-api/3.0/mlflow/scorer/invoke", "/ajax-api/3.0/mlflow/genai/evaluate/invoke",
    "/ajax-api/3.0/mlflow/issues/invoke",
)  # fmt: skip


@dataclass
class Watched:
    """A cycle that ran under a guard on sockets, and all that was seen of it."""

    folder: Path
    shared: Path
    notes: Path
    told: list[str]
    said: list[str]
    stack: Stack
    report: Report
    pythons: dict[int, str] = field(default_factory=dict)
    far: set[str] = field(default_factory=set)
    listening: set[tuple[str, str]] = field(default_factory=set)

    @property
    def state(self) -> Path:
        return self.folder / ".keepfit"

    def lines(self, word: str) -> list[list[str]]:
        rows = (line.split() for line in self.notes.read_text("utf-8").splitlines())
        return [row for row in rows if row[1] == word]


class Watcher(threading.Thread):
    """Looks at all processes below this one, and whom they are connected to.

    A Python that has computed for half a second has read the guard, however slow the machine; one
    that was ended before that did nothing.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.pythons: dict[int, str] = {}
        self.far: set[str] = set()
        self.listening: set[tuple[str, str]] = set()
        self._below = psutil.Process()
        # What a fixture of other tests has left running was started without the guard.
        self._before = set(self._below.children())

    def run(self) -> None:
        while not self.over.wait(1):
            for process in self._begun():
                with suppress(psutil.Error):
                    computed = process.cpu_times().user
                    if "python" in Path(process.exe()).name and computed > 0.5:
                        self.pythons[process.pid] = " ".join(process.cmdline())[:600]
                    for one in process.net_connections("inet"):
                        if one.status == psutil.CONN_LISTEN:
                            self.listening.add((_module(process), one.laddr.ip))
                        if one.raddr and not one.raddr.ip.startswith(_NEAR):
                            self.far.add(f"{one.raddr.ip}: {' '.join(process.cmdline())[:200]}")

    def _begun(self) -> Iterator[psutil.Process]:
        mine = self._below.cmdline()
        for child in self._below.children():
            # One that has not become its program yet still holds this process' own sockets.
            if child not in self._before and _cmdline(child) not in ([], mine):
                yield child
                with suppress(psutil.Error):
                    yield from child.children(recursive=True)


def _cmdline(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


@pytest.fixture(scope="module")
def cycle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Train, score, monitor, and let drift go all the way in the stack, all of it watched."""
    folder = tmp_path_factory.mktemp("cycle")
    notes = tmp_path_factory.mktemp("guard") / "notes"
    write_pipeline(folder, write_churn(folder / "rows.csv", 1_800), PIPELINE, time=True)
    with http_receiver() as receiver, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEEPFIT_ALERT_URL", receiver.apprise(f"/{CANARY}"))
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.setenv("KEEPFIT_TEST_GUARD", str(notes))
        patch.setenv("PYTHONPATH", f"{GUARD}{os.pathsep}{ROOT}")
        patch.setenv("GIT_PYTHON_REFRESH", "quiet")
        former = os.umask(0o022)
        watcher = Watcher()
        watcher.start()
        said = []
        shared = tmp_path_factory.mktemp("shared")
        shared.chmod(0o755)
        made = tmp_path_factory.mktemp("made")
        for words in (
            ("run",), ("score", "--all", "--output", shared / "p.csv"), ("monitor",), ("status",),
            ("why",), ("backtest", "--every", "600d"), ("backup", made / "b.tar.gz"),
            ("restore", made / "b.tar.gz", "--state", made / "state"), ("config", "check"),
            ("contract", "check"), ("export", "1", made / "v1"), ("keys", "sign", "1"),
            ("promote", "1"), ("rollback",), ("link",), ("deploy", "--pool", "none"),
        ):  # fmt: skip
            said += _asked(*words, folder)
        said += _asked("init", made / "new", "--demo", "diabetes") + _asked("completion", "bash")
        for command in ("serve", "page"):
            said += _asked(command, folder, "--port", "0", until="http://127.0.0.1:")
        with running(folder, PYTHONPATH=f"{GUARD}{os.pathsep}{ROOT}") as stack:
            report = examine([folder / "keepfit.yaml"], loop=True)
            watched = Watched(folder, shared, notes, _paths(receiver), said, stack, report)
            watched.far, watched.pythons = watcher.far, watcher.pythons
            watched.listening = watcher.listening
            watched.said += [stack.out, stack.err]
            try:
                yield watched
            finally:
                watcher.over.set()
                os.umask(former)
            assert stack.end(signal.SIGINT) == 0


def _asked(*words: object, until: str = "") -> list[str]:
    """Run a command, and end it by SIGTERM when it has said `until`; return what it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline() if until else ""
    assert until in first, process.communicate(timeout=PATIENCE)
    if until:
        process.terminate()
    out, err = process.communicate(timeout=PATIENCE)
    # What a person must answer or there is nothing to do for is an answer too; a fault is none.
    assert process.returncode in ({0, 2} | ({-signal.SIGTERM} if until else set())), (words, err)
    return [first + out, err]


def _module(process: psutil.Process) -> str:
    """Return what a process of keepfit runs, servers with their kind."""
    words = process.cmdline()
    found = [place for place, word in enumerate(words) if word.startswith(("deploy.", "flows."))]
    if not found:
        text = " ".join(words)
        return "deploy.stack.stack" if "deploy.stack.stack" in text else text[:200]
    more = words[found[0] : found[0] + 1 + (words[found[0]] == "deploy.stack.server_processes")]
    return " ".join(more)


def _paths(receiver: Any) -> list[str]:
    return [str(request.path) for request in receiver.received]


def test_a_guarded_process_cannot_leave_and_is_seen(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    environ = {
        **os.environ, "KEEPFIT_TEST_GUARD": str(notes), "PYTHONPATH": f"{GUARD}:{ROOT}",
        "PYTHONSAFEPATH": "1",
    }  # fmt: skip
    attempts = (
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import urllib.request; urllib.request.urlopen('http://telemetry.example/', timeout=1)",
        "import os, socket, sys\npid = os.fork()\n"
        "if pid: sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    )
    for code in attempts:
        for prefix in ([sys.executable, "-P", "-c"], [sys.executable, "-c"]):
            assert subprocess.run([*prefix, code], env=environ, check=False).returncode == 1

    seen = notes.read_text().splitlines()
    assert len([line for line in seen if " left " in line]) == 2 * len(attempts)
    assert {line.split()[-1] for line in seen if " left " in line} == {
        "192.0.2.1", "telemetry.example",
    }  # fmt: skip
    # As keepfit starts its own processes.
    subprocess.run([*module_command("tasks.base.errors")], env=environ, check=True)
    assert len(notes.read_text().splitlines()) == len(seen) + 1


def test_a_whole_cycle_connects_to_nothing_off_this_machine(cycle: Watched) -> None:
    assert cycle.lines("left") == []
    assert cycle.far == set()
    guarded = {int(pid) for pid, *_ in cycle.lines("began")}
    assert len(guarded) > 15
    unguarded = {pid: words for pid, words in cycle.pythons.items() if pid not in guarded}
    assert unguarded == {}
    for part in (
        "deploy.runner.runner",
        "deploy.stack.server_processes",
        "prefect.engine",
        "tasks.models",
    ):
        assert any(part in words for words in cycle.pythons.values()), part


def test_its_files_are_their_owners_alone(cycle: Watched) -> None:
    open_ones = [
        f"{stat.filemode(mode)} {path.relative_to(cycle.state)}"
        for path in (cycle.state, *cycle.state.rglob("*"))
        if (mode := path.lstat().st_mode) & 0o077 and not stat.S_ISLNK(mode)
    ]

    assert open_ones == []
    assert len(list(cycle.state.rglob("*"))) > 80
    written = {path.suffix for path in cycle.state.rglob("*") if path.is_file()}
    assert {".db", ".parquet", ".html", ".json", ".log", ".skops"} <= written


def test_predictions_that_a_person_names_are_as_open_as_their_folder(cycle: Watched) -> None:
    assert stat.S_IMODE((cycle.shared / "p.csv").stat().st_mode) == 0o644


def test_no_secret_of_the_cycle_is_found_anywhere(cycle: Watched) -> None:
    kinds = {d.kind for d in ledger_of(load_pipeline(cycle.folder)).decisions("churn")}
    assert {"trained", "promoted", "scored", "monitored", "alerted"} <= kinds
    assert any(CANARY in path for path in cycle.told), "it was used"
    assert CANARY not in "".join(cycle.said)
    for path in (p for p in cycle.folder.rglob("*") if p.is_file()):
        with suppress(FileNotFoundError):
            assert CANARY.encode() not in path.read_bytes(), path
    # As the servers tell it: parameters, logs, variables, settings.
    with cycle.stack.client() as client:
        for asked in ("/flow_runs/filter", "/logs/filter", "/deployments/filter"):
            assert CANARY not in client.request("POST", asked, json={}).text


def test_every_route_of_the_three_servers_is_decided(cycle: Watched, tmp_path: Path) -> None:
    for kind, decided in ROUTES.items():
        script = Path(__file__).with_name("routes.py")
        done = subprocess.run(
            [sys.executable, "-m", "tests.e2e.routes", kind, str(tmp_path / kind)],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=script.parents[2],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        routes = json.loads(done.stdout)
        groups = {group(route) for route in routes}
        assert groups == set(decided), f"{kind}: decide about what is new, drop what is gone"
        address = str(getattr(cycle.stack.addresses, kind))
        closed = [r for r in routes if decided[group(r)] == CLOSED]
        closed += [r for r in routes if r in CLOSED_ROUTES]
        login = cycle.stack.login
        with (
            httpx.Client(base_url=address, timeout=PATIENCE, auth=login) as client,
            httpx.Client(base_url=address, timeout=PATIENCE) as nobody,
        ):
            for route in closed:
                path = route.replace("<", "{").replace(">", "}")
                assert client.get(path).status_code == 404, route
                assert client.post(path, json={}).status_code == 404, route
            for route in {group(r): r for r in routes}.values():
                for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"):
                    if route not in closed and (method, route) not in HEALTH:
                        assert nobody.request(method, route).status_code == 401, (method, route)
                evil = client.get(route, headers={"host": "evil.example"})
                assert evil.status_code == 400, route
                foreign = client.post(route, headers={"origin": "http://evil.example"})
                assert foreign.status_code == 403, route


def test_every_socket_of_every_command_is_decided(cycle: Watched) -> None:
    from flows.cli import main

    assert set(COMMANDS) == set(main.list_commands(None))  # type: ignore[arg-type]
    bound: dict[str, set[str]] = {}
    for _, _, family, place, module, *first in cycle.lines("bound"):
        if (family, place) == ("AF_INET6", "::1"):
            continue  # urllib3 asks by it, without listening, whether this machine has IPv6.
        command = first[0] if module == "cli.py" and first else _PARTS.get(module, module)
        bound.setdefault(command, set()).add(f"{family} {place}")
    assert bound == {name: places for name, places in COMMANDS.items() if places}
    assert {address for _, address in cycle.listening} == {"127.0.0.1"}
    assert {module for module, _ in cycle.listening} - {"tasks.orchestration.prefect_api"} == {
        *(f"deploy.stack.server_processes {kind}" for kind in ROUTES),
        # It holds the servers' sockets, for when one is started again.
        "deploy.stack.stack",
        # Prefect's runners hear from their flow runs there, each by a token of its own.
        "deploy.runner.runner",
        "deploy.doctor.loop_runner",
    }
    sockets = [path for path in cycle.state.rglob("*") if path.is_socket()]
    assert [path.name for path in sockets] == ["checker.sock"]
    assert stat.S_IMODE(sockets[0].stat().st_mode) == 0o600


def test_a_run_of_another_pipeline_file_is_refused_before_its_code_is_imported(
    cycle: Watched, tmp_path: Path
) -> None:
    trace = tmp_path / "imported"
    (tmp_path / "evil.py").write_text(f"open({str(trace)!r}, 'w')\ndef add(X): return X\n")
    text = (cycle.folder / "keepfit.yaml").read_text("utf-8")
    file = tmp_path / "keepfit.yaml"
    file.write_text(f"{text}hooks: {{features: evil:add}}\n", "utf-8")
    with cycle.stack.client() as client:
        deployment = client.read_deployment_by_name("training/churn")
        run = client.create_flow_run_from_deployment(
            deployment.id, parameters={"pipeline": str(file), "fresh": True}
        )

        def final() -> Any:
            state = client.read_flow_run(run.id).state
            return state if state is not None and state.is_final() else None

        state = until(final, 120)
    assert state.is_failed()
    assert "not registered with the stack" in state.message
    assert not trace.exists()


def test_a_change_needs_the_token_of_the_page_and_no_foreign_page_reads(cycle: Watched) -> None:
    found = cycle.stack.addresses
    evil = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    with httpx.Client(timeout=PATIENCE, auth=cycle.stack.login) as client:
        run = {"name": "x", "flow_id": "00000000-0000-0000-0000-000000000000"}
        for method, path in (("POST", "flow_runs/"), ("POST", "automations/"),
                             ("DELETE", f"flows/{run['flow_id']}"), ("PATCH", "v2/x")):  # fmt: skip
            answer = client.request(method, f"{found.prefect_api}/{path}", json=run)
            assert answer.status_code == 403, (method, path)
            assert "CSRF" in answer.text
        for address in (found.prefect, found.mlflow, found.page):
            for asked in (client.options(address, headers=evil), client.get(address, headers=evil)):
                assert "access-control-allow-origin" not in asked.headers, address
                assert asked.headers["x-frame-options"] == "SAMEORIGIN"
                assert "frame-ancestors" in asked.headers["content-security-policy"]
        page = client.get(f"{found.page}/dashboard/")
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert client.request(method, f"{found.page}/dashboard/").status_code == 405


def test_a_foreign_page_opens_no_web_socket(cycle: Watched) -> None:
    import asyncio

    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    found = cycle.stack.addresses
    at = found.prefect.replace("http", "ws")
    own = json.loads(found.environment["PREFECT_CLIENT_CUSTOM_HEADERS"])["Authorization"]

    async def opened(path: str, origin: str, login: str = own) -> bool:
        headers = {"Origin": origin, "Authorization": login}
        try:
            async with connect(f"{at}{path}", additional_headers=headers):
                return True
        except InvalidStatus as refused:
            return refused.response.status_code != 403

    for path in ("/api/events/in", "/api/events/out", "/api/logs/out"):
        assert asyncio.run(opened(path, found.prefect)) is True, path
        assert asyncio.run(opened(path, found.prefect, "Basic a2VlcGZpdDp4")) is False, path
        assert asyncio.run(opened(path, "http://evil.example")) is False, path


def test_what_lies_outside_the_pages_folders_is_not_served(cycle: Watched) -> None:
    found = cycle.stack.addresses.page
    assert (cycle.state / "ledger.db").exists()
    with httpx.Client(timeout=PATIENCE, auth=cycle.stack.login) as client:
        for path in (
            "/dashboard/../ledger.db", "/dashboard/%2e%2e/ledger.db", "/dashboard/..%2fledger.db",
            "/pipelines/churn/fits/", "/pipelines/churn/data/x.parquet", "/pipelines/../reports/x",
            "/pipelines/churn/reports/../../../ledger.db", "/dashboard//etc/passwd", "/ledger.db",
            "/pipelines/churn/reports/%2fetc%2fpasswd", "/stack.json", "/dashboard/.x.html",
        ):  # fmt: skip
            assert client.get(f"{found}{path}").status_code == 404, path


def test_drift_goes_all_the_way_and_nothing_remains(cycle: Watched) -> None:
    report = cycle.report

    assert report.healthy, table(report)
    assert report.loop is not None
    legs = [leg["name"] for leg in report.loop["legs"]]
    assert legs == ["training", "alarm", "event", "training run", "decision", "alert"]
    assert all(leg["seconds"] >= 0 for leg in report.loop["legs"])
    assert "alert" in table(report)
    name = report.loop["pipeline"]
    assert list((cycle.state / "doctor").iterdir()) == []
    with cycle.stack.client() as client:
        assert {d.name for d in client.read_deployments()} == {"churn"}
        assert [a.name for a in client.read_automations() if name in a.name] == []
        assert [r for r in client.read_flow_runs() if f"keepfit.pipeline:{name}" in r.tags] == []


def test_a_run_of_the_calendar_starts_and_is_known_as_such(cycle: Watched) -> None:
    write_churn(cycle.folder / "rows.csv", 1_900)
    file = cycle.folder / "keepfit.yaml"
    yearly = file.read_text("utf-8")
    file.write_text(yearly.replace("schedules: {", "schedules: {scoring: '* * * * *', "), "utf-8")

    def scheduled() -> list[str]:
        with cycle.stack.client() as client:
            runs = client.read_flow_runs()
        return [
            str(run.id)
            for run in runs
            if run.state and run.state.is_completed() and "auto-scheduled" in run.tags
        ]

    assert until(scheduled)
    file.write_text(yearly, "utf-8")
    pipeline = load_pipeline(file)
    scored = ledger_of(pipeline).decisions(pipeline.config.name, kinds=("scored",))
    # The next minute's run finds nothing new.
    assert any(one.sentence.startswith("100 new rows scored") for one in scored)
