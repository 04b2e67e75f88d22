"""Each test of the ledger on SQLite and on a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.ledger.ledger import Ledger
from tests.postgres import Server, postgres_server
from tests.unit.ledger.made import opened

__all__ = ["postgres_server"]


@pytest.fixture(scope="session")
def _database(postgres_server: Server) -> str:
    engine = sa.create_engine(postgres_server.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE ledger"))
    engine.dispose()
    return postgres_server.url("ledger")


@pytest.fixture
def postgres_url(_database: str) -> str:
    """An empty database; making one anew for each test takes far longer."""
    engine = sa.create_engine(_database)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return _database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str | None:
    """What `ledger.url` states."""
    if request.param == "sqlite":
        return None
    address: str = request.getfixturevalue("postgres_url")
    return address


@pytest.fixture
def ledger(url: str | None, tmp_path: Path) -> Iterator[Ledger]:
    ledger = opened(tmp_path, url)
    yield ledger
    ledger.engine.dispose()
