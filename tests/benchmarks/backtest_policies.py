"""What policies capture of the gain of retraining, with how many fits, and what alarms are worth.

Replays tables in time order with LightGBM on a rolling window under eight policies and prints
three tables:

- The share of the gain of training every window (ungated) that each policy captures: ``gated``
  (a refit every window, behind the gate), ``file`` (the default: gain, drift and performance
  together, no calendar), ``even`` (a calendar with as many fits as ``file``) and each sense alone;
  trainings, refits and alarms of ``file``; the replay's time over that of its distinct fits; and by
  how much the policy recommended from the first 60 % of the windows beats ``file`` on the rest.
- Alarms of each sense, and of Evidently's drift preset as it ships, against windows in which a
  model trained just before would have been better beyond noise: those of the champions that
  ``file`` had, and of the first model. Windows of all tables are pooled.
- The promises, table by table.

Labels are known at a window's end, or two windows later with ``--late``. A finished replay is kept
in the folder of ``--keep`` as one JSON file, and a stopped one goes on from its fits.

    KEEPFIT_TABLES=folder python -m tests.benchmarks.backtest_policies --keep FOLDER
        [--late no,yes] [--seeds 0,1] [--names bike_hourly,flights] [--few] [--again] [--print]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.backtest import run
from tasks.backtest.comparison import Comparison, _mean, loss_name
from tasks.backtest.engine import Replay, State
from tasks.backtest.fits import FittedModel
from tasks.backtest.policies import policies_of
from tasks.backtest.recommendation import recommend
from tasks.backtest.results import PolicyResult
from tasks.base.pipeline_file import load_pipeline
from tasks.base.runtime.environment import turn_telemetry_off
from tests.benchmarks.alarm_worth import alarms_of, alarms_printed
from tests.benchmarks.policy_tables import TABLES, prepared

EARLIER = 0.6
"""Share of the windows that a policy is recommended from."""
SHOWN = ("every_window_gated", "file", "even", "gain", "realised", "estimated", "drift")

Row = dict[str, Any]


def even_calendar(comparison: Comparison, trainings: int) -> tuple[FittedModel, ...]:
    """Return the models of an even calendar with so many trainings."""
    n = len(comparison.fresh)
    starts = np.round(np.arange(trainings + 1) * n / (trainings + 1)).astype(int)
    return tuple(comparison.fresh[starts[starts <= w].max()] for w in range(n))


def replayed(file: Path, *, few: bool = False) -> tuple[Replay, tuple[State, ...], float]:
    """Replay the pipeline of `file`; return the seconds beside replay and states.

    Parameters
    ----------
    few
        Leave out the policies of one sense but gain, and what alarms are worth.
    """
    pipeline, asked = load_pipeline(file), run.BacktestRequest()
    replay = run.prepare_replay(pipeline, asked)
    began = time.monotonic()
    first = replay.history.windows[0].start - replay.history.start
    # Eight policies: without calendars of other steps and other training windows.
    policies = policies_of(pipeline.config, replay.size, first, quick=True)
    policies = [p for p in policies if not p.name.startswith("every_") or p.every == 1]
    if few:
        policies = [p for p in policies if p.name not in ("drift", "realised", "estimated")]
    states = replay.begin(policies)
    for window in range(replay.size):
        states = replay.step(states, window)
    return replay, states, time.monotonic() - began


def measured(file: Path, *, few: bool = False) -> Row:
    """Return what the replay of a pipeline's history came to."""
    replay, states, seconds = replayed(file, few=few)
    known = len(replay.fits.made)
    fits = sum(fit.seconds for fit in replay.fits.made)
    comparison = Comparison(replay, states)
    results = {r.policy: r for r in comparison.results()}
    even = comparison.losses.all_of(even_calendar(comparison, results["file"].fitted))
    return {
        "windows": replay.size,
        "fits": known,
        "ratio": seconds / max(fits, 1e-9),
        "seconds": seconds,
        "even": float(np.nanmean(even)),
        "policies": {name: _counts(result) for name, result in results.items()},
        "events": [event.model_dump(mode="json") for event in results["file"].events],
        "window_losses": {name: [w.loss for w in r.windows] for name, r in results.items()},
        "later": _later(replay, states, comparison),
        "alarms": None if few else alarms_of(comparison, states),
    }


