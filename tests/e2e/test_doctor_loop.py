"""`keepfit doctor --loop` and the calendar on a real stack: drift goes all the way to an alert."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.doctor.report import examine, table
from tests.e2e.stacks import Stack, running, until
from tests.prefect_api import migrated
from tests.program import keepfit
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pipeline that has a champion, and rows that have come since."""
    folder = tmp_path_factory.mktemp("quiet")
    migrated(folder / ".keepfit" / "prefect")
    data = write_churn(folder / "rows.csv", rows=400)
    file = write_pipeline(folder, data, FAST + "schedules: {scoring: '* * * * *'}\n", time=True)
    assert keepfit("run", file, "--json").status == 0
    write_churn(folder / "rows.csv", rows=500)
    return file


@pytest.fixture(scope="module")
def stack(file: Path) -> Iterator[Stack]:
    with running(file.parent) as stack:
        yield stack


def test_a_run_of_the_calendar_starts_and_is_known_as_such(stack: Stack, file: Path) -> None:
    def scheduled() -> list[str]:
        with stack.client() as client:
            runs = client.read_flow_runs()
        return [
            str(run.id)
            for run in runs
            if run.state and run.state.is_completed() and "auto-scheduled" in run.tags
        ]

    assert until(scheduled)
    last = keepfit("status", file, "--json").answer["health"]["last"]["scoring"]
    # What has come; the newest row of the training, from which on rows are read, is left out.
    assert last["sentence"].startswith("100 rows scored")


def test_drift_goes_all_the_way_and_nothing_remains(stack: Stack, file: Path) -> None:
    report = examine([file], loop=True)

    assert report.healthy, table(report)
    assert report.loop is not None
    legs = [leg["name"] for leg in report.loop["legs"]]
    assert legs == ["training", "alarm", "event", "training run", "decision", "alert"]
    assert all(leg["seconds"] >= 0 for leg in report.loop["legs"])
    assert "alert" in table(report)
    name = report.loop["pipeline"]
    assert list((stack.state / "doctor").iterdir()) == []
    with stack.client() as client:
        assert {d.name for d in client.read_deployments()} == {"churn"}
        assert [a.name for a in client.read_automations() if name in a.name] == []
        assert [r for r in client.read_flow_runs() if f"keepfit.pipeline:{name}" in r.tags] == []
