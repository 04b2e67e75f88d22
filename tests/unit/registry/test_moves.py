"""By-hand promotions, rollbacks and their recovery in the real store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.base.errors import EvidenceError, UsageError
from tasks.base.runtime.failpoints import VARIABLE
from tasks.base.training_records import ModelVersion
from tasks.registry.mlflow.store import Store
from tests.unit.registry.trained import SCHEMA, Trained, train

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
MOVE = """
import sys
from pathlib import Path
from tasks.registry.mlflow.store import Store
store = Store.open(Path(sys.argv[1]))
getattr(store, sys.argv[2])(*sys.argv[3:])
"""
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Store.open(tmp_path_factory.mktemp("state"))


def versions(store: Store, trained: Trained, name: str, count: int) -> list[ModelVersion]:
    """Return verified versions of a model."""
    made = []
    for _ in range(count):
        run_id = store.start_run(store.experiment(name), "training")
        version = store.register(
            name, run_id=run_id, model=trained.path, sample=trained.X, schema=SCHEMA,
            predictions=trained.predicted,
        )  # fmt: skip
        store.finish_run(run_id)
        made.append(store.verify(version, trained.X, trained.predicted))
    return made


def test_a_rollback_by_hand_and_back_again(store: Store, trained: Trained) -> None:
    first, second = versions(store, trained, "hand", 2)
    with pytest.raises(UsageError, match="has no champion"):
        store.rollback("hand")
    assert store.promote_by_hand("hand", first.version).former is None
    assert store.promote_by_hand("hand", second.version).former == first.version
    with pytest.raises(EvidenceError, match="no longer version 1"):
        store.rollback("hand", first.version)
    moved = store.rollback("hand", second.version)
    assert (moved.version.version, moved.former) == (first.version, second.version)
    assert moved.version.aliases == ("champion",)
    champion = store.champion("hand")
    assert champion is not None
    assert champion.version == first.version
    left = store.version("hand", second.version)
    assert left is not None
    assert "keepfit.rolled_back_at" in left.tags
    with pytest.raises(UsageError, match="no version before the champion"):
        store.rollback("hand")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["promote_by_hand", "rollback"])
def test_a_kill_between_alias_and_record_is_completed_at_the_next_start(
    store: Store, trained: Trained, what: str
) -> None:
    name = f"killed-{what.replace('_', '-')}"
    first, second = versions(store, trained, name, 2)
    store.promote_by_hand(name, first.version)
    if what == "rollback":
        store.promote_by_hand(name, second.version)
    environ = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    killed = subprocess.run(
        [sys.executable, "-c", MOVE, str(store.state), what, name, second.version],
        cwd=ROOT, env={**environ, VARIABLE: "registry.alias.after_move"}, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    journal = store.state / "promotions" / f"{name}.journal"
    assert journal.exists()
    opened = Store.open(store.state)
    champion = opened.champion(name)
    assert champion is not None
    assert not journal.exists()
    assert champion.version == (second if what == "promote_by_hand" else first).version
    mark = "keepfit.promoted_at" if what == "promote_by_hand" else "keepfit.returned_at"
    assert mark in champion.tags
    assert (opened.load(champion).predict(trained.X) == trained.predicted).all()


def test_of_promotions_at_once_in_the_store_one_wins(store: Store, trained: Trained) -> None:
    first, *others = versions(store, trained, "race", 4)
    store.promote_by_hand("race", first.version)
    won: list[str] = []

    def attempt(version: str) -> None:
        try:
            Store.open(store.state).set_champion("race", version, first.version)
        except EvidenceError:
            return
        won.append(version)

    threads = [threading.Thread(target=attempt, args=(v.version,)) for v in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    champion = store.champion("race")
    assert champion is not None
    assert won == [champion.version]
    assert champion.tags["keepfit.replaced"] == first.version
