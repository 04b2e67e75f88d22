"""Commands that race each other for one pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.pipeline_file import load_pipeline
from tasks.ledger.ledger import ledger_of
from tests.e2e.churn import LOOP, add_rows
from tests.e2e.faults import Going
from tests.program import keepfit
from tests.tables import write_churn, write_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1200)]


def test_of_three_trainings_at_once_one_trains_and_the_others_find_it_done(
    tmp_path: Path,
) -> None:
    write_pipeline(tmp_path, write_churn(tmp_path / "c.csv"), LOOP)
    three = [Going(tmp_path, "run", tmp_path, "--json") for _ in range(3)]
    ran = [going.ended(500) for going in three]

    assert [one.status for one in ran] == [0] * 3, [one.err for one in ran]
    assert {one.answer["model"]["version"] for one in ran} == {"1"}
    assert len({one.answer["mlflow_run_id"] for one in ran}) == 1
    assert sum("fitted, the baseline among them" in one.err for one in ran) == 1
    assert sum("trained already" in one.err for one in ran) == 2
    decisions = ledger_of(load_pipeline(tmp_path)).decisions("churn")
    assert sorted(d.kind for d in decisions) == ["promoted", "trained"]


def test_promotions_by_hand_that_race_follow_each_other(tmp_path: Path) -> None:
    from tasks.registry.stores import store_of

    write_pipeline(tmp_path, write_churn(tmp_path / "c.csv"), LOOP)
    for seed in (21, 22):
        assert keepfit("run", tmp_path, "--json").status == 0
        add_rows(tmp_path, 60, seed)
    plan = load_pipeline(tmp_path)
    store = store_of(plan.state)
    before = store.champion("churn")
    assert before is not None
    racing = [Going(tmp_path, "promote", v, tmp_path, "--json") for v in ("1", "2", "1", "2")]
    ran = [going.ended() for going in racing]

    assert [one.status for one in ran] == [0] * 4, [one.err for one in ran]
    after = store.champion("churn")
    assert after is not None
    moves = [d for d in ledger_of(plan).decisions("churn", kinds=("promoted",))
             if d.evidence["by"] == "hand"]  # fmt: skip
    assert 1 <= len(moves) <= 4
    champion, left = before.version, [(str(d.evidence["former"]), str(d.version)) for d in moves]
    while left:
        # Each was decided over the champion that another had made.
        found = next((move for move in left if move[0] == champion), None)
        assert found is not None, (champion, left)
        left.remove(found)
        champion = found[1]
    assert champion == after.version
