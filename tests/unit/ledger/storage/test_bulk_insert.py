from __future__ import annotations

import signal
import time

import pytest
import sqlalchemy as sa

from tasks.ledger.ledger import Ledger
from tasks.ledger.storage.bulk_insert import interruptible
from tests.unit.ledger.made import Stopped, decision, signals_raising

# Minutes on an idle machine.
LONG = """
INSERT INTO keepfit_claims SELECT 'flights', x, 'c', '2020-01-01 00:00:00' FROM (
    WITH RECURSIVE g(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM g WHERE x < 2000000000)
    SELECT max(x) AS x FROM g) AS counted
"""


def write_for_minutes(ledger: Ledger) -> None:
    with ledger.writing("claims") as connection:
        connection.execute(sa.text("DELETE FROM keepfit_ledger_schema"))
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        interruptible(connection, sa.text(LONG))


def test_a_statement_is_stopped_by_a_signal_and_its_transaction_is_rolled_back(
    ledger: Ledger,
) -> None:
    began = time.monotonic()
    with signals_raising(signal.SIGALRM), pytest.raises(Stopped):
        write_for_minutes(ledger)
    assert time.monotonic() - began < 60
    with ledger.reading() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM keepfit_claims")).scalar() == 0
        kept = connection.execute(sa.text("SELECT count(*) FROM keepfit_ledger_schema")).scalar()
    assert kept == 1
    assert ledger.record(decision())
