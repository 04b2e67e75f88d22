"""Named failpoints before and after every side effect, without a line of them in the product.

Python itself announces what a program does to the world: files opened for writing, renamed,
removed, folders made, processes started (PEP 578), and SQLite each statement. A hook in a forked
trial gives these moments names, such as ``rename ledger.json``, counts them, and at the one that
is asked for sends this process SIGKILL: before the effect, or at the next thing that the same
thread does. A first run without a kill lists them. The processes that a command starts have points
of their own, at which they alone die, however often they are started again. What libraries in C
write on their own is followed by a rename or a commit, which is a point; in the midst of it only
random kills strike.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaign import trials
from tests.campaign.scenes import Prepared, Scene, chosen, prepared, say
from tests.campaign.table import Options, Row

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS = {"os.rename": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.link": 1}
"""Event to which of its arguments names the path."""
_CHANGING = re.compile(r"\s*(PRAGMA journal_mode|VACUUM|COMMIT|CREATE|DROP)", re.IGNORECASE)
_PARTLY = re.compile(r"[0-9a-f]{6,}|(?<=[._-])[a-z0-9_]{8}(?=\.|$)|\d+")


_STRUCK = ".struck"
"""File that a process makes as it dies at its point."""
_NOT = ("tmp/", ".out", ".err", _STRUCK)
"""What the harness reads or nobody keeps."""


@dataclass(frozen=True)
class Point:
    """A moment: the `nth` time (from 1) that the side effect `name` happens, before or after."""

    name: str
    nth: int
    after: bool = False

    def __str__(self) -> str:
        moment = "after" if self.after else "before"
        return f"{moment} {self.name}" + (f" ({self.nth})" if self.nth > 1 else "")


def killing_at(point: Point, folder: Path) -> Callable[[], None]:
    """Return what lets the process that calls it die at `point` of its work in `folder`."""
    thread = threading.local()

    def passed(name: str, nth: int) -> None:
        if (name, nth) != (point.name, point.nth):
            return
        if point.after:
            thread.due = True
        else:
            _die(folder)

    def any_event() -> None:
        if getattr(thread, "due", False):
            thread.due = False  # the kill is an event as well
            _die(folder)

    return lambda: _watch(folder, passed, any_event)


def recording(folder: Path, file: Path) -> Callable[[], None]:
    """Return what lets the process that calls it write the points that it passes to `file`."""

    def passed(name: str, nth: int) -> None:
        with file.open("a", encoding="utf-8") as out:
            out.write(f"{nth}\t{name}\n")

    return lambda: _watch(folder, passed, lambda: None)


def points_in(file: Path) -> list[Point]:
    """Return what `recording` wrote, each point before and after."""
    found = []
    for line in dict.fromkeys(file.read_text("utf-8").splitlines()):
        nth, _, name = line.partition("\t")
        found += [Point(name, int(nth)), Point(name, int(nth), after=True)]
    return found


def run(options: Options) -> list[Row]:
    """Kill each command at its points, as many of them as asked, evenly over its whole work."""
    state = prepared(options)
    return [
        _at_points(state, scene, most, options) for scene, most in chosen(options, "failpoints")
    ]


def _at_points(state: Prepared, scene: Scene, most: int, options: Options) -> Row:
    file = options.folder / f"{scene.name}.points"
    state.undisturbed(scene, recording(state.work, file))
    points = points_in(file)
    step = max(1.0, len(points) / most)
    some = [points[int(i * step)] for i in range(int(len(points) / step))]
    random.Random(options.seed).shuffle(some)
    failures, reached, began = [], 0, time.monotonic()
    for number in options.trying(len(some)):
        point = some[number]
        first = state.start(scene, killing_at(point, state.work)).ended()
        dies = first.status == -signal.SIGKILL
        reached += (state.work / _STRUCK).exists()
        faults, _ = state.judge(scene, first, dies)
        failures += [f"{point}: {fault}" for fault in faults]
        if faults:
            say(f"{scene.name}: {failures[-len(faults) :]}")
    say(f"{scene.name}: {reached} of {len(points)} points, {len(failures)} faults")
    # A point that a trial did not come to is none.
    figure = f"of {len(points)} points"
    return Row("failpoints", scene.name, reached, failures, figure, time.monotonic() - began)


def _die(folder: Path) -> None:
    (folder / _STRUCK).touch()
    os.kill(os.getpid(), signal.SIGKILL)


def _watch(folder: Path, passed: Callable[[str, int], None], any_event: Callable[[], None]) -> None:
    root, process, inside = f"{folder}/", os.getpid(), threading.local()
    counts: dict[str, itertools.count[int]] = {}

    def reach(name: str) -> None:
        helper = trials.helper()
        if getattr(inside, "now", False) or (os.getpid() != process and not helper):
            return
        inside.now = True
        name = f"{helper}: {name}" if helper else name
        try:
            # Without a lock, which a thread could hold while another forks.
            passed(name, next(counts.setdefault(name, itertools.count(1))))
        finally:
            inside.now = False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        any_event()
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES and isinstance(path, (str, bytes)):
                _at("write", path, root, reach)
        elif event in _PATHS:
            _at(event.removeprefix("os."), arguments[_PATHS[event]], root, reach)
        elif event == "subprocess.Popen":
            reach(f"start {_program(arguments[1])}")

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = stock(*arguments, **options)
        _trace(connection, reach)
        return connection

    stock = sqlite3.connect
    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]
    sys.addaudithook(hook)


def _at(what: str, path: object, root: str, reach: Callable[[str], None]) -> None:
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    full = os.path.join(os.getcwd(), text)  # noqa: PTH109, PTH118 - run at every file that is opened
    if text and full.startswith(root) and not full.startswith(tuple(root + name for name in _NOT)):
        reach(f"{what} {_PARTLY.sub('#', full.removeprefix(root))}")


def _program(arguments: object) -> str:
    words = [str(word) for word in arguments] if isinstance(arguments, (list, tuple)) else []
    named = [w for w in words if w.startswith(("tasks.", "deploy.")) or "fork_server" in w]
    return "worker" if any("fork_server" in w for w in named) else "".join(named[:1] or words[:1])


def _trace(connection: sqlite3.Connection, reach: Callable[[str], None]) -> None:
    seen: list[str] = []

    def statement(text: str) -> None:
        words = text.split(None, 3)
        if words and words[0].upper() in ("INSERT", "UPDATE", "DELETE"):
            seen.append(words[2] if words[0].upper() != "UPDATE" else words[1])
        elif _CHANGING.match(text):
            tables = "+".join(sorted({name.partition("(")[0].strip('"') for name in seen}))
            reach(f"{words[0].lower()} {tables or 'nothing'}")
            seen.clear()

    connection.set_trace_callback(statement)
