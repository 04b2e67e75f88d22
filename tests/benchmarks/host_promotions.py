"""Promotions by two hosts that share a registry and a ledger: how often both win the same champion.

Two network namespaces are two hosts, each with a state folder of its own and half of the processes.
They reach an MLflow server, whose database is SQLite, and the ledger's PostgreSQL, over a bridge.
Every process promotes its own two versions in turn over the champion that it finds. Moves are
noted as they happen; one whose former champion is not what the move before it made is a double one.
The last line is without the ledger's lock, each host locking for itself. Needs root.

    python -m tests.benchmarks.host_promotions [--processes 8] [--rounds 50]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

from tasks.base.errors import EvidenceError
from tasks.registry.mlflow.store import Store
from tests.e2e.stacks import get, until
from tests.ports import free_port
from tests.postgres import running_server
from tests.unit.registry.trained import SCHEMA, train

NAME = "flights"
_NETWORK = "10.77.0"
_HOSTS = ("kf1", "kf2")


def _ip(words: str, *, check: bool = True) -> None:
    subprocess.run(["ip", *words.split()], check=check, capture_output=not check)


@contextmanager
def network() -> Iterator[str]:
    """Yield the address at which two network namespaces reach this machine."""
    try:
        _ip("link add kfbridge type bridge")
        _ip(f"addr add {_NETWORK}.1/24 dev kfbridge")
        _ip("link set kfbridge up")
        for place, host in enumerate(_HOSTS, 11):
            _ip(f"netns add {host}")
            _ip(f"link add {host}v type veth peer name eth0 netns {host}")
            _ip(f"link set {host}v master kfbridge up")
            for words in (f"addr add {_NETWORK}.{place}/24 dev eth0", "link set eth0 up",
                          "link set lo up"):  # fmt: skip
                _ip(f"-n {host} {words}")
        yield f"{_NETWORK}.1"
    finally:
        for host in _HOSTS:
            _ip(f"netns del {host}", check=False)
        _ip("link del kfbridge", check=False)


@contextmanager
def mlflow(folder: Path, host: str) -> Iterator[str]:
    """Yield the address of an MLflow server on a SQLite database."""
    address = f"http://{host}:{free_port()}"
    name = address.removeprefix("http://")
    command = [
        str(Path(sys.executable).parent / "mlflow"), "server", "--host", host,
        "--port", name.rpartition(":")[2], "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environ = {**os.environ, "MLFLOW_SERVER_ALLOWED_HOSTS": name}
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until(lambda: _answers(f"{address}/health"))
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def _answers(address: str) -> bool:
    try:
        return get(address).status_code == 200
    except OSError:
        return False
    except Exception as error:
        if "onnect" in type(error).__name__:
            return False
        raise


def registered(state: Path, count: int) -> None:
    """Register versions 1 to `count` of one model, verified."""
    store, trained = Store.open(state), train(state.parent)
    for _ in range(count):
        run = store.start_run(store.experiment(NAME), "training")
        store.confirm(store.register(
            NAME, run_id=run, model=trained.path, sample=trained.X, schema=SCHEMA,
            predictions=trained.predicted,
        ))  # fmt: skip


class Noting(Store):
    """A store that notes every move of the alias as it happens."""

    notes: Path

    def point_alias(self, name: str, version: str | None) -> None:
        before = self.pointed(name)
        super().point_alias(name, version)
        with self.notes.open("a") as file:
            file.write(f"{before.version if before else None} {version}\n")


def promote(state: Path, ledger: str, notes: Path, place: int, rounds: int) -> None:
    """Promote two versions in turn, each over the champion that is found."""
    made = Store.open(state, ledger)
    store = Noting(made.uri, made.artifacts, made.state, ledger)
    store.notes = notes
    for turn in range(rounds):
        current = store.pointed(NAME)
        wanted = str(2 * place + turn % 2 + 1)
        try:
            store.set_champion(NAME, wanted, current.version if current else None)
        except EvidenceError:
            continue
        with notes.with_suffix(".won").open("a") as file:
            file.write(f"{current.version if current else None} {wanted}\n")


def raced(folder: Path, tracking: str, ledger: str, processes: int, rounds: int) -> str:
    """Let all processes promote at once; return a line of the table."""
    notes = folder / f"{'with' if ledger else 'without'}.moves"
    began = time.monotonic()
    started = [
        subprocess.Popen(
            ["ip", "netns", "exec", _HOSTS[place % 2], sys.executable, "-m", __spec__.name,
             "--worker", str(folder / _HOSTS[place % 2]), ledger, str(notes), str(place),
             str(rounds)],
            env={**os.environ, "MLFLOW_TRACKING_URI": tracking},
        )
        for place in range(processes)
    ]  # fmt: skip
    assert [one.wait() for one in started] == [0] * processes
    moves = [tuple(line.split()) for line in notes.read_text().splitlines()]
    won = notes.with_suffix(".won").read_text().splitlines()
    return (f"| {'ledger' if ledger else 'each host'} | {processes} x {rounds} | {len(moves)} | "
            f"{len(won)} | {doubled(moves)} | {time.monotonic() - began:.0f} |")  # fmt: skip


def doubled(moves: list[tuple[str, ...]]) -> int:
    """Return how many moves did not begin where the one before them ended."""
    return sum(one[1] != other[0] for one, other in pairwise(moves))


def main() -> None:
    """Measure and print the table."""
    if sys.argv[1:2] == ["--worker"]:
        state, ledger, notes, place, rounds = sys.argv[2:]
        promote(Path(state), ledger, Path(notes), int(place), int(rounds))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=50)
    given = parser.parse_args()
    os.environ.setdefault("KEEPFIT_SIGNING_KEY", "5" * 64)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keepfit-hosts-")))
        host = stack.enter_context(network())
        server = stack.enter_context(running_server(host, f"{_NETWORK}.0/24"))
        tracking = stack.enter_context(mlflow(folder, host))
        os.environ["MLFLOW_TRACKING_URI"] = tracking
        for name in _HOSTS:
            (folder / name).mkdir()
        registered(folder / _HOSTS[0], 2 * given.processes)
        print("| lock | promotions | moves | won | double | s |\n|---|---|---|---|---|---|")
        for ledger in (server.url(), ""):
            print(raced(folder, tracking, ledger, given.processes, given.rounds), flush=True)


if __name__ == "__main__":
    main()
