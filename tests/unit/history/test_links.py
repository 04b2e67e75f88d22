from __future__ import annotations

import fcntl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.base.servers.stack_file import LOCK, RunningStack, write_stack
from tasks.history.links import addresses, href, openable
from tests.histories import flights, pipeline

STATE = Path("/srv/state")
PAGE = STATE / "dashboard"


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("/srv/state/pipelines/a/reports/x.html", "../pipelines/a/reports/x.html"),
        ("pipelines/a/reports/x.html", "../pipelines/a/reports/x.html"),
        ('pipelines/a"b/<x>.html', "../pipelines/a%22b/%3Cx%3E.html"),
        ("http://127.0.0.1:5000/#/runs/1", "http://127.0.0.1:5000/#/runs/1"),
        ("/srv/other/x.html", None),
        ("/srv/state/../other/x.html", None),
        ("../../etc/passwd.html", None),
        ("//example.invalid/x.html", None),
        ("/srv/state/ledger.db", None),
        ("javascript:alert(1)//.html", None),
        ("data:text/html,x.html", None),
        ("http:///x.html", None),
        ("http://[bad", None),
        ("https://example.org/a b", None),
    ],
)
def test_only_servers_and_pages_of_the_state_folder_are_linked(
    target: str, address: str | None
) -> None:
    assert href(target, PAGE, STATE) == address


def test_a_report_that_was_removed_is_linked_no_more(tmp_path: Path) -> None:
    report = tmp_path / "pipelines" / "x.html"
    assert openable(str(report), tmp_path, tmp_path) is None
    report.parent.mkdir()
    report.touch()
    assert openable(str(report), tmp_path, tmp_path) == "pipelines/x.html"


def test_addresses_are_those_of_the_stack_that_runs_now(tmp_path: Path) -> None:
    made = pipeline(tmp_path)
    trained = next(d for d in flights() if d.kind == "trained")
    assert addresses(made, trained)["mlflow"] == trained.links["mlflow"]
    write_stack(
        made.state,
        RunningStack(
            pid=1,
            prefect_api="http://127.0.0.1:4711/api",
            prefect="http://127.0.0.1:4711",
            mlflow="http://127.0.0.1:4712",
            page="http://127.0.0.1:4713",
            started=datetime.now(UTC),
        ),
    )
    with (made.state / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = addresses(made, trained)

    assert found["prefect"] == f"http://127.0.0.1:4711/runs/flow-run/{trained.prefect_run}"
    path = trained.links["mlflow"].partition("/#/")[2]
    assert found["mlflow"] == f"http://127.0.0.1:4712/#/{path}"
