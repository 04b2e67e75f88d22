"""The compose file as written: servers, pool, worker, deployments and page, on real databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from deploy.prefect.api import connected, deployment_named, speaking_to
from tasks.base.pipeline_file import load_pipeline
from tasks.ledger.ledger import ledger_of
from tasks.registry.mlflow.store import Store
from tests.e2e.compositions import Composition, composed, databases
from tests.e2e.stacks import get, until
from tests.postgres import Server, postgres_server
from tests.program import keepfit
from tests.tables import FAST, write_churn, write_pipeline

__all__ = ["postgres_server"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.postgres,
    pytest.mark.timeout(2400),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
_LOGIN = ("admin", "a-password-of-24-letters")
# What the pipeline file of the documentation names.
_STORES = FAST + (
    'ledger: {url: "${LEDGER_URL}"}\n'
    'scoring: {sink: {kind: sql, url: "${WAREHOUSE_URL}", table: predictions}}\n'
    'alerts: ["${KEEPFIT_ALERT_URL}"]\n'
)


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Server
) -> Iterator[Composition]:
    folder = tmp_path_factory.mktemp("composed")
    rows = folder / "data" / "churn.csv"
    rows.parent.mkdir()
    write_churn(rows, rows=300)
    write_pipeline(folder / "pipelines" / "churn", Path("../../data/churn.csv"), _STORES)
    engine = sa.create_engine(postgres_server.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in databases():
            connection.execute(sa.text(statement))
    given = {"POSTGRES_PASSWORD": postgres_server.password, "MLFLOW_SECRET": "s" * 24,
             "KEEPFIT_SIGNING_KEY": "5" * 64}  # fmt: skip
    address = f"{postgres_server.host}:{postgres_server.port}"
    with composed(folder, address, KEEPFIT_PASSWORD=_LOGIN[1], **given) as services:
        yield services
    engine.dispose()


@pytest.fixture
def client(services: Composition, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

    for name, value in services.environment("worker").items():
        if name.startswith(("MLFLOW_TRACKING", "KEEPFIT_STATE")):
            monkeypatch.setenv(name, value)
    login = {PREFECT_API_AUTH_STRING: ":".join(_LOGIN)}
    api = f"{services.address(4200)}/api"
    with temporary_settings(login), speaking_to(api), connected() as client:
        yield client


def _run(client: Any, services: Composition, deployment: str) -> None:
    run = client.create_flow_run_from_deployment(deployment_named(client, deployment).id)

    def ended() -> Any:
        state = client.read_flow_run(run.id).state
        return state if state is not None and state.is_final() else None

    state = until(ended, 600)
    assert state.name == "Completed", services.log("worker")


def test_a_worker_trains_and_scores_with_the_stores_that_the_file_names(
    services: Composition, client: Any
) -> None:
    file = services.folder / "pipelines" / "churn" / "keepfit.yaml"
    assert deployment_named(client, "training/churn").work_pool_name == "keepfit"

    _run(client, services, "training/churn")
    _run(client, services, "scoring/churn")

    plan = load_pipeline(file, services.environment("worker"))
    champion = Store.open(plan.state).champion("churn")
    assert champion is not None
    assert [d.version for d in ledger_of(plan).decisions(kinds=("promoted",))] == ["1"]
    warehouse = sa.create_engine(services.variables["WAREHOUSE_URL"])
    with warehouse.connect() as connection:
        scored = connection.execute(sa.text("SELECT count(*) FROM predictions")).scalar()
    warehouse.dispose()
    assert scored == 300
    assert plan.state == services.folder / "state"
    assert not list(services.folder.glob("pipelines/**/.keepfit"))


def test_deploying_lets_the_worker_show_which_stores_it_reaches(
    services: Composition, client: Any
) -> None:
    file = services.folder / "pipelines" / "churn" / "keepfit.yaml"
    command = ("deploy", file, "--pool", "keepfit", "--json")
    environ = services.environment("worker")

    right = keepfit(*command, **environ)
    other = f"sqlite:///{services.folder}/other.db"
    wrong = keepfit(*command, **{**environ, "MLFLOW_TRACKING_URI": other})

    assert right.status == 0, right.err
    (reached,) = right.answer["reached"]
    assert [one["same"] for one in reached["stores"]] == [True] * 4
    assert wrong.status == 1
    said = wrong.answer["error"]["message"]
    assert "the same MLflow" in said
    assert environ["MLFLOW_TRACKING_URI"] in said
    assert other in said
    assert not [d for d in client.read_deployments() if d.entrypoint.endswith(".inspection")]


def test_the_page_shows_the_pipeline_to_whoever_knows_the_password(services: Composition) -> None:
    shown = get(f"{services.address(4280)}/dashboard/", auth=_LOGIN)

    assert shown.status_code == 200
    assert "churn" in shown.text


@pytest.mark.parametrize(
    ("port", "path"),
    [(4200, "/api/admin/version"), (5000, "/"), (5000, "/api/2.0/mlflow/users/current"),
     (5000, "/api/2.0/mlflow-artifacts/artifacts"), (4280, "/dashboard/")],
)  # fmt: skip
def test_no_server_answers_without_the_password(
    services: Composition, port: int, path: str
) -> None:
    address = f"{services.address(port)}{path}"

    assert get(address).status_code == 401
    assert get(address, auth=("admin", "wrong")).status_code == 401
    assert get(address, auth=_LOGIN).status_code == 200
