"""Commands that race each other for one pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.pipeline_file import load_pipeline
from tasks.ledger.ledger import ledger_of
from tests.checkers import shared_checker
from tests.e2e.churn import LOOP, add_rows
from tests.e2e.faults import Going
from tests.program import Ran, keepfit
from tests.tables import write_churn, write_pipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.timeout(2400),
    pytest.mark.usefixtures("shared_checker"),
]
__all__ = ["shared_checker"]


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Ran]]:
    """Return a pipeline that three commands train at once, and how each ended."""
    folder = tmp_path_factory.mktemp("raced")
    write_pipeline(folder, write_churn(folder / "c.csv"), LOOP)
    three = [Going(folder, "run", folder, "--json") for _ in range(3)]
    ran = [going.ended() for going in three]
    decisions = ledger_of(load_pipeline(folder)).decisions("churn")
    assert sorted(d.kind for d in decisions) == ["promoted", "trained"]
    return folder, ran


def test_of_three_trainings_at_once_one_trains_and_the_others_find_it_done(
    raced: tuple[Path, list[Ran]],
) -> None:
    _, ran = raced

    assert [one.status for one in ran] == [0] * 3, [one.err for one in ran]
    assert {one.answer["model"]["version"] for one in ran} == {"1"}
    assert len({one.answer["mlflow_run_id"] for one in ran}) == 1
    assert sum("fitted, the baseline among them" in one.err for one in ran) == 1
    assert sum("trained already" in one.err for one in ran) == 2


def test_promotions_by_hand_that_race_follow_each_other(raced: tuple[Path, list[Ran]]) -> None:
    from tasks.registry.mlflow.shared_stores import store_of

    folder, _ = raced
    add_rows(folder, 60, 21)
    assert keepfit("run", folder, "--json").status == 0
    plan = load_pipeline(folder)
    store = store_of(plan)
    before = store.champion("churn")
    assert before is not None
    racing = [Going(folder, "promote", v, folder, "--json") for v in ("1", "2", "1", "2")]
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