def _counts(result: PolicyResult) -> Row:
    never, every = result.gain_over_never, result.gain_over_every
    return {
        "loss": result.loss,
        "trainings": result.trainings,
        "refits": result.refits,
        "promotions": result.promotions,
        "alarms": result.alarms,
        "alarms_paid": result.alarms_paid,
        "gain_over_never": [never.value, never.low, never.high],
        "gain_over_every": [every.value, every.low, every.high],
    }


def _later(replay: Replay, states: Sequence[State], comparison: Comparison) -> Row:
    """Return how the policy recommended from the earlier windows does in the later ones."""
    cut = round(EARLIER * replay.size)
    history = replay.history
    earlier = replace(replay, history=replace(history, windows=history.windows[:cut]))
    known = [_until(state, cut) for state in states]
    policies = {state.policy.name: state.policy for state in states}
    chosen = recommend(
        Comparison(earlier, known).results(),
        policies,
        replay.config,
        length=history.length,
        loss_name=loss_name(history),
    ).policy
    served = {s.policy.name: [c.model for c in s.served] for s in states}
    losses = {
        name: np.concatenate(
            [comparison.losses.of(served[name][w], w) for w in range(cut, replay.size)]
        )
        for name in ("file", chosen)
    }
    gain = _mean(losses["file"] - losses[chosen], comparison._units[-len(losses["file"]) :])
    return {
        "policy": chosen,
        "gain_over_file": [gain.value, gain.low, gain.high],
        "loss": float(np.nanmean(losses["file"])),
    }


def _until(state: State, cut: int) -> State:
    return replace(
        state,
        served=state.served[:cut],
        alarmed=tuple(a for a in state.alarmed if a.window < cut),
        events=tuple(e for e in state.events if e.window < cut),
    )


def gain_of(row: Row, policy: str) -> float:
    """Return by how much less a policy loses than never training."""
    never = row["policies"]["never"]["loss"]
    return float(never - (row["even"] if policy == "even" else row["policies"][policy]["loss"]))


def better(row: Row) -> str:
    """Return the better of retraining every window with and without the gate."""
    return max(("every_window", "every_window_gated"), key=lambda name: gain_of(row, name))


def pays(row: Row) -> bool:
    """Return whether the better of them gains over never training beyond noise."""
    low = row["policies"][better(row)]["gain_over_never"][1]
    return low is not None and low > 0


def printed(row: Row) -> str:
    """Return a row of the first table."""
    file, every = row["policies"]["file"], gain_of(row, "every_window")
    cells = "".join(
        f" {gain_of(row, name) / every:5.0%}"
        if every > 0 and name in {"even", *row["policies"]}
        else "     –"
        for name in SHOWN
    )
    later = row["later"]
    value, low, high = (
        float("nan") if v is None else v / later["loss"] for v in later["gain_over_file"]
    )
    return (
        f"{row['name']:<16}{row['seed']:>2} {'late' if row['late'] else '':<5}{row['windows']:>3} "
        f"{row['policies']['never']['loss']:>8.4g} "
        f"{row['policies']['every_window']['loss']:>8.4g} {'yes' if pays(row) else 'no':<4}{cells} "
        f"{file['trainings']:>3}+{file['refits']:<3}{file['alarms']:>3} {row['ratio']:5.2f}  "
        f"{later['policy'].replace('every_window', 'every'):<12} {value:+6.1%} "
        f"({low:+.1%}, {high:+.1%})"
    )


def promised(row: Row) -> tuple[bool, str]:
    """Return whether a table's promises hold, and the figures."""
    file, windows = row["policies"]["file"], row["windows"]
    if pays(row):
        best = better(row)
        share = gain_of(row, "file") / gain_of(row, best)
        even = gain_of(row, "even") / gain_of(row, best)
        few = file["trainings"] <= windows / 3
        held = share >= 0.9 and few and share >= even
        return held, f"captures {share:.0%} of {best}'s gain (even calendar {even:.0%})"
    value, low, high = file["gain_over_never"]
    fits = file["trainings"] + file["refits"]
    held = fits <= windows / 10 and (high is None or high >= 0)
    return held, f"no gain beyond noise; {fits} fits, gain over never {value:+.3g} ({low}, {high})"


