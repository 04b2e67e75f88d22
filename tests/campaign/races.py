"""Processes that race for one champion, in each kind of store: no promotion is made twice."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import sqlite3
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from tests.campaign.table import Options, Row
from tests.campaign.trials import KEY
from tests.e2e.faults import mlflow_server
from tests.postgres import running_server

_PROCESSES, _TURNS, _NAME = 8, 50, "raced"
_FEW, _SHARE = 4, 4
"""Processes and turns of each in the share that the gate runs."""
_HEAVY = (
    "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store", "mlflow.store.tracking.rest_store",
    "tests.unit.registry.trained", "tasks.registry.mlflow.store",
)  # fmt: skip
"""Imported before processes are forked; nothing is connected."""
Move = tuple[str, str]
"""The champion that a version was promoted over, and the version."""


@dataclass(frozen=True)
class Place:
    """A store that processes race in.

    Parameters
    ----------
    states
        State folder of each host: processes of one share its lock file.
    champion
        Reads the champion's version, by code of its own.
    """

    uri: str
    states: tuple[Path, ...]
    champion: Callable[[], str]


@dataclass(frozen=True)
class Kind:
    """One kind of store."""

    name: str
    place: Callable[[Path], contextlib.AbstractContextManager[Place]]


def run(options: Options) -> list[Row]:
    """Race in each kind of store; one that is not installed here makes a row that says so."""
    for name in _HEAVY:
        importlib.import_module(name)
    rows = []
    for kind in options.of(KINDS[:1] if options.share else KINDS):
        folder = options.folder / kind.name.replace(" ", "-")
        folder.mkdir()
        try:
            with kind.place(folder) as place:
                rows.append(_race(kind.name, place, folder, options))
        except pytest.skip.Exception as reason:
            rows.append(Row("races", kind.name, 0, figure=str(reason)))
    return rows


def faults_of(moves: list[Move], first: str, last: str) -> list[str]:
    """Return what shows that two promotions were made over one and the same champion.

    Moves that followed each other are a walk from the first champion to the last: each version is
    left as often as it is reached, but for the two ends (Euler 1736).

    Examples
    --------
    >>> faults_of([("1", "2"), ("2", "1"), ("1", "3")], "1", "3")
    []
    >>> faults_of([("1", "2"), ("1", "3")], "1", "3")
    ['version 1 was replaced 2 times, and was champion 1 times', 'version 2 was replaced 0 times, \
and was champion 1 times']
    """
    replaced, reached = Counter(b for b, _ in moves), Counter(a for _, a in moves)
    reached[first] += 1
    replaced[last] += 1
    return [f"version {v} was replaced {replaced[v] - (v == last)} times, and was champion "
            f"{reached[v]} times"
            for v in sorted({*replaced, *reached}) if replaced[v] != reached[v]]  # fmt: skip


def _race(name: str, place: Place, folder: Path, options: Options) -> Row:
    os.environ.update(MLFLOW_TRACKING_URI=place.uri, KEEPFIT_SIGNING_KEY=KEY)
    try:
        processes, turns = (_FEW, _SHARE) if options.share else (_PROCESSES, _TURNS)
        made = _ended(_forked(lambda: _register(place.states[0], folder, 2 * processes)))
        assert made == 0, "versions could not be registered"
        began = time.monotonic()
        racing = [
            _forked(lambda n=n: _promote(  # type: ignore[misc]
                place.states[n % len(place.states)], range(n + 1, 2 * processes + 1, processes),
                folder / f"{n}.moves", turns, random.Random(f"{options.seed} {n}"),
            ))
            for n in range(processes)
        ]  # fmt: skip
        failures = [f"process {n} ended with {status}" for n, status in
                    enumerate(map(_ended, racing)) if status]  # fmt: skip
        seconds = time.monotonic() - began
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]
    moves = [tuple(line.split()) for file in sorted(folder.glob("*.moves"))
             for line in file.read_text().splitlines()]  # fmt: skip
    failures += [] if moves else ["no promotion was won"]
    failures += faults_of(moves, "1", place.champion())  # type: ignore[arg-type]
    figure = (f"{processes} × {turns}, {len(place.states)} hosts: {len(moves)} won, the rest "
              f"refused, {seconds:.0f} s")  # fmt: skip
    return Row("races", name, processes * turns, failures, figure, seconds)


def _forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - this process must not go on as the campaign
        traceback.print_exc()
    finally:
        os._exit(1)


def _ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _register(state: Path, folder: Path, versions: int) -> None:
    """Register verified versions; the first becomes champion."""
    from tasks.registry.mlflow.store import Store
    from tests.unit.registry.trained import SCHEMA, train

    trained, store = train(folder), Store.open(state)
    for _ in range(versions):
        run_id = store.start_run(store.experiment(_NAME), "training")
        version = store.register(_NAME, run_id=run_id, model=trained.path, sample=trained.X,
                                 predictions=trained.predicted, schema=SCHEMA)  # fmt: skip
        store.finish_run(run_id)
        store.verify(version, trained.X, trained.predicted)
    store.set_champion(_NAME, "1", None)


def _promote(state: Path, mine: range, file: Path, turns: int, chance: random.Random) -> None:
    """Promote versions over the champion of that moment, and write down each that was won.

    Each process has versions of its own: to promote what another just did is no race.
    """
    from tasks.base.errors import EvidenceError, TransientError
    from tasks.registry.mlflow.store import Store

    store = Store.open(state)
    for _ in range(turns):
        champion = store.champion(_NAME)
        assert champion is not None
        version = chance.choice([str(v) for v in mine if str(v) != champion.version])
        # Refused, or kept waiting too long on a busy machine.
        with contextlib.suppress(EvidenceError, TransientError):
            store.set_champion(_NAME, version, champion.version)
            with file.open("a") as out:
                out.write(f"{champion.version} {version}\n")


@contextmanager
def _sqlite(folder: Path) -> Iterator[Place]:
    state = folder / "state"
    state.mkdir()
    database = state / "mlflow" / "mlflow.db"

    def champion() -> str:
        with closing(sqlite3.connect(database)) as connection:
            (version,) = connection.execute(
                "SELECT version FROM registered_model_aliases"
            ).fetchone()
        return str(version)

    database.parent.mkdir()
    yield Place(f"sqlite:///{database}", (state,), champion)


@contextmanager
def _postgresql(folder: Path) -> Iterator[Place]:
    with running_server() as server:
        states = tuple(folder / f"host-{n}" for n in range(4))
        for state in states:
            state.mkdir()
        # Hosts have no lock file in common, and one folder of models.
        for state in states[1:]:
            (state / "mlflow").mkdir()
            (state / "mlflow" / "artifacts").symlink_to(states[0] / "mlflow" / "artifacts")

        def champion() -> str:
            engine = sa.create_engine(server.url(), poolclass=sa.NullPool)
            with engine.connect() as connection:
                query = sa.text("SELECT version FROM registered_model_aliases")
                return str(connection.execute(query).scalar_one())

        yield Place(server.url(), states, champion)


@contextmanager
def _server(folder: Path) -> Iterator[Place]:
    with mlflow_server(folder / "server") as server:
        (folder / "state").mkdir()

        def champion() -> str:
            answer = httpx.get(
                f"{server.uri}/api/2.0/mlflow/registered-models/alias",
                params={"name": _NAME, "alias": "champion"}, timeout=60,
            )  # fmt: skip
            return str(answer.json()["model_version"]["version"])

        yield Place(server.uri, (folder / "state",), champion)


KINDS = (Kind("SQLite", _sqlite), Kind("PostgreSQL", _postgresql), Kind("MLflow server", _server))
