"""`keepfit up` killed as it starts and as it works: all of it, its main process alone, or a part.

A state lives through several kills, every fourth one from before its servers ever ran: what was
killed is started again and killed there, so that the starts that mend are struck as well. Before
each kill rows arrive; a stack that is up scores them and trains or monitors. In the end all rows
must be scored, each once, and nothing that ended may count as running. Two of three kills of a
working stack wait for a run to begin, and the row counts those that struck one under way.
"""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.campaign import forking, invariants, trials
from tests.campaign.scenes import Prepared, prepared, say, scored_once
from tests.campaign.table import Options, Row
from tests.campaign.trials import CHILD, GROUP, MAIN
from tests.e2e.stacks import PATIENCE, Stack, alive, gone, until

_KILLS = 6
"""Kills in one life of a state."""
_NEW = 4
"""Of so many lives one begins before its servers ever ran, which takes them long."""
_STARTING = 0.4
"""Share of the kills of a stack that was just started that strike before it is up."""
_SOON = 10.0
"""Seconds within which what a killed stack had started must have ended."""
_UNDER_WAY = (
    "SELECT r.id, f.name FROM flow_run r JOIN flow f ON r.flow_id = f.id "
    "WHERE r.state_type = 'RUNNING'"
)
_LASTED = (
    "SELECT 86400 * (julianday(r.end_time) - julianday(r.start_time)) FROM flow_run r "
    "JOIN flow f ON r.flow_id = f.id WHERE r.state_type = 'COMPLETED' AND f.name = ? "
    "ORDER BY r.end_time DESC LIMIT 1"
)


@dataclass(frozen=True)
class Way:
    """How the processes of a stack begin.

    Parameters
    ----------
    begin
        In its context they do so.
    """

    name: str
    begin: Callable[[], AbstractContextManager[None]]


WAYS = (Way("started", nullcontext), Way("forked", forking.forked))


def run(options: Options) -> list[Row]:
    """Kill the stack, start it again, stop it, and look at what is left."""
    if options.share:
        return []
    state = prepared(options, forked=False)
    rows = []
    for way in options.of(WAYS):
        with way.begin():
            rows.append(_killed(state, way, options))
    return rows


