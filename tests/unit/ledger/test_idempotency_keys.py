from __future__ import annotations

import random
from pathlib import Path

import pytest

from tasks.ledger.ledger import Ledger
from tests.unit.ledger.made import NAME, Forked, opened


def test_a_key_is_claimed_once_until_it_is_released(ledger: Ledger) -> None:
    assert ledger.holder(NAME, "k") is None
    assert ledger.claim(NAME, "k", "first")
    assert not ledger.claim(NAME, "k", "second")
    assert not ledger.claim(NAME, "k", "first")
    assert ledger.holder(NAME, "k") == "first"
    assert ledger.claim("other", "k", "second")
    ledger.release(NAME, "k")
    assert ledger.claim(NAME, "k", "second")
    ledger.release(NAME, "never claimed")


def test_of_a_thousand_claims_each_key_is_won_once(ledger: Ledger) -> None:
    distinct = [f"window {n}" for n in range(700)]
    asked = distinct + random.Random(0).choices(distinct, k=300)  # noqa: S311 - no secret
    random.Random(1).shuffle(asked)  # noqa: S311 - no secret
    won = [key for key in asked if ledger.claim(NAME, key, "c")]
    assert sorted(won) == sorted(distinct)


def test_of_eight_processes_that_claim_one_key_fifty_times_one_wins_once(
    url: str | None, ledger: Ledger, tmp_path: Path
) -> None:
    def asked(number: int) -> int:
        own = opened(tmp_path, url)
        return sum(own.claim(NAME, "week 7", str(number)) for _ in range(50))

    askers = [Forked(lambda n=n: asked(n)) for n in range(8)]  # type: ignore[misc]
    won = [int(asker.answer()) for asker in askers]
    assert sorted(won) == [0] * 7 + [1]
    assert ledger.holder(NAME, "week 7") == str(won.index(1))


@pytest.mark.parametrize(("moment", "free"), [("before_commit", True), ("after_commit", False)])
def test_a_claim_is_there_or_not_when_its_process_is_killed(
    moment: str, free: bool, url: str | None, ledger: Ledger, tmp_path: Path
) -> None:
    killed = Forked(lambda: opened(tmp_path, url).claim(NAME, "k", "c"), f"ledger.claims.{moment}")
    assert killed.killed()
    assert ledger.claim(NAME, "k", "again") is free
