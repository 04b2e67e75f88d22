"""Commands killed at random times: the whole tree, the command alone, or one of its children."""

from __future__ import annotations

import random
import statistics
import time

from tests.campaign.scenes import Prepared, Scene, chosen, prepared, say
from tests.campaign.table import Options, Row
from tests.campaign.trials import CHILD, GROUP, MAIN

_KINDS = (GROUP, GROUP, MAIN, CHILD)


def run(options: Options) -> list[Row]:
    """Kill each command as often as asked."""
    state = prepared(options)
    return [killed(state, scene, trials, options.seed) for scene, trials in chosen(options)]


def killed(state: Prepared, scene: Scene, trials: int, seed: int) -> Row:
    """Kill one command again and again, each time at another moment."""
    chance = random.Random(f"{scene.name} {seed}")
    clean = state.start(scene).ended()
    assert clean.status in scene.statuses, clean.err
    failures, again = [], []
    for number in range(trials):
        what, moment = chance.choice(_KINDS), chance.uniform(0.0, clean.seconds)
        going = state.start(scene)
        time.sleep(moment)
        dies = going.kill(what, chance)
        faults, seconds = state.judge(scene, going.ended(), dies)
        again.append(seconds)
        failures += [f"{number} ({what} at {moment:.2f} s): {fault}" for fault in faults]
        if faults:
            say(f"{scene.name}: {failures[-len(faults) :]}")
    say(f"{scene.name}: {trials} kills, {len(failures)} faults")
    figure = f"run again {statistics.median(again):.1f} s, alone {clean.seconds:.1f} s"
    return Row("kills", scene.name, trials, failures, figure)
