"""What a probation comes to is recorded with the move of the alias that it asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.base.errors import EvidenceError
from tasks.base.training_records import ModelVersion
from tasks.monitoring.probation.evaluation import _concluded
from tasks.monitoring.probation.promotion_chain import differences_of, moves_of
from tests.opened import opened
from tests.unit.ledger.made import opened as opened_ledger

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BASE, CHAMPION = (ModelVersion(name="churn", version=v, run_id=f"run {v}") for v in "12")


class Registry:
    """A registry that notes who is to score again, or refuses."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.moved: list[tuple[str, ...]] = []

    def rollback(self, *asked: str) -> None:
        if self.error is not None:
            raise self.error
        self.moved.append(asked)


def concluded(
    folder: Path, store: Registry, state: str, champion: ModelVersion = CHAMPION
) -> tuple[Any, list[Any]]:
    plan: Any = SimpleNamespace(work=folder, config=SimpleNamespace(name="churn", metric="mae"))
    look: Any = SimpleNamespace(
        champion=champion, cause=SimpleNamespace(correlation="c"), window=None
    )
    verdict: Any = SimpleNamespace(
        state=state, until=None, sentence="Worse.", difference=-0.1, interval=None, windows=2,
        rows=90, differences=((-0.1, 0.02),),
    )  # fmt: skip
    ledger, given = opened_ledger(folder), (look, BASE, {}, verdict, NOW)
    found = _concluded(opened(plan, ledger=ledger, store=store), *given)
    return found, [*ledger.decisions("churn")]


@pytest.mark.parametrize(
    ("state", "kind", "version", "former"),
    [("rolled_back", "rolled_back", "1", "2"), ("confirmed", "confirmed", "2", "1")],
)
def test_a_verdict_names_who_scores_and_whom_it_was_compared_with(
    tmp_path: Path, state: str, kind: str, version: str, former: str
) -> None:
    store = Registry()

    decision, recorded = concluded(tmp_path, store, state)

    assert recorded == [decision]
    assert (decision.kind, decision.version, decision.evidence["former"]) == (kind, version, former)
    assert differences_of(moves_of(recorded), "mae") == [((-0.1, 0.02),)]
    assert store.moved == ([("churn", "2", "1")] if state == "rolled_back" else [])
    assert not list(tmp_path.glob("verdicts/*"))


def test_nothing_is_recorded_where_the_alias_was_moved_meanwhile(tmp_path: Path) -> None:
    store = Registry(EvidenceError("the champion is version 3"))

    assert concluded(tmp_path, store, "rolled_back") == (None, [])
    assert not list(tmp_path.glob("verdicts/*"))


def test_a_version_promoted_again_and_gone_back_from_again_is_recorded_again(
    tmp_path: Path,
) -> None:
    again = CHAMPION.model_copy(update={"tags": {"keepfit.promoted_at": NOW.isoformat()}})

    concluded(tmp_path, Registry(), "rolled_back")
    decision, recorded = concluded(tmp_path, Registry(), "rolled_back", again)

    assert len(recorded) == 2
    assert decision in recorded
