"""A malformed database URL is named without any part of it that may be secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from deploy.stack.environments import MLFLOW_DATABASE, PREFECT_DATABASE, databases
from tasks.base.errors import ConfigError, KeepfitError, SourceError, UsageError
from tasks.base.pipeline_file import load_pipeline
from tasks.base.settings.database_addresses import fault_of, no_driver
from tasks.base.settings.scoring import SqlSink
from tasks.base.settings.sources import SqlSource
from tasks.data.sources.sql_connections import connected
from tasks.registry.mlflow.sqlite_database import check_tracking
from tasks.scoring.sql_tables import _engine

SECRET = "hunter2s3cret"
MALFORMED = {
    "no number as port": f"postgresql://me:{SECRET}@db:54x2/sales",
    "a port too large": f"postgresql://me:{SECRET}@db:99999/sales",
    "no scheme": f"me:{SECRET}@db/sales",
    "an unknown dialect": f"postgressql://me:{SECRET}@db/sales",
    "an unknown driver": f"postgresql+psycopg9://me:{SECRET}@db/sales",
    "nothing but a scheme": "://",
    "half a host": f"postgresql://me:{SECRET}@[::1/sales",
    "an @ in the password": f"postgresql://me:a@{SECRET}@db/sales",
    "a # in the password": f"postgresql://me:12#{SECRET}@db/sales",
    "a / in the password": f"postgresql://me:12/{SECRET}@db/sales",
    "a ? in the password": f"postgresql://me:12?{SECRET}@db/sales",
}


def test_a_missing_driver_is_named_with_the_package_that_holds_it() -> None:
    _, remedy = no_driver(make_url("mysql://db/sales"), ImportError(name="MySQLdb"))
    assert "pip install mysqlclient" in remedy


@pytest.mark.parametrize("url", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize(
    "keys",
    [
        "source: {{kind: sql, url: {}, table: t}}",
        "scoring: {{sink: {{kind: sql, url: {}, table: t}}}}",
        "scoring: {{source: {{kind: sql, url: {}, table: t}}}}",
        "monitoring: {{labels: {{kind: sql, url: {}, table: t}}}}",
        "ledger: {{url: {}}}",
    ],
)
@pytest.mark.parametrize("written", ["'${DB}'", "literally"])
def test_a_malformed_url_in_the_file_is_an_error_at_its_line_that_hides_it(
    tmp_path: Path, keys: str, url: str, written: str
) -> None:
    file = tmp_path / "keepfit.yaml"
    source = "" if keys.startswith("source") else "source: {kind: csv, path: x.csv}\n"
    value = f"'{url}'" if written == "literally" else written
    file.write_text(f"name: mine\ntarget: y\n{source}{keys.format(value)}\n")
    with pytest.raises(ConfigError) as refused:
        load_pipeline(file, {"DB": url})
    text = str(refused.value)
    assert f"line {4 if source else 3}" in text
    assert SECRET not in text
    assert refused.value.exit_status == 2


@pytest.mark.parametrize(
    "url", [url for what, url in MALFORMED.items() if what != "an unknown driver"]
)
@pytest.mark.parametrize("variable", [PREFECT_DATABASE, MLFLOW_DATABASE])
def test_a_malformed_url_in_a_variable_is_a_usage_error_that_hides_it(
    variable: str, url: str
) -> None:
    with pytest.raises(UsageError) as refused:
        databases(None, None, {variable: url})
    assert variable in refused.value.message
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        MALFORMED["no number as port"],
        f"http://me:{SECRET}@host:80x",
        f"http://me:12#{SECRET}@host/x",
        f"https://me:12/{SECRET}@host/x",
    ],
)
def test_a_malformed_tracking_address_is_refused_and_hidden(address: str) -> None:
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI") as refused:
        check_tracking(address)
    assert SECRET not in str(refused.value)


def test_tracking_addresses_that_can_be_used_pass() -> None:
    for address in ("", "http://127.0.0.1:5000", "sqlite:////srv/mlflow.db", "postgresql://db/m"):
        check_tracking(address)


def test_options_that_a_driver_refuses_are_named_without_their_values(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    source = SqlSource(kind="sql", url=f"postgresql://me@127.0.0.1:1/x?colour={SECRET}", table="t")
    with pytest.raises(KeepfitError) as refused, connected(source, tmp_path):
        pass
    assert "colour" in refused.value.message
    assert refused.value.exit_status == 2
    assert SECRET not in str(refused.value)


def test_a_driver_that_is_not_installed_is_named_with_its_package(tmp_path: Path) -> None:
    source = SqlSource(kind="sql", url="mysql+pymysql://db/sales", table="t")
    with pytest.raises(SourceError, match="pymysql") as refused, connected(source, tmp_path):
        pass
    assert refused.value.remedy == "Install it: pip install pymysql."
    with pytest.raises(ConfigError, match="pymysql"):
        _engine("mysql+pymysql://db/sales", tmp_path)


def test_a_value_from_the_environment_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "keepfit.yaml"
    file.write_text(
        "name: mine\ntarget: y\nsource: {kind: csv, path: x.csv}\nalerts: '${URL}'\n"
        "description: '${URL}'\nmetric: '${URL}'\n"
    )
    with pytest.raises(ConfigError) as refused:
        load_pipeline(file, {"URL": f"slack://{SECRET}"})
    assert SECRET not in str(refused.value)
    assert "${URL}" in str(refused.value)


@pytest.mark.parametrize(
    "url", ["sqlite:///x.db", "sqlite://", "postgresql://u:p%40ss@db:5432/x?sslmode=require"]
)
def test_urls_that_can_be_used_have_no_fault(url: str) -> None:
    assert fault_of(url) == ""
    SqlSink(kind="sql", url=url, table="t")
