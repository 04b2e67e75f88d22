from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from tasks.ledger.ledger import Ledger
from tasks.ledger.records import Pruned
from tests.unit.ledger.made import NAME, decision, opened, predictions, schema

LATER = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def write(ledger: Ledger, frame: pd.DataFrame, batch: str = "b1") -> None:
    ledger.write_predictions(NAME, frame, schema(), version="1", run_id="r", batch=batch)


def aged(ledger: Ledger) -> None:
    """Let everything have been written in the middle of 2020."""
    with ledger.writing("test") as connection:
        earlier = "UPDATE keepfit_batches SET written_at = '2020-06-01 00:00:00.000000'"
        connection.execute(sa.text(earlier))


def test_old_predictions_go_with_their_labels(ledger: Ledger) -> None:
    write(ledger, predictions(6))
    aged(ledger)
    known = pd.DataFrame({"id": range(6), "late": ["yes"] * 6})
    ledger.write_labels(NAME, known, schema())
    gone = ledger.prune(LATER, 3 * HOUR)
    assert gone == Pruned(predictions=2, labels=2)
    read = ledger.window_rows(NAME, None, schema())
    assert read["time"].dt.hour.tolist() == [2, 3, 4, 5]
    assert read["label"].tolist() == ["yes"] * 4
    assert ledger.prune(LATER, 3 * HOUR) == Pruned()


def test_old_rows_scored_lately_stay(ledger: Ledger) -> None:
    write(ledger, predictions(6))
    assert ledger.prune(datetime.now(UTC), 3 * HOUR) == Pruned()


def test_a_row_of_the_future_makes_no_other_old(ledger: Ledger) -> None:
    write(ledger, predictions(6))
    write(ledger, predictions(1, start=60 * 365 * 24), "b2")
    aged(ledger)
    assert ledger.prune(datetime(2020, 7, 1, tzinfo=UTC), timedelta(days=200)) == Pruned()


def test_each_pipeline_is_as_old_as_its_own_newest_row(ledger: Ledger) -> None:
    write(ledger, predictions(6))
    later = predictions(6, start=2400)
    ledger.write_predictions("other", later, schema(), version="1", run_id="r", batch="b")
    aged(ledger)
    assert ledger.prune(LATER, timedelta(hours=5)) == Pruned()


def test_served_rows_without_a_time_stay_and_shadows_go(ledger: Ledger) -> None:
    timeless = predictions().assign(time=pd.NaT)
    write(ledger, timeless)
    ledger.write_predictions(
        NAME, timeless, schema(), version="2", run_id="s", batch="b1", role="shadow"
    )
    assert ledger.prune(datetime(2021, 1, 1, tzinfo=UTC), HOUR) == Pruned()
    aged(ledger)
    assert ledger.prune(datetime(2021, 1, 1, tzinfo=UTC), HOUR) == Pruned(predictions=4, batches=1)
    assert len(ledger.window_rows(NAME, None, schema())) == 4


def test_what_why_tells_is_never_removed(ledger: Ledger) -> None:
    for number, kind in enumerate(["trained", "promoted", "rolled_back", "monitored", "scored"]):
        ledger.record(decision(number, kind=kind))
    ledger.record(decision(5, kind="alarmed", correlation="c1"))  # led to the promotion
    ledger.record(decision(6, kind="monitored"))  # the last window: monitoring goes on from it
    ledger.claim(NAME, "k", "c")
    assert ledger.prune(datetime(2030, 1, 1, tzinfo=UTC), HOUR) == Pruned(decisions=2)
    kept = ["monitored", "alarmed", "rolled_back", "promoted", "trained"]
    assert [d.kind for d in ledger.decisions()] == kept
    assert not ledger.claim(NAME, "k", "c")


def test_the_size_is_told(ledger: Ledger) -> None:
    before = ledger.size_bytes()
    write(ledger, predictions(5000))
    assert ledger.size_bytes() > before + 200_000


def test_the_space_of_a_file_is_given_back(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    write(ledger, predictions(20_000))
    aged(ledger)
    ledger.prune(LATER, timedelta(days=9000))
    large = ledger.size_bytes()
    assert ledger.prune(LATER, HOUR).predictions == 19_998
    assert ledger.size_bytes() < large / 5
