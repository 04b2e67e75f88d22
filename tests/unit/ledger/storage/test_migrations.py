"""A ledger that was kept from version 1 is read, shown and written as one of today."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.dashboard.page import write_dashboard
from tasks.ledger.ledger import Ledger
from tasks.ledger.storage.tables import VERSION
from tests.histories import pipeline
from tests.unit.ledger.made import NAME, decision, opened, predictions, schema

KEPT = Path(__file__).parent / "version_1.sql"
"""What version 1 wrote, dumped: decisions of each kind, predictions, labels, a claim."""


@pytest.fixture
def kept(tmp_path: Path) -> Ledger:
    (tmp_path / ".keepfit").mkdir()
    with sqlite3.connect(tmp_path / ".keepfit" / "ledger.db") as file:
        file.executescript(KEPT.read_text(encoding="utf-8"))
    return opened(tmp_path / ".keepfit")


def columns(ledger: Ledger) -> dict[str, set[str]]:
    with ledger.reading() as connection:
        found = sa.inspect(connection)
        return {
            name: {column["name"] for column in found.get_columns(name)}
            for name in found.get_table_names()
        }


def test_its_tables_become_those_of_today(kept: Ledger, tmp_path: Path) -> None:
    with kept.reading() as connection:
        versions = connection.execute(sa.text("SELECT version FROM keepfit_ledger_schema"))
        assert set(versions.scalars()) == {1, VERSION}
    assert columns(kept) == columns(opened(tmp_path / "new"))


def test_what_it_holds_is_read(kept: Ledger) -> None:
    found = kept.decisions(NAME)
    alarm = kept.decisions(NAME, kinds=("alarmed",))[0]

    assert len(found) == 21
    assert alarm.evidence["retrain"] is True
    assert kept.coverage(NAME, None).rows == 12
    assert kept.coverage(NAME, None).labelled == 6
    assert kept.holder(NAME, "alarm-1") == "c1"


def test_what_is_served_and_decided_goes_on_in_it(kept: Ledger) -> None:
    again = kept.write_predictions(
        NAME, predictions(14), schema(), version="2", run_id="s", batch="c"
    )
    kept.record(decision())

    assert again.new == 2
    assert len(kept.decisions(NAME)) == 22


def test_keepfits_page_shows_it(kept: Ledger, tmp_path: Path) -> None:
    now = datetime(2013, 8, 1, tzinfo=UTC)
    page = write_dashboard([pipeline(tmp_path)], tmp_path / "page.html", now=now)

    text = page.read_text(encoding="utf-8")
    assert "was fitted on 38,100 rows" in text
    assert text.count("k-promoted") >= 3
