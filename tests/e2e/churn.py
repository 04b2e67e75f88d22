"""A stack on customers who may leave, which a test asks to train: rows, alarms, runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from deploy.prefect.automations import ALARM, resource_of
from tasks.base.monitoring_records import Cause, Decision, DriftResult, Window, new_correlation
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.ledger.ledger import ledger_of
from tests.e2e.stacks import Stack, running
from tests.prefect_api import migrated
from tests.program import keepfit
from tests.tables import FAST, write_churn, write_pipeline

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
    migrated(folder / ".keepfit" / "prefect")
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
    from tasks.registry.mlflow.shared_stores import store_of

    champion = store_of(plan).champion("churn")
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


def event_of(cause: Cause, name: str = "churn") -> dict[str, Any]:
    """Return the event by which monitoring calls for a training."""
    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": ALARM,
        "resource": {
            "prefect.resource.id": resource_of(name),
            "prefect.resource.name": name,
            "keepfit.retrain": "true",
            "keepfit.correlation": cause.correlation,
        },
        "payload": {"cause": cause.model_dump(mode="json"), "sentence": "", "reasons": []},
    }


def ask(stack: Stack, cause: Cause, **parameters: Any) -> Any:
    with stack.client() as client:
        deployment = client.read_deployment_by_name("training/churn")
        given = {**deployment.parameters, "cause": cause.model_dump(mode="json"), **parameters}
        return client.create_flow_run_from_deployment(deployment.id, parameters=given)


def trained_for(plan: Pipeline, key: str) -> list[Decision]:
    found = ledger_of(plan).decisions("churn", kinds=("trained",))
    return [d for d in found if d.evidence["cause"]["key"] == key]  # type: ignore[index,call-overload]


def answers(stack: Stack) -> bool:
    try:
        health = httpx.get(f"{stack.addresses.prefect_api}/health", timeout=10)
    except httpx.HTTPError:
        return False
    return health.status_code == 200
