from __future__ import annotations

from tasks.monitoring.probation.promotion_chain import (
    Chain,
    Move,
    chain_of,
    differences_of,
    moves_of,
    windows_of,
)
from tests.unit.monitoring.decisions import decision, week


def came(version: int, *, refit: bool = True) -> Move:
    former = str(version - 1) if version > 1 else ""
    return Move(kind="promoted", version=str(version), former=former, refit=refit)


def settled(kind: str, version: int) -> Move:
    return Move.model_validate({"kind": kind, "version": str(version)})


def test_refits_that_replaced_each_other_are_tried_together() -> None:
    moves = [came(4), came(3), came(2), came(1)]

    assert chain_of("4", moves) == Chain(members=("4", "3", "2"), base="1")


def test_a_verdict_on_a_member_makes_it_the_one_to_compare_with() -> None:
    moves = [settled("confirmed", 3), came(4), came(3), came(2), came(1)]

    assert chain_of("4", moves) == Chain(members=("4",), base="3")
    assert chain_of("3", moves) is None


def test_what_no_refit_promoted_is_compared_with_whom_it_replaced() -> None:
    moves = [came(4), came(3, refit=False), came(2), came(1)]

    assert chain_of("4", moves) == Chain(members=("4", "3"), base="2")


def test_what_was_gone_back_to_is_settled() -> None:
    moves = [came(5), settled("rolled_back", 1), came(3), came(2), came(1)]

    assert chain_of("1", moves) is None
    after = [moves[0].model_copy(update={"former": "1"}), *moves[1:]]
    assert chain_of("5", after) == Chain(members=("5",), base="1")


def test_the_first_champion_and_one_without_records_have_no_probation() -> None:
    assert chain_of("1", [came(1)]) is None
    assert chain_of("9", [came(1)]) is None
    circle = [came(2), Move(kind="promoted", version="1", former="2", refit=True)]
    assert chain_of("2", circle) is None


def test_moves_are_read_from_decisions() -> None:
    found = moves_of(
        [
            decision("monitored", version="2"),
            decision("promoted", {"former": "1", "training": "refit"}, version="2"),
            decision("promoted", {"former": None, "training": "search"}, version="1"),
        ]
    )

    assert found == (came(2), came(1, refit=False))


def test_what_windows_differed_by_is_read_from_ends_of_probations_in_the_same_metric() -> None:
    found = moves_of(
        [
            decision("confirmed", {"metric": "mae", "differences": [[0.1, 0.2]]}, version="3"),
            decision("rolled_back", {"metric": "rmse", "differences": [[9.0, 9.0]]}, version="2"),
            decision("confirmed", {"former": "1"}, version="2"),  # recorded before it was kept
        ]
    )

    assert differences_of(found, "mae") == [((0.1, 0.2),)]


def test_a_window_belongs_to_the_member_that_looked_at_it_first() -> None:
    looks = [(0, "3"), (1, "3"), (0, "2"), (0, "1")]
    found = [decision("monitored", version=v, window=week(w)) for w, v in looks]

    assert windows_of(Chain(members=("3", "2"), base="1"), found) == {week(0): "2", week(1): "3"}
    assert windows_of(None, found) == {}


def test_windows_from_before_a_rollback_are_of_an_earlier_probation() -> None:
    found = [
        decision("monitored", version="3", window=week(3)),
        decision("promoted", {"former": "2", "by": "hand"}, version="3"),
        decision("monitored", version="3", window=week(2)),
        decision("rolled_back", {"former": "3"}, version="2"),
        decision("monitored", version="3", window=week(1)),
    ]

    assert windows_of(chain_of("3", moves_of(found)), found) == {week(3): "3"}


def test_windows_from_before_the_base_was_confirmed_count() -> None:
    found = [
        decision("confirmed", {"former": "2"}, version="3"),
        decision("monitored", version="4", window=week(3)),
        decision("promoted", {"former": "3", "training": "refit"}, version="4"),
    ]

    assert windows_of(chain_of("4", moves_of(found)), found) == {week(3): "4"}
