"""Loading reports what will become of the rows that it read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks import load
from tasks.base.monitoring_records import Cause
from tasks.base.training_records import Snapshot


@pytest.mark.parametrize(
    ("scope", "reported"),
    [("new", "337 rows read, only new ones are scored"), ("all", "337 rows to score")],
)
def test_rows_that_are_read_once_more_are_not_announced_as_to_be_scored(
    scope: Any, reported: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = Snapshot(path="", digest="", rows=337, kinds={})
    monkeypatch.setattr(load, "scored_since", lambda *_: None)
    monkeypatch.setattr(load, "scoring_snapshot", lambda *_, **__: snapshot)
    steps: list[str] = []
    monkeypatch.setattr(load, "report", lambda step: steps.append(step.text))

    cause = Cause(kind="manual", correlation="c", at=datetime(2026, 3, 1, tzinfo=UTC))
    unused: Any = None
    load.load_rows(unused, unused, cause, scope)

    assert steps == [reported]
