"""`keepfit doctor --loop` on a real stack: drift goes all the way to an alert, nothing remains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.api import connected, speaking_to
from deploy.doctor import examine, table
from tasks.base.environment import module_command
from tasks.base.stack_file import RunningStack, running_stack

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900)]

_UP = """
import sys
from pathlib import Path
from deploy.stack import up
sys.exit(up([Path(sys.argv[1])], prefect_port=0, mlflow_port=0, page_port=0))
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[RunningStack]:
    settings = {
        "name": "quiet",
        "target": "progression",
        "source": {"kind": "demo", "name": "diabetes"},
    }
    (tmp_path / "keepfit.yaml").write_text(json.dumps(settings))
    python = module_command("none")[0]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-c", _UP, str(tmp_path)], env=environ, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 180
        while (found := running_stack(tmp_path / ".keepfit")) is None:
            assert process.poll() is None, (tmp_path / "up.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def test_drift_goes_all_the_way_and_nothing_remains(stack: RunningStack, tmp_path: Path) -> None:
    report = examine([tmp_path / "keepfit.yaml"], loop=True)

    assert report.healthy, table(report)
    assert report.loop is not None
    legs = [leg["name"] for leg in report.loop["legs"]]
    assert legs == ["training", "alarm", "event", "training run", "decision", "alert"]
    assert all(leg["seconds"] >= 0 for leg in report.loop["legs"])
    assert "alert" in table(report)
    name = report.loop["pipeline"]
    assert list((tmp_path / ".keepfit" / "doctor").iterdir()) == []
    with speaking_to(stack.prefect_api), connected() as client:
        assert {d.name for d in client.read_deployments()} == {"quiet"}
        assert [a.name for a in client.read_automations() if name in a.name] == []
        assert [r for r in client.read_flow_runs() if f"keepfit.pipeline:{name}" in r.tags] == []
