from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from tasks.base.errors import InfrastructureError
from tasks.base.monitoring_records import Decision, Window
from tasks.ledger.ledger import Ledger
from tests.unit.ledger.made import NAME, Forked, decision, opened


def ids(found: tuple[Decision, ...]) -> list[str]:
    return [one.id for one in found]


def test_a_decision_comes_back_as_it_was(ledger: Ledger) -> None:
    window = Window(start=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2020, 1, 8, tzinfo=UTC))
    made = decision(
        kind="promoted",
        version="3",
        window=window,
        sentence='Über "dest" </script> \U0001f6eb',
        data_digest="d",
        evidence={"rows": 3, "interval": [0.1, 0.2], "by": "gate", "none": None, "ü": {"a": True}},
        links={"report": "/srv/r.html"},
    )
    assert ledger.record(made)
    assert ledger.decisions() == (made,)


def test_a_decision_is_recorded_once(ledger: Ledger) -> None:
    assert ledger.record(decision(sentence="first"))
    assert not ledger.record(decision(sentence="second"))
    assert [one.sentence for one in ledger.decisions()] == ["first"]


def test_the_newest_come_first_and_what_was_at_once_in_its_order(ledger: Ledger) -> None:
    for number in (2, 1, 3):
        ledger.record(decision(number))
    ledger.record(decision(27))  # at the same hour as 3
    assert ids(ledger.decisions()) == ["d27", "d3", "d2", "d1"]
    assert ids(ledger.decisions(most=2)) == ["d27", "d3"]


def test_decisions_are_found_by_what_they_are_about(ledger: Ledger) -> None:
    ledger.record(decision(1, kind="trained", version="1"))
    ledger.record(decision(2, kind="promoted", version="1", correlation="c1"))
    ledger.record(decision(3, pipeline="other"))
    assert ids(ledger.decisions(NAME)) == ["d2", "d1"]
    assert ids(ledger.decisions(kinds=["trained", "monitored"])) == ["d3", "d1"]
    assert ids(ledger.decisions(correlation="c1", version="1")) == ["d2", "d1"]
    assert ids(ledger.decisions("other", version="1")) == []
    assert ids(ledger.decisions(since=datetime(2020, 1, 1, 2, tzinfo=UTC))) == ["d3", "d2"]


def test_moments_of_any_zone_are_one_time(ledger: Ledger) -> None:
    east = timezone(timedelta(hours=9))
    ledger.record(decision(1, at=datetime(2020, 1, 1, 12, tzinfo=UTC)))
    ledger.record(decision(2, at=datetime(2020, 1, 1, 20, tzinfo=east)))  # 11 in UTC
    ledger.record(decision(3, at=datetime(2020, 1, 1, 13)))
    assert ids(ledger.decisions()) == ["d3", "d1", "d2"]
    assert ids(ledger.decisions(since=datetime(2020, 1, 1, 21, tzinfo=east))) == ["d3", "d1"]


def test_no_secret_gets_in(url: str | None, tmp_path: Path) -> None:
    secret = 'c4n"äry\\'
    ledger = opened(tmp_path, url, secrets=(secret,))
    ledger.record(
        decision(
            sentence=f"could not reach https://u:{secret}@host",
            evidence={"failed": [secret, {secret: secret}]},
            links={"report": f"/x/{secret}"},
        )
    )
    found = ledger.decisions()[0]
    assert secret not in str(found)
    assert found.sentence == "could not reach https://u:***@host"
    assert found.evidence == {"failed": ["***", {"***": "***"}]}
    assert secret not in repr(ledger)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"c4n" not in stored
    ledger.engine.dispose()


def test_what_databases_refuse_is_written_without_it(ledger: Ledger) -> None:
    ledger.record(decision(sentence="a\x00b\ud800", evidence={"x": math.nan, "y": math.inf}))
    found = ledger.decisions()[0]
    assert found.sentence == "ab?"
    assert found.evidence == {"x": None, "y": None}


@pytest.mark.parametrize("moment", ["before", "before_commit", "after_commit"])
def test_a_decision_is_there_or_not_when_its_process_is_killed(
    moment: str, url: str | None, ledger: Ledger, tmp_path: Path
) -> None:
    def work() -> bool:
        return opened(tmp_path, url).record(decision())

    assert Forked(work, f"ledger.decisions.{moment}").killed()
    assert Forked(work).answer() == str(moment != "after_commit")
    assert ids(ledger.decisions()) == ["d0"]


@pytest.mark.parametrize("body", ["{bad", '{"id": 1}', "[]"])
def test_a_row_that_keepfit_did_not_write_is_an_error_of_the_ledger(
    body: str, tmp_path: Path
) -> None:
    ledger = opened(tmp_path)
    assert ledger.record(decision())
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database, database:
        database.execute("UPDATE keepfit_decisions SET body = ?", (body,))

    with pytest.raises(InfrastructureError, match="cannot be read"):
        ledger.decisions()