def _told(row: Row) -> str:
    held, figures = promised(row)
    late = " late" if row["late"] else ""
    counts = f"{row['policies']['file']['trainings']} trainings in {row['windows']} windows"
    return f"{'kept' if held else 'NOT ':<5}{row['name']}{late} {row['seed']}: {figures}, {counts}"


def over_seeds(rows: Sequence[Row]) -> Iterator[str]:
    """Yield mean and range over the seeds of each table that has several where training pays."""
    for name, late in dict.fromkeys((row["name"], row["late"]) for row in rows):
        found = [r for r in rows if (r["name"], r["late"]) == (name, late) and pays(r)]
        if len(found) < 2:
            continue
        shares = [
            [gain_of(row, policy) / gain_of(row, "every_window") for row in found]
            for policy in ("file", "even")
        ]
        file, even = (f"{np.mean(s):.0%} ({min(s):.0%} to {max(s):.0%})" for s in shares)
        fits = [r["policies"]["file"]["trainings"] + r["policies"]["file"]["refits"] for r in found]
        yield (
            f"{name}{' late' if late else ''}, {len(found)} seeds: captures {file} with "
            f"{min(fits)} to {max(fits)} fits, even calendar {even}"
        )


def report(rows: Sequence[Row]) -> str:
    """Return the three tables, and what several seeds of a table came to."""
    head = "".join(f" {name.replace('every_window_', '')[:5]:>5}" for name in SHOWN)
    seen = [row for row in rows if row["alarms"]]
    level = sum((row["later"]["gain_over_file"][2] or 0.0) >= 0 for row in rows)
    lines = [
        f"{'table':<16}{'s':>2} {'':<5}{'n':>3} {'never':>8} {'every':>8} sure{head} "
        "fits   alarms time  recommended from 60 %, against file on the rest",
        *map(printed, rows),
        "",
        *((*alarms_printed(seen), "") if seen else ()),
        *map(_told, rows),
        f"{sum(promised(row)[0] for row in rows)} of {len(rows)} keep their promise; {level} "
        "recommendations do not lose beyond noise.",
        *over_seeds(rows),
    ]
    return "\n".join(lines)


def main() -> None:
    """Replay what is not kept yet, and print all that is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, required=True, help="where replays are kept")
    parser.add_argument("--names", default=",".join(TABLES))
    parser.add_argument("--late", default="no,yes")
    parser.add_argument("--seeds", default="0")
    parser.add_argument(
        "--few", action="store_true", help="without alarms and single senses but gain"
    )
    parser.add_argument("--again", action="store_true", help="replay anew; fits are reused")
    parser.add_argument("--print", action="store_true", help="only print what is kept")
    given = parser.parse_args()
    turn_telemetry_off()
    wanted = [
        (name, late == "yes", int(seed))
        for seed in given.seeds.split(",")
        for late in given.late.split(",")
        for name in given.names.split(",")
    ]
    rows = []
    for name, late, seed in wanted:
        folder = given.keep / f"{name}-{seed}{'-late' if late else ''}"
        kept = folder / "row.json"
        if not given.print and (given.again or not kept.exists()):
            for found in folder.glob(".keepfit/**/backtest/*/windows"):
                shutil.rmtree(found)
            file = prepared(name, Path(os.environ["KEEPFIT_TABLES"]), folder, late=late, seed=seed)
            row = {"name": name, "late": late, "seed": seed, **measured(file, few=given.few)}
            kept.write_text(json.dumps(row), encoding="utf-8")
            print(printed(row), flush=True)
        if kept.exists():
            rows.append(json.loads(kept.read_text(encoding="utf-8")))
    print("\n" + report(rows))


if __name__ == "__main__":
    main()
