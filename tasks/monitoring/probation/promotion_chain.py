"""Champions that followed each other without a verdict, and whom they replaced; pure.

Where labels come late a champion is replaced before its own are known. Refits that replace each
other are then on probation together, against the last champion that was confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tasks.base.monitoring_records import Decision, Window
from tasks.base.training_records import Record

MOVES = ("promoted", "confirmed", "rolled_back")  # kinds of decisions that are moves


class Move(Record):
    """A promotion, or the end of a probation."""

    kind: Literal["promoted", "confirmed", "rolled_back"]
    version: str  # promoted, confirmed, or gone back to
    former: str = ""  # whom a promoted version replaced; empty for the first champion
    refit: bool = False  # whether it is the replaced version's recipe fitted on newer rows
    metric: str = ""  # that a probation judged by
    differences: tuple[tuple[float, float], ...] = ()  # of its windows, with standard errors


class Chain(Record):
    """Champions on probation together, the newest first, and whom they are compared with."""

    members: tuple[str, ...]
    base: str


def chain_of(champion: str, moves: Sequence[Move]) -> Chain | None:
    """Return the champions on probation with `champion`; None where it is not on probation.

    From the champion back each refit joins the version that it replaced, unless a verdict or a
    rollback settled that one. What a search or a person promoted is compared with the version that
    it replaced, whether that was settled or not.

    `moves`: the newest first.

    >>> moves = [
    ...     Move(kind="promoted", version="3", former="2", refit=True),
    ...     Move(kind="promoted", version="2", former="1", refit=True),
    ...     Move(kind="promoted", version="1"),
    ... ]
    >>> chain_of("3", moves)
    Chain(members=('3', '2'), base='1')
    >>> chain_of("3", [Move(kind="confirmed", version="2"), *moves])
    Chain(members=('3',), base='2')
    """
    members: list[str] = []
    version = champion
    while version not in members:
        came = next((move for move in moves if move.version == version), None)
        if came is None or came.kind != "promoted" or not came.former:
            break
        members.append(version)
        version = came.former
        if not came.refit:
            break
    if not members or version in members:
        return None
    return Chain(members=tuple(members), base=version)


def differences_of(moves: Sequence[Move], metric: str) -> list[tuple[tuple[float, float], ...]]:
    """Return the differences of the windows of each ended probation in `metric`, as `moves` are."""
    return [move.differences for move in moves if move.differences and move.metric == metric]


def windows_of(chain: Chain | None, decisions: Sequence[Decision]) -> dict[Window, str]:
    """Return the windows that the chain's members were monitored in, and who scored each."""
    # `decisions`: the newest first. What was found before the oldest member was promoted, as of a
    # version that was gone back from and is promoted by hand, is of an earlier probation.
    members = () if chain is None else chain.members
    found: dict[Window, str] = {}
    for d in decisions:
        if d.kind == "promoted" and d.version in members[-1:]:
            break
        if d.kind == "monitored" and d.version in members and d.window is not None:
            # The oldest statement about a window is of the version that scored in its time.
            found[d.window] = d.version
    return found


def moves_of(decisions: Sequence[Decision]) -> tuple[Move, ...]:
    """Return the moves among `decisions`, in their order."""
    return tuple(
        Move(
            kind=decision.kind,
            version=decision.version,
            former=str(decision.evidence.get("former") or ""),
            refit=decision.evidence.get("training") == "refit",
            metric=str(decision.evidence.get("metric") or ""),
            differences=decision.evidence.get("differences") or (),
        )
        for decision in decisions
        if decision.kind in MOVES and decision.version is not None
    )
