from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from tasks.ledger.ledger import Ledger
from tasks.ledger.results import Pruned
from tests.unit.ledger.made import NAME, decision, opened, predictions, schema


def write(ledger: Ledger, frame: pd.DataFrame, batch: str = "b1") -> None:
    ledger.write_predictions(NAME, frame, schema(), version="1", run_id="r", batch=batch)


def test_old_predictions_go_with_their_labels(ledger: Ledger) -> None:
    write(ledger, predictions(6))
    known = pd.DataFrame({"id": range(6), "late": ["yes"] * 6})
    ledger.write_labels(NAME, known, schema())
    gone = ledger.prune(datetime(2020, 1, 1, 2, tzinfo=UTC))
    assert gone == Pruned(predictions=2, labels=2)
    read = ledger.window_rows(NAME, None, schema())
    assert read["time"].dt.hour.tolist() == [2, 3, 4, 5]
    assert read["label"].tolist() == ["yes"] * 4
    assert ledger.prune(datetime(2020, 1, 1, 2, tzinfo=UTC)) == Pruned()


def test_rows_without_a_time_go_by_when_they_were_written(ledger: Ledger) -> None:
    write(ledger, predictions().assign(time=pd.NaT))
    assert ledger.prune(datetime(2021, 1, 1, tzinfo=UTC)) == Pruned()
    with ledger.database.writing("test") as connection:
        earlier = "UPDATE keepfit_batches SET written_at = '2020-06-01 00:00:00.000000'"
        connection.execute(sa.text(earlier))
    assert ledger.prune(datetime(2021, 1, 1, tzinfo=UTC)) == Pruned(predictions=4, batches=1)


def test_what_why_tells_is_never_removed(ledger: Ledger) -> None:
    for number, kind in enumerate(["trained", "promoted", "rolled_back", "monitored", "scored"]):
        ledger.record(decision(number, kind=kind))
    ledger.record(decision(5, kind="alarmed", correlation="c1"))  # led to the promotion
    ledger.claim(NAME, "k", "c")
    assert ledger.prune(datetime(2030, 1, 1, tzinfo=UTC)) == Pruned(decisions=2)
    assert [d.kind for d in ledger.decisions()] == ["alarmed", "rolled_back", "promoted", "trained"]
    assert not ledger.claim(NAME, "k", "c")


def test_the_size_is_told(ledger: Ledger) -> None:
    before = ledger.size_bytes()
    write(ledger, predictions(5000))
    assert ledger.size_bytes() > before + 200_000


def test_the_space_of_a_file_is_given_back(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    write(ledger, predictions(20_000))
    ledger.prune(datetime(2019, 1, 1, tzinfo=UTC))
    large = ledger.size_bytes()
    assert ledger.prune(datetime(2030, 1, 1, tzinfo=UTC)).predictions == 20_000
    assert ledger.size_bytes() < large / 5
