"""A prepared pipeline, the commands that are killed on it, and what must hold in the end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaign import invariants, trials
from tests.campaign.table import Options
from tests.campaign.trials import Ended, Going
from tests.tables import write_churn, write_pipeline

CANARY = "s3cr3t-c4n4ry-0f-th3-c4mp41gn"
_FILE = """\
training: {budget: 60s, cv: 2, candidates: [logistic_regression]}
monitoring: {window: 2d, min_rows: 20}
policy: {probation: 0}
alerts: ["${CAMPAIGN_ALERT}"]
"""
_ROWS, _MORE = 300, 60
_OF_ONE_RUN = {"seconds", "fit_seconds", "fits", "mlflow_run_id", "finished"}
"""What a command answers otherwise that reuses what it had done before it was killed."""
LATER = _ROWS + _MORE
"""Rows of which everything in the prepared state was made; there are 60 more."""


@dataclass(frozen=True)
class Scene:
    """A command, and what is true once it was done, however often it was killed before.

    Parameters
    ----------
    holds
        Returns a sentence for each thing that is not as it must be.
    share
        Parts that try it once in the share that the gate runs.
    statuses
        Exit statuses of the command that is run again after a kill.
    """

    name: str
    arguments: Sequence[str]
    holds: Callable[[Path], list[str]]
    share: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (0,)


class Prepared:
    """The state that every trial begins with, at one path, since databases hold absolute ones.

    Attributes
    ----------
    clean
        Seconds that commands took which nothing killed, by the scene's name.
    """

    def __init__(self, folder: Path, learned: Sequence[Scene]) -> None:
        trials.prepare()
        self.work, self._kept = folder / "work", folder / "kept"
        self.work.mkdir()
        os.environ["CAMPAIGN_ALERT"] = f"json://keepfit:{CANARY}@127.0.0.1:{_receiver()}/"
        write_pipeline(self.work, write_churn(self.work / "c.csv", _ROWS), _FILE, time=True)
        first = write_pipeline(self.work / "first", self.work / "c.csv", _FILE, time=True)
        text = first.read_text("utf-8").replace("name: churn", "name: first")
        first.write_text(f"{text}state: {self.work}/.keepfit\n")
        first_run = self._done("run")
        self.arrive()
        self._done("score")
        self._done("run", "--fresh")
        self._done("promote", "2")
        (self.work / "bad.csv").write_text("customer,when\nc99999,2026-03-01\n")
        self.arrive()
        shutil.copytree(self.work, self._kept)
        for scene in learned:
            trials.learn(scene.arguments, self.work)
            trials.strays()
            self.restore()
        self.clean = {"first run": first_run.seconds}
        self.before = invariants.digests(self.work / ".keepfit")

    def restore(self) -> None:
        """Let everything be as it was prepared."""
        shutil.rmtree(self.work)
        shutil.copytree(self._kept, self.work)

    def undisturbed(self, scene: Scene, before: Callable[[], None] | None = None) -> None:
        """Run a scene's command once without a kill, and keep its answer for what `holds`."""
        ended = self.start(scene, before).ended()
        assert ended.status in scene.statuses, ended.err
        self.clean[scene.name] = ended.seconds
        (self.work.parent / f"{scene.name}.clean").write_text(ended.out, "utf-8")

    def start(self, scene: Scene, before: Callable[[], None] | None = None) -> Going:
        """Start a scene's command on a fresh copy."""
        self.restore()
        return Going(scene.arguments, self.work, before)

    def judge(self, scene: Scene, first: Ended, killed: bool) -> tuple[list[str], float]:
        """Run the command again after a kill; return what does not hold, and how long it took."""
        faults = [f"left running: {stray}" for stray in trials.strays()]
        told = first.status == 3 and "SIGKILL" in first.err  # of the only candidate, twice
        if not (killed or told) and first.status not in (*scene.statuses, 1):
            faults.append(f"without its child it ended with {first.status}")
        faults += [*_unkind(first), *self.at_once()]
        again = trials.run(scene.arguments, self.work)
        if again.status not in scene.statuses:
            faults.append(f"run again it ended with {again.status}: {again.err.strip()[-300:]}")
        faults += [*_unkind(again), *self.faults(), *scene.holds(self.work), *self.left()]
        faults += [f"left running: {stray}" for stray in trials.strays()]
        return faults, again.seconds

    def left(self) -> list[str]:
        """Return what commands left in their temporary folder."""
        return [f"left in TMPDIR: {file.name}" for file in (self.work / "tmp").iterdir()]

    def at_once(self) -> list[str]:
        """Return what must hold at every moment, whatever comes next, and does not."""
        return [f"at once {fault}" for fault in self.faults(at_once=True)]

    def faults(self, *, at_once: bool = False) -> list[str]:
        """Return the invariants that do not hold of the state now."""
        state = self.work / ".keepfit"
        outputs = [self.work / name for name in (".out", ".err", "backup.tar")]
        place = invariants.Place(
            state, trials.KEY, CANARY, [o for o in outputs if o.exists()], self.before
        )
        return invariants.check(place, at_once=at_once)

    def _done(self, *arguments: str) -> Ended:
        ended = trials.learn(arguments, self.work)
        assert ended.status == 0, ended.err
        return ended

    def arrive(self) -> None:
        """Let 60 rows come that are newer than all others."""
        with (self.work / "c.csv").open("a+", encoding="utf-8") as file:
            file.seek(0)
            start = len(file.readlines()) - 1
            more = write_churn(self.work / "more.csv", _MORE, start, start=start)
            file.write(more.read_text("utf-8").split("\n", 1)[1])
        more.unlink()