def _killed(state: Prepared, way: Way, options: Options) -> Row:
    """Kill stacks that begin in one way."""
    chance = random.Random(f"stack {options.seed}")
    failures: list[str] = []
    with _life(state) as first:
        failures += [f"unharmed: {fault}" for fault in first.ends()]
    say(f"stack: unharmed, up in {first.up:.0f} s, {failures}")
    ran = options.folder / way.name
    shutil.copytree(state.work / ".keepfit" / "prefect", ran)
    ups, kills, began = [first.up], 0, time.monotonic()
    struck = Counter[str]()
    for number in options.trying(-(-options.trials // _KILLS)):
        with _life(state, ran if number % _NEW else None, ups[-1]) as life:
            for _ in range(_KILLS):
                what, faults = life.killed(chance)
                failures += [f"{kills} ({what}): {fault}" for fault in faults]
                kills += 1
                struck.update([*life.struck, *(["any"] if life.struck else [])])
                say(f"stack: {kills} {what}, under way: {life.struck} {faults}")
            faults = list(life.ends())
        failures += [f"life {number}: {fault}" for fault in faults]
        ups.append(life.up)
        say(f"stack: life {number}, up in {life.up:.0f} s, {faults}")
    hit = ", ".join(f"{flow} {n}" for flow, n in sorted(struck.items()) if flow != "any")
    figure = (
        f"{struck['any']} struck runs under way ({hit}), up again "
        f"{statistics.median(ups[1:] or ups):.0f} s, at first {first.up:.0f} s"
    )
    return Row("stack", f"up, {way.name}", kills, failures, figure, time.monotonic() - began)


@contextmanager
def _life(state: Prepared, ran: Path | None = None, up: float = 0.0) -> Iterator[_Life]:
    """Let a life begin; nothing of it is left running, whatever happens.

    Parameters
    ----------
    ran
        Folder of Prefect's server as it was left before; None: it never ran.
    up
        Seconds that a start takes.
    """
    state.restore()
    if ran is not None:
        shutil.copytree(ran, state.work / ".keepfit" / "prefect")
    life = _Life(state, up)
    try:
        yield life
    finally:
        life.leaves()


class _Life:
    """A state on which a stack is started, killed and started again.

    Attributes
    ----------
    up
        Seconds that its last start took which nothing killed.
    struck
        Flows whose runs were under way at the last kill.
    """

    def __init__(self, state: Prepared, up: float) -> None:
        self._state, self.up = state, up
        self.struck: list[str] = []
        self._start()

    def killed(self, chance: random.Random) -> tuple[str, list[str]]:
        """Let rows arrive and kill; return what was killed and when, and what does not hold."""
        what, faults, doing = chance.choice((GROUP, MAIN, CHILD)), [], "starting"
        # On a busy machine runs take as much longer as starts do.
        lasts = self.up
        self._state.arrive()
        if self._is_up or chance.random() > _STARTING:
            faults += self._comes_up()
            flow = chance.choice(("training", "monitoring"))
            faults += self._requests("scoring", flow)
            doing = chance.choice(("requested", "scoring", flow))
            if doing != "requested":
                self._begins(doing)
                lasts = next(iter(self._asked(_LASTED, doing)), (lasts,))[0]
        moment = chance.uniform(0.0, lasts)
        time.sleep(moment)
        self.struck = sorted(self._under_way())
        faults += self._kill(what, chance)
        return f"{what}, {doing}, at {moment:.1f} s", faults

    def ends(self) -> Iterator[str]:
        """Let everything come about, stop the stack; yield what does not hold."""
        yield from self._comes_up()
        yield from self._requests("scoring")
        try:
            until(lambda: not (self._open() or scored_once(self._state.work)))
        except AssertionError:
            left = [*self._open(), *scored_once(self._state.work)]
            yield f"after {PATIENCE:.0f} s there are {left}"
        tree = self._stack.tree()
        if ended := self._stack.end(signal.SIGINT):
            yield f"Ctrl-C: {ended} {self._stack.err[-300:]}"
        if not gone(tree):
            yield "processes are left after Ctrl-C"
        yield from (f"left running: {stray}" for stray in trials.strays())
        yield from self._unkind()
        yield from (*self._state.faults(), *scored_once(self._state.work), *self._state.left())

    def leaves(self) -> None:
        """Kill whatever still runs."""
        if alive(self._stack):
            self._stack.process.kill()
            self._stack.process.wait()
        trials.strays(0.0)

    def _start(self) -> None:
        self._began, self._is_up = time.monotonic(), False
        self._stack = Stack(self._state.work, TMPDIR=str(self._state.work / "tmp"))

    def _comes_up(self) -> Iterator[str]:
        if self._is_up and alive(self._stack):
            return
        try:
            self._stack.wait_up()
        except AssertionError:
            yield f"it did not come up: {self._stack.err[-300:]}"
            self._start()
            return
        if not self._is_up:
            self.up, self._is_up = time.monotonic() - self._began, True

    def _requests(self, *flows: str) -> Iterator[str]:
        def requested() -> bool:
            with suppress(httpx.HTTPError), self._stack.client() as client:
                for flow in flows:
                    deployment = client.read_deployment_by_name(f"{flow}/churn")
                    client.create_flow_run_from_deployment(deployment.id)
                return True
            return False

        try:
            until(requested)
        except AssertionError as error:
            yield f"it accepts no run: {error}"

    def _begins(self, flow: str) -> None:
        # One that was over between two looks is none that can be struck.
        with suppress(AssertionError):
            until(
                lambda: flow in self._under_way() or not alive(self._stack), 2 * self.up, every=0.3
            )

    def _under_way(self) -> list[str]:
        """Return the flows of the runs whose processes, which work on them, are alive."""
        marks = {
            file.stem: file for file in (self._state.work / ".keepfit" / "runs").glob("*.json")
        }
        tree = {p.pid for p in self._stack.tree()} if alive(self._stack) else set()
        found = []
        for run, flow in self._asked(_UNDER_WAY):
            with suppress(KeyError, OSError, IndexError, ValueError):
                if int(marks[run].read_text("utf-8").splitlines()[0].split("-")[2]) in tree:
                    found.append(flow)
        return found

    def _asked(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Ask Prefect's database; nothing where it is not there, or locked."""
        file = self._state.work / ".keepfit" / "prefect" / "prefect.db"
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as database,
        ):
            return database.execute(query, values).fetchall()
        return []

    def _kill(self, what: str, chance: random.Random) -> Iterator[str]:
        if not alive(self._stack):
            yield f"it ended by itself: {self._stack.err[-300:]}"
            self._start()
            return
        tree = [p for p in self._stack.tree() if p.is_running()]
        if what == CHILD and (own := [p for p in tree if not trials.is_nursery(p)]):
            _kill(chance.choice(own))
            yield from self._comes_up()
            return
        for process in [psutil.Process(self._stack.process.pid), *(tree if what == GROUP else [])]:
            _kill(process)
        self._stack.process.wait()
        if not gone(tree, _SOON):
            yield f"processes go on without the stack: {trials.titles(tree)}"
        yield from (f"left running: {stray}" for stray in trials.strays())
        yield from (*self._unkind(), *self._state.at_once())
        self._start()

    def _open(self) -> list[str]:
        """Return what is not over: a run that is done is so once its process has ended."""
        place = invariants.Place(self._state.work / ".keepfit", trials.KEY)
        runs = [f for f in invariants.unfinished(place) if f.startswith(("Prefect", "the run"))]
        tree = self._stack.tree() if alive(self._stack) else []
        return [*runs, *(title for title in trials.titles(tree) if "prefect.engine" in title)]

    def _unkind(self) -> Iterator[str]:
        for word in ("Traceback", "looks like a bug"):
            if word in self._stack.err:
                yield f"says {word!r}: {self._stack.err[-600:]}"


def _kill(process: psutil.Process) -> None:
    if process.is_running():
        process.kill()
