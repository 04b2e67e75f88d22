from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa

from tasks.base.errors import KeepfitError
from tasks.ledger.ledger import Ledger
from tasks.ledger.single_flight import Busy
from tests.unit.ledger.made import NAME, opened, process

HOLD = """
import os, sys, time
from pathlib import Path
from tests.unit.ledger.made import NAME, opened
state, url, forks = sys.argv[1:]
with opened(Path(state), url or None).flight(NAME):
    child = os.fork() if forks == "forks" else 0
    if forks == "forks" and child == 0:
        sys.stdin.read()  # lives on after its parent, until the test ends
        os._exit(0)
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


def test_a_second_training_is_refused_until_the_first_ends(ledger: Ledger) -> None:
    with ledger.flight(NAME):
        with (
            pytest.raises(Busy, match=f"by process {os.getpid()} of this host"),
            ledger.flight(NAME),
        ):
            raise AssertionError
        with ledger.flight("other"):
            pass
    with ledger.flight(NAME):
        pass


def test_what_fails_inside_is_not_taken_for_busy(ledger: Ledger) -> None:
    with pytest.raises(KeepfitError, match="inside") as caught, ledger.flight(NAME):
        raise KeepfitError("inside")
    assert not isinstance(caught.value, Busy)
    with ledger.flight(NAME):
        pass


def test_the_lock_is_its_owners_alone(ledger: Ledger, tmp_path: Path) -> None:
    with ledger.flight(NAME):
        file = tmp_path / "flights" / f"{NAME}.lock"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("forks", ["", "forks"])
def test_a_killed_holder_does_not_block(
    forks: str, url: str | None, ledger: Ledger, tmp_path: Path
) -> None:
    holder = process(HOLD, tmp_path, url or "", forks)
    assert holder.stdout is not None
    assert int(holder.stdout.readline()) == holder.pid
    with pytest.raises(Busy, match=f"by process {holder.pid} "), ledger.flight(NAME):
        raise AssertionError
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    entered = False
    for _ in range(2000):  # PostgreSQL notices the end of a session by itself, a moment later
        try:
            with ledger.flight(NAME):
                entered = True
                break
        except Busy:
            signal.sigtimedwait([], 0.05)
    holder.communicate()  # ends what it forked: its input closes
    assert entered


@pytest.mark.postgres
def test_hosts_that_share_a_ledger_exclude_each_other(postgres_url: str, tmp_path: Path) -> None:
    here, there = opened(tmp_path / "here", postgres_url), opened(tmp_path / "there", postgres_url)
    with here.flight(NAME):
        with pytest.raises(Busy, match="another host"), there.flight(NAME):
            raise AssertionError
        assert here.claim(NAME, "k", "c")
    with there.flight(NAME):
        pass
    here.engine.dispose()


@pytest.mark.postgres
def test_nothing_stays_of_a_flight(postgres_url: str, tmp_path: Path) -> None:
    ledger = opened(tmp_path, postgres_url)
    for _ in range(20):
        with ledger.flight(NAME):
            pass
    with ledger.reading() as connection:
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert connection.execute(sa.text(locks)).scalar() == 0
    ledger.engine.dispose()