def _receiver() -> int:
    """Return the port at which a thread takes every alert: one refused is tried for seconds."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5.0)
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    return int(listening.getsockname()[1])


def _unkind(ended: Ended) -> list[str]:
    """Return what a person should never read."""
    return [f"says {word!r}: {ended.err.strip()[-300:]}"
            for word in ("Traceback", "looks like a bug") if word in ended.err]  # fmt: skip


def _decided(work: Path, kind: str, since: int) -> list[dict[str, Any]]:
    """Return the decisions of a kind that were made after the number `since`."""
    with closing(sqlite3.connect(work / ".keepfit" / "ledger.db")) as connection:
        found = connection.execute(
            "SELECT body FROM keepfit_decisions WHERE kind = ? AND number > ?", (kind, since)
        ).fetchall()
    return [json.loads(text) for (text,) in found]


def _last_prepared(work: Path) -> int:
    """Return the number of the newest decision of the prepared state."""
    with closing(sqlite3.connect(work.parent / "kept" / ".keepfit" / "ledger.db")) as connection:
        (last,) = connection.execute("SELECT max(number) FROM keepfit_decisions").fetchone()
    return int(last)


def _once(kind: str, work: Path, most: int = 1) -> list[str]:
    """Return a fault unless one decision of a kind was made since the prepared state."""
    found = _decided(work, kind, _last_prepared(work))
    return [] if 1 <= len(found) <= most else [f"{len(found)} decisions are {kind}"]


def _champion(version: int, work: Path) -> list[str]:
    with closing(sqlite3.connect(work / ".keepfit" / "mlflow" / "mlflow.db")) as connection:
        found = connection.execute(
            "SELECT version FROM registered_model_aliases WHERE alias = 'champion'"
        ).fetchall()
    return [] if found == [(version,)] else [f"the champion is {found}, not version {version}"]


def _recorded_once(work: Path) -> list[str]:
    """Return a fault for rows that no decision names, or that two do.

    Run again the command reads other rows beside them, which are another batch without a new row.
    """
    found = _decided(work, "scored", _last_prepared(work))
    batches = Counter(str(body["data_digest"]) for body in found)
    new = [body["evidence"]["new"] for body in found]
    faults = [f"batch {batch[:16]} was recorded {n} times" for batch, n in batches.items() if n > 1]
    if sum(new) != _MORE:
        faults.append(f"decisions name {new} new rows of {_MORE}")
    return faults


def scored_once(work: Path) -> list[str]:
    """Return a fault unless each row that has come is once in the outputs."""
    import pandas as pd

    came = pd.read_csv(work / "c.csv", usecols=["customer"])["customer"][LATER:]
    outputs = (work / ".keepfit" / "pipelines" / "churn" / "predictions").glob("[!.]*.parquet")
    counts = pd.concat([pd.read_parquet(o) for o in outputs])["customer"].value_counts()
    wrong = {key: int(counts.get(key, 0)) for key in came if counts.get(key, 0) != 1}
    return [f"rows are not once in the outputs: {wrong}"] if wrong else []


def _whole_backup(work: Path) -> list[str]:
    """Unpack a backup and look at it as at a state folder."""
    folder = work / "unpacked"
    with tarfile.open(work / "backup.tar") as archive:
        archive.extractall(folder, filter="data")
    place = invariants.Place(folder, trials.KEY, CANARY)
    return [f"in the backup {f}" for f in (*invariants.damage(place.registry),
            *invariants.damage(place.ledger), *invariants.batch_faults(place))]  # fmt: skip


def _both(*checks: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    return lambda work: [fault for check in checks for fault in check(work)]


def _same_answer(work: Path) -> list[str]:
    """Return a fault unless the command found what it finds unkilled."""
    files = (work / ".out", work.parent / "replay.clean")
    after, clean = (dict(_values(json.loads(file.read_text("utf-8")))) for file in files)
    other = [f"{name}: {after.get(name)} instead of {clean.get(name)}"
             for name in {**clean, **after} if after.get(name) != clean.get(name)]  # fmt: skip
    return [f"it answers otherwise: {'; '.join(other[:5])}"] if other else []


def _values(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of an answer with the path to it, but for what is of one run alone."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _values(inner, f"{name}/{key}")
    elif name.rpartition("/")[2] not in _OF_ONE_RUN:
        yield name, value


def _scored_nothing(work: Path) -> list[str]:
    with closing(sqlite3.connect(work / ".keepfit" / "ledger.db")) as connection:
        (rows,) = connection.execute(
            "SELECT count(*) FROM keepfit_predictions WHERE key LIKE '%c99999%'"
        ).fetchone()
    made = len(_decided(work, "scored", _last_prepared(work)))
    return [f"refused rows: {rows} predicted, {made} decisions"] if rows or made else []


_TWICE = ("failpoints", "kills")
SCENES = (
    # Another pipeline of the same state, which has no champion: what it trains is promoted.
    Scene("first run", ("run", "first"), _both(partial(_once, "trained"),
          partial(_once, "promoted")), ("kills",)),
    Scene("run", ("run",), partial(_once, "trained")),
    Scene("score", ("score",), _both(_recorded_once, scored_once), _TWICE),
    Scene("refused score", ("score", "--input", "bad.csv"), _scored_nothing, (), (3,)),
    # The newest rows and the newest window are looked at again whenever they are asked for.
    Scene("monitor", ("monitor",), partial(_once, "monitored", most=2)),
    Scene("promote", ("promote", "1"), _both(partial(_once, "promoted"), partial(_champion, 1)),
          _TWICE),
    Scene("rollback", ("rollback",), _both(partial(_once, "rolled_back"), partial(_champion, 1)),
          _TWICE, (0, 2)),
    Scene("backup", ("backup", "backup.tar"), _whole_backup, _TWICE, (0, 2)),
    Scene("refit", ("run", "--refit"), partial(_once, "trained")),
    Scene("replay", ("backtest", "--quick", "--json"), _same_answer),
)  # fmt: skip


def chosen(options: Options, part: str) -> list[tuple[Scene, int]]:
    """Return the scenes that are asked for, and how often a part is to kill each."""
    some = options.of(SCENES)
    if options.share:
        return [(scene, 1) for scene in some if part in scene.share]
    return [(scene, options.trials) for scene in some]


_PREPARED: list[Prepared] = []


def prepared(options: Options, *, forked: bool = True) -> Prepared:
    """Return the prepared state of this process, made when it is first asked for.

    `forked`: whether its trials are: what they would import is imported before.
    """
    if not _PREPARED:
        # A few trials import for themselves: to learn costs as much as a trial.
        learned = options.of(SCENES) if forked and not options.share else []
        _PREPARED.append(Prepared(options.folder.parent, learned))
    return _PREPARED[0]


def say(text: str) -> None:
    """Tell progress."""
    sys.stderr.write(f"{text}\n")
