from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from deploy.stack.environments import (
    Databases,
    common,
    databases,
    of_housekeeping,
    of_mlflow,
    of_prefect,
    of_runner,
)
from tasks.base.errors import UsageError

STATE = Path("/srv/state")
URL = "http://127.0.0.1:4200"


def test_databases_come_from_arguments_before_the_environment() -> None:
    environ = {
        "KEEPFIT_PREFECT_DATABASE": "postgresql://u:pw1@db/prefect",
        "KEEPFIT_MLFLOW_DATABASE": "postgresql+psycopg://u:pw2@db/mlflow",
    }

    found = databases(None, "postgres://u@other/mlflow", environ)

    assert found.prefect == "postgresql+asyncpg://u:pw1@db/prefect"
    assert found.mlflow == "postgresql+psycopg://u@other/mlflow"
    assert "pw1" in found.secrets


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:can@ry@db/x", "postgresql://db/x?password=can@ry", "mysql://u:can@ry@db"],
)
def test_a_password_on_the_command_line_is_refused_and_not_repeated(url: str) -> None:
    for given in ((url, None), (None, url)):
        with pytest.raises(UsageError, match="command line") as raised:
            databases(*given, {})
        assert "ry" not in str(raised.value).replace("every", "")


def test_nothing_stated_means_sqlite() -> None:
    assert databases(None, None, {}) == Databases()


def test_another_kind_of_database_is_refused_without_saying_its_password() -> None:
    with pytest.raises(UsageError) as raised:
        databases(None, None, {"KEEPFIT_PREFECT_DATABASE": "mysql://u:canary@db/x"})

    assert "canary" not in str(raised.value)


def test_a_tracking_server_of_somebody_else_is_not_adopted() -> None:
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_URI"):
        databases(None, None, {"MLFLOW_TRACKING_URI": "https://mlflow.example"})


def test_prefect_is_told_to_keep_to_loopback_its_own_pages_and_its_retention() -> None:
    environ = of_prefect(STATE, URL, "", timedelta(days=7))

    assert environ["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert "*" not in environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]
    assert environ["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    assert environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environ["PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"] == str(7 * 86_400)
    assert environ["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith("filesystem")
    assert environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"].endswith(
        "/srv/state/prefect/prefect.db"
    )


def test_prefects_settings_read_what_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import Settings

    for name, value in of_prefect(STATE, URL, "", timedelta(days=60)).items():
        if name.startswith("PREFECT"):
            monkeypatch.setenv(name, value)

    server = Settings().server

    assert server.services.db_vacuum.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert server.services.db_vacuum.retention_period == timedelta(days=60)
    assert server.events.retention_period == timedelta(days=30)
    assert server.api.csrf_protection_enabled
    assert server.api.cors_allowed_origins == f"{URL},http://localhost:4200"


def test_the_databases_secrets_reach_only_the_part_that_needs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEEPFIT_PREFECT_DATABASE", "postgresql://u:canary@db/prefect")
    monkeypatch.setenv("PREFECT_API_KEY", "canary")

    for environ in (common(STATE), of_mlflow(STATE, URL, ""), of_runner(STATE, URL, "a:b", "", ())):
        assert "canary" not in " ".join(environ.values())


def test_the_runner_uses_the_stacks_stores_and_no_module_of_the_working_folder() -> None:
    environ = of_runner(STATE, f"{URL}/api", "a:b", "postgresql+psycopg://db/mlflow", ())

    assert environ["MLFLOW_TRACKING_URI"] == "postgresql+psycopg://db/mlflow"
    assert environ["PREFECT_API_URL"] == f"{URL}/api"
    assert environ["PYTHONSAFEPATH"] == "1"
    assert environ["KEEPFIT_STATE"] == str(STATE)
    assert "127.0.0.1" in environ["NO_PROXY"]


def test_housekeeping_looks_at_the_stores_that_the_runner_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////elsewhere.db")
    database = "postgresql+psycopg://db/mlflow"

    assert of_housekeeping(STATE, database)["MLFLOW_TRACKING_URI"] == database
    assert "MLFLOW_TRACKING_URI" not in of_housekeeping(STATE, "")
