"""The lock on a model's champion that several hosts see, on a real PostgreSQL server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.base.errors import TransientError
from tasks.base.pipeline_file import load_pipeline
from tasks.base.runtime.postgres_lock import champion_key
from tasks.registry.alias.champion_lock import held
from tasks.registry.mlflow.shared_stores import store_of
from tasks.registry.mlflow.store import Store
from tests.postgres import Server, postgres_server
from tests.tables import write_pipeline
from tests.unit.registry.trained import SCHEMA, train

__all__ = ["postgres_server"]
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
ROOT = Path(__file__).resolve().parents[4]
RACE = """
import json, sys
from functools import partial
from pathlib import Path
from tasks.registry.alias.champion_lock import held
from tasks.registry.alias.champion_alias import promote
from tasks.base.errors import EvidenceError
from tests.unit.registry.alias.paper import NAME, Paper
shared, host, address = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
paper, won = Paper(shared), []
for version in json.loads(sys.argv[4]):
    before = paper.pointed(NAME)
    expected = before.version if before else None
    try:
        promote(paper, host, NAME, version, expected, partial(held, address))
    except EvidenceError:
        continue
    won.append([expected, version])
sys.stdout.write(json.dumps(won))
"""
HOLD = """
import sys
from tasks.registry.alias.champion_lock import held
with held(sys.argv[1], "flights"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_waits_and_says_so(postgres_server: Server) -> None:
    address = postgres_server.url()
    with held(address, "flights"):
        with pytest.raises(TransientError, match="another host holds"), held(address, "flights", 0):
            pass
        with held(address, "churn", 0):
            pass
    with held(address, "flights", 0):
        pass


def test_the_lock_dies_with_its_holder(postgres_server: Server) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, postgres_server.url()],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(TransientError), held(postgres_server.url(), "flights", 0):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with held(postgres_server.url(), "flights", 120):
        pass


@pytest.mark.parametrize("registry", ["", "http://127.0.0.1:9"])
def test_the_ledgers_database_has_the_lock_whatever_the_registry_is(
    postgres_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)
    monkeypatch.setattr("tasks.registry.alias.champion_lock.held.__wrapped__.__defaults__", (0.0,))
    file = write_pipeline(
        tmp_path, tmp_path / "c.csv", f"ledger: {{url: '{postgres_server.url()}'}}\n"
    )
    store = store_of(load_pipeline(file, {}))

    with held(postgres_server.url(), "churn"), pytest.raises(TransientError, match="another host"):
        store._across("churn").__enter__()
    with store._across("churn"):
        pass


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with (
        pytest.raises(TransientError, match="holds the lock") as raised,
        held("postgresql+psycopg://me:s3cret@127.0.0.1:9/ledger", "churn"),
    ):
        pass
    assert "s3cret" not in str(raised.value)


def test_models_have_locks_of_their_own() -> None:
    assert len({champion_key(f"model-{n}") for n in range(1000)}) == 1000


@pytest.mark.slow
def test_hosts_without_a_common_folder_agree_on_every_champion(
    postgres_server: Server, tmp_path: Path
) -> None:
    from tests.unit.registry.alias.paper import Paper

    shared = tmp_path / "shared"
    shared.mkdir()
    paper = Paper(shared)
    shares = [[str(20 * host + turn + 1) for turn in range(20)] for host in range(4)]
    paper.add(*(version for share in shares for version in share))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(shared), str(tmp_path / f"host-{place}"),
             postgres_server.url(), json.dumps(share)],
            cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True,
        )
        for place, share in enumerate(shares)
    ]  # fmt: skip
    won = [pair for process in started for pair in json.loads(process.communicate()[0])]
    assert [process.returncode for process in started] == [0] * 4
    assert len(dict(won)) == len(won) == paper.held["moves"] < 80


@pytest.mark.slow
def test_the_store_on_postgresql_moves_its_alias_under_that_lock(
    postgres_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres_server.url())
    trained = train(tmp_path)
    # Hosts that share a registry share the folder of the models: what is promoted is compared.
    shared, mounted = (tmp_path / host / "mlflow" / "artifacts" for host in ("here", "there"))
    shared.mkdir(parents=True)
    mounted.parent.mkdir(parents=True)
    mounted.symlink_to(shared)
    here, there = Store.open(tmp_path / "here"), Store.open(tmp_path / "there")
    for _ in range(2):
        run_id = here.start_run(here.experiment("flights"), "training")
        version = here.register(
            "flights", run_id=run_id, model=trained.path, sample=trained.X, schema=SCHEMA,
            predictions=trained.predicted,
        )  # fmt: skip
        here.verify(version, trained.X, trained.predicted)
    here.promote_by_hand("flights", "1")
    with monkeypatch.context() as impatient:
        defaults = "tasks.registry.alias.champion_lock.held.__wrapped__.__defaults__"
        impatient.setattr(defaults, (0.0,))
        with held(postgres_server.url(), "flights"), pytest.raises(TransientError, match="flights"):
            there.set_champion("flights", "2", "1")
    there.set_champion("flights", "2", "1")
    assert here.rollback("flights", "2").version.version == "1"
