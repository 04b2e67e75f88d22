"""What the scoring flow records of deliveries that leave nothing to score."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace as Made
from typing import Any

import pytest

from flows import scoring as flow


@pytest.mark.parametrize("rows", [0, 3])
def test_files_that_are_no_longer_written_are_told_of_though_nothing_is_scored(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    told: list[Any] = []
    outcome = Made(aside=("a stale file",))
    rest = Made(snapshot=Made(rows=0), aside=None)
    for name, found in {
        "pipeline_of_run": None, "with_overrides": None, "open_pipeline": None, "scope_of": "new",
        "answerable": nullcontext(), "find_champion": None, "load_rows": Made(rows=rows),
        "admit_rows": rest, "nothing_to_score": outcome,
    }.items():  # fmt: skip
        monkeypatch.setattr(flow, name, lambda *_, found=found, **__: found)
    monkeypatch.setattr(flow, "record_scoring", lambda *given: told.append(given[1]))

    assert flow.scoring.fn("keepfit.yaml") is outcome
    assert told == [outcome]
