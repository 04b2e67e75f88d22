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
    return [killed(state, scene, trials, options) for scene, trials in chosen(options, "kills")]


def killed(state: Prepared, scene: Scene, trials: int, options: Options) -> Row:
    """Kill one command again and again, each time at another moment."""
    chance = random.Random(f"{scene.name} {options.seed}")
    if scene.name not in state.clean:
        state.undisturbed(scene)
    failures, again, began = [], [], time.monotonic()
    lasts = state.clean[scene.name]
    for number in options.trying(trials):
        what, moment = chance.choice(_KINDS), chance.uniform(0.0, lasts)
        while True:
            going = state.start(scene)
            time.sleep(moment)
            if going.poll():
                break
            # It was done before, as the machine is less busy now: no kill, and no trial.
            lasts = (lasts + going.ended().seconds) / 2
            moment = chance.uniform(0.0, lasts)
        dies = going.kill(what, chance)
        faults, seconds = state.judge(scene, going.ended(), dies)
        again.append(seconds)
        lasts = max(lasts, seconds)
        failures += [f"{number} ({what} at {moment:.2f} s): {fault}" for fault in faults]
        if number % 50 == 49:
            say(f"{scene.name}: {number + 1} kills, {len(failures)} faults")
        if faults:
            say(f"{scene.name}: {failures[-len(faults) :]}")
    say(f"{scene.name}: {len(again)} kills, {len(failures)} faults")
    figure = f"run again {statistics.median(again):.1f} s, alone {state.clean[scene.name]:.1f} s"
    return Row("kills", scene.name, len(again), failures, figure, time.monotonic() - began)
