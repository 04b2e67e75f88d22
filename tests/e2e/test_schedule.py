"""A schedule of the file really starts runs, by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.stacks import running, until
from tests.program import keepfit
from tests.tables import FAST, write_churn, write_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(600)]


def test_a_run_of_the_calendar_starts_and_is_known_as_such(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "rows.csv", rows=400)
    schedule = "schedules: {scoring: '* * * * *'}\n"
    file = write_pipeline(tmp_path, data, FAST + schedule, time=True)
    assert keepfit("run", file, "--json").status == 0
    write_churn(tmp_path / "rows.csv", rows=500)
    with running(tmp_path) as stack:

        def scheduled() -> list[str]:
            with stack.client() as client:
                runs = client.read_flow_runs()
            return [
                str(run.id)
                for run in runs
                if run.state and run.state.is_completed() and "auto-scheduled" in run.tags
            ]

        assert until(scheduled, 240)
    last = keepfit("status", file, "--json").answer["health"]["last"]["scoring"]
    # What has come, and the newest row of the training, from which on rows are read.
    assert last["sentence"].startswith("101 rows scored")
