"""Each check on a broken and on a sound installation."""

from __future__ import annotations

import http.server
import json
import os
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deploy.commands import doctor
from deploy.doctor import checks
from deploy.doctor.report import Report, examine, table


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    _write(folder)
    monkeypatch.chdir(tmp_path)
    return folder


def _write(folder: Path, **keys: Any) -> Path:
    settings = {
        "name": "churn",
        "target": "progression",
        "source": {"kind": "demo", "name": "diabetes"},
        "alerts": ["json://127.0.0.1:9/"],
        **keys,
    }
    (folder / "keepfit.yaml").write_text(json.dumps(settings))
    return folder / "keepfit.yaml"


def _found(report: Report) -> dict[str, str]:
    return {check.name: check.status for check in report.checks}


def test_a_sound_installation_is_healthy_and_nothing_is_made(project: Path) -> None:
    report = examine([project])

    assert {name for name, status in _found(report).items() if status == "failed"} == set()
    assert report.healthy
    assert _found(report)["churn: alerts"] == "ok"
    assert [path.name for path in project.iterdir()] == ["keepfit.yaml"]


def test_without_a_file_the_installation_itself_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert set(_found(examine([]))) == {"python", "libraries", "telemetry"}


def test_a_file_with_a_mistake_fails_with_its_line(project: Path) -> None:
    (project / "keepfit.yaml").write_text("name: churn\ntarget: y\nsource: {kind: nothing}\n")

    report = examine([project])

    assert not report.healthy
    broken = next(check for check in report.checks if check.status == "failed")
    assert "line 3" in broken.found


def test_no_secret_is_shown(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANNEL", "nowhere-at-all://canary-5a1")
    file = _write(project, alerts=["${CHANNEL}"])

    report = examine([file])

    assert _found(report)["churn: alerts"] == "failed"
    assert "canary" not in json.dumps(report.answer()) + table(report)


def test_a_channel_that_nobody_hears_fails_only_when_it_is_asked(project: Path) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        file = _write(project, alerts=[f"json://127.0.0.1:{free.getsockname()[1]}/"])

    assert _found(examine([file]))["churn: alerts"] == "ok"
    assert _found(examine([file], alerts=True))["churn: alerts"] == "failed"


def test_a_channel_that_is_heard_gets_one_message(project: Path) -> None:
    heard: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        file = _write(project, alerts=[f"json://127.0.0.1:{receiver.server_address[1]}/"])

        report = examine([file], alerts=True)
        receiver.shutdown()

    assert _found(report)["churn: alerts"] == "ok"
    assert len(heard) == 1
    assert b"doctor" in heard[0]


def test_the_loop_without_a_stack_says_how_to_start_one(project: Path) -> None:
    report = examine([project], loop=True)

    last = report.checks[-1]
    assert (last.name, last.status) == ("loop", "failed")
    assert "keepfit up" in last.remedy


@pytest.mark.parametrize(
    ("installed", "status"), [("3.9.2", "ok"), ("3.10.0", "failed"), (None, "failed")]
)
def test_a_library_outside_its_tested_range_fails(
    monkeypatch: pytest.MonkeyPatch, installed: str | None, status: str
) -> None:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as real

    def version(name: str) -> str:
        if name != "prefect":
            return real(name)
        if installed is None:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr("deploy.doctor.checks.version", version)

    found = checks.library_versions()

    assert found.status == status
    assert "prefect" in found.found


def test_a_state_folder_that_others_read_or_nobody_writes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "ledger.db").touch(mode=0o600)
    assert checks.permissions(state).status == "ok"

    (state / "ledger.db").chmod(0o644)

    assert checks.permissions(state).status == "warning"
    assert "ledger.db" in checks.permissions(state).found
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = checks.permissions(state)
    assert (found.status, "Mount it for writing" in found.remedy) == ("failed", True)


def test_a_file_from_the_future_means_a_wrong_clock(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    assert checks.clock(tmp_path, []).status == "ok"

    os.utime(tmp_path / "ledger.db", (time.time(), time.time() + 3_600))

    assert checks.clock(tmp_path, []).status == "failed"


def test_a_server_with_another_clock_is_told(tmp_path: Path) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002
            return super().date_time_string(time.time() - 600)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        found = checks.clock(tmp_path, [f"http://127.0.0.1:{server.server_address[1]}/"])
        server.shutdown()

    assert found.status == "failed"
    assert "-60" in found.found or "-59" in found.found


def test_a_taken_port_is_a_warning() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert checks.ports([port]).status == "warning"
    assert checks.ports([port]).status == "ok"


@pytest.mark.parametrize(("revision", "status"), [("current", "ok"), ("ffffffffffff", "failed")])
def test_the_migrations_of_prefects_database(tmp_path: Path, revision: str, status: str) -> None:
    if revision == "current":
        (revision,) = checks._prefect_revisions()[1]
    (tmp_path / "prefect").mkdir()
    with closing(sqlite3.connect(tmp_path / "prefect" / "prefect.db")) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        database.commit()

    assert checks.prefect_database(tmp_path).status == status


def test_a_database_that_is_none_is_a_finding_not_a_crash(project: Path) -> None:
    state = project / ".keepfit"
    (state / "prefect").mkdir(parents=True)
    (state / "prefect" / "prefect.db").write_bytes(b"no database at all" * 100)
    (state / "ledger.db").write_bytes(b"no database at all" * 100)

    found = _found(examine([project]))

    assert found["Prefect's database"] == "failed"
    assert found["churn: ledger"] == "failed"


def test_the_command_answers_with_one_json_object_and_its_status(project: Path) -> None:
    sound = CliRunner().invoke(doctor, [str(project), "--json"])
    (project / "keepfit.yaml").write_text("name: churn\n")
    broken = CliRunner().invoke(doctor, [str(project), "--json"])

    assert (sound.exit_code, json.loads(sound.stdout)["healthy"]) == (0, True)
    assert (broken.exit_code, json.loads(broken.stdout)["healthy"]) == (1, False)
