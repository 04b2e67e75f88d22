"""An MLflow server that goes away while keepfit works, for half a minute and for two."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.checkers import shared_checker
from tests.e2e.faults import Going, mlflow_server, say
from tests.e2e.test_faults_of_stores import kinds, project
from tests.program import keepfit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.waits,
    pytest.mark.e2e,
    pytest.mark.timeout(2400),
    pytest.mark.usefixtures("shared_checker"),
]
__all__ = ["shared_checker"]


def test_an_mlflow_server_that_goes_away_loses_and_doubles_nothing(tmp_path: Path) -> None:
    folder = project(tmp_path)
    with mlflow_server(tmp_path / "mlflow") as server:
        environ: dict[str, Any] = {"MLFLOW_TRACKING_URI": server.uri}

        def interrupted(seconds: float, stage: str, *command: str | Path) -> Any:
            going = Going(folder, *command, "--json", **environ)
            with going.halted(stage):
                server.kill()
            began = time.monotonic()
            time.sleep(seconds)
            server.start()
            say(f"{command[0]} away", round(time.monotonic() - began, 1))
            ran = going.ended()
            assert ran.status == 0, ran.err
            return ran.answer

        training = interrupted(30, "fit", "run", folder)
        assert training["verdict"]["promoted"] is True
        assert server.versions("churn") == ["1"]
        parents = server.runs("tags.`keepfit.role` = 'training'")
        assert [run["info"]["status"] for run in parents] == ["FINISHED"]  # type: ignore[index]
        children = server.runs("tags.`keepfit.candidate` != ''")
        names = sorted(_tags(run)["keepfit.candidate"] for run in children)
        assert names == ["baseline", "decision_tree", "logistic_regression"]
        assert kinds(folder, "trained", "promoted") == ["promoted", "trained"]

        assert keepfit("score", folder, "--json", **environ).status == 0
        interrupted(120, "window", "monitor", folder)
        assert kinds(folder, "monitored") == ["monitored"]
        assert server.versions("churn") == ["1"]


def _tags(run: Any) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
