"""`keepfit up` killed as it starts and works: all of it, its main process alone, or a part of it.

A trial costs two starts of the servers: there is one for ten of single commands.
"""

from __future__ import annotations

import random
import signal
import statistics
import time

import psutil

from tests.campaign import trials
from tests.campaign.scenes import Prepared, prepared, say
from tests.campaign.table import Options, Row
from tests.campaign.trials import CHILD, GROUP, MAIN
from tests.e2e.stacks import Stack, alive, gone

_ONE_IN = 10
_WORKS = 30.0
"""Seconds after it is up within which it is killed: new rows are scored meanwhile."""


def run(options: Options) -> list[Row]:
    """Kill the stack, start it again, stop it, and look at what is left."""
    if options.share:
        return []
    state = prepared(options)
    chance = random.Random(f"stack {options.seed}")
    failures: list[str] = []
    seconds: list[float] = []
    up = _start(state)[1]
    for number in options.trying(max(1, options.trials // _ONE_IN)):
        what, moment = chance.choice((GROUP, MAIN, CHILD)), chance.uniform(0.0, up + _WORKS)
        faults, took = _killed(state, what, moment, chance)
        seconds.append(took)
        failures += [f"{number} ({what} at {moment:.0f} s): {fault}" for fault in faults]
        say(f"stack: {number} {what} {faults}")
    figure = f"up again {statistics.median(seconds):.0f} s, at first {up:.0f} s"
    return [Row("stack", "up", len(seconds), failures, figure, sum(seconds))]


def _start(state: Prepared) -> tuple[list[str], float]:
    """Start the stack once and stop it; return what is wrong then, and seconds until it was up."""
    stack, began = Stack(state.work), time.monotonic()
    stack.wait_up()
    took = time.monotonic() - began
    tree = stack.tree()
    faults = [] if stack.end(signal.SIGINT) == 0 else [f"Ctrl-C: {stack.err[-300:]}"]
    if not gone(tree):
        faults.append("processes are left after Ctrl-C")
    return faults, took


def _killed(
    state: Prepared, what: str, moment: float, chance: random.Random
) -> tuple[list[str], float]:
    state.restore()
    stack = Stack(state.work)
    time.sleep(moment)
    tree = [p for p in stack.tree() if p.is_running()]
    if what == CHILD and tree:
        _kill(chance.choice(tree))
        faults = []
        try:
            stack.wait_up()
        except AssertionError:
            faults.append(f"without a part it did not come up: {stack.err[-300:]}")
        if alive(stack) and (ended := stack.end(signal.SIGINT)):
            faults.append(f"Ctrl-C after a part died: {ended} {stack.err[-300:]}")
    else:
        for process in [psutil.Process(stack.process.pid), *(tree if what == GROUP else [])]:
            _kill(process)
        stack.process.wait()
        faults = []
    if not gone(tree):
        faults.append("processes go on without the stack")
    faults += [f"left running: {stray}" for stray in trials.strays()]
    more, took = _start(state)
    return [*faults, *more, *state.faults(), *_unkind(stack)], took


def _kill(process: psutil.Process) -> None:
    if process.is_running():
        process.kill()


def _unkind(stack: Stack) -> list[str]:
    return [f"says {w!r}" for w in ("Traceback", "looks like a bug") if w in stack.err]
