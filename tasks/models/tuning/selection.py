"""Selection of a trial: the untuned one, unless another gains beyond noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.base.runtime.files import write_whole
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.settings.search_spaces import Value
from tasks.base.text.numbers import number
from tasks.base.training_records import Trial
from tasks.models.fold_noise import CONFIDENCE, LEAST_PARTS, noise, shared_rows
from tasks.models.run_context import FitRun
from tasks.models.tuning.pruner import best_trial


@dataclass(frozen=True)
class Choice:
    """The settings with which a candidate is fitted."""

    params: dict[str, Value]  # tuned ones, in place of the candidate's own
    trials: tuple[Trial, ...] = ()
    note: str = ""  # what tuning gained

    @property
    def chosen(self) -> Trial | None:
        """The trial whose validation is the candidate's."""
        return next((t for t in self.trials if t.chosen), None)


def _path(run: FitRun, name: str) -> Path:
    return run.at(f"choice-{name}.json")


def write_choice(run: FitRun, name: str, choice: Choice) -> None:
    """Leave `choice` where the fit of the candidate finds it."""
    values = {
        "params": choice.params,
        "trials": [trial.model_dump(mode="json") for trial in choice.trials],
        "note": choice.note,
    }
    write_whole(_path(run, name), json.dumps(values))


def read_choice(run: FitRun, name: str) -> Choice:
    """Return the choice of the recipe or of `write_choice`; nothing tuned without either."""
    if run.recipe is not None:
        return Choice(run.recipe.settings)
    try:
        values = json.loads(_path(run, name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Choice({})
    trials = tuple(Trial.model_validate(trial) for trial in values["trials"])
    return Choice(values["params"], trials, values["note"])


@dataclass(frozen=True)
class Gain:
    """Gain of one trial over another over the same folds; greater is better."""

    mean: float
    least: float  # lower end of the one-sided interval
    folds: int


def gain_of(trial: Trial, untuned: Trial, *, ordered: bool, greater: bool) -> Gain | None:
    """Return the gain paired over the folds that both have; None with fewer than three.

    >>> made = [Trial(number=n, state="complete", scores=s) for n, s in
    ...         enumerate([(0.70, 0.72, 0.71), (0.74, 0.77, 0.75)])]
    >>> gain = gain_of(made[1], made[0], ordered=False, greater=True)
    >>> round(gain.mean, 4), gain.least > 0
    (0.0433, True)
    """
    sign = 1.0 if greater else -1.0
    pairs = [
        sign * (a - b)
        for a, b in zip(trial.scores, untuned.scores, strict=False)
        if a is not None and b is not None
    ]
    if len(pairs) < LEAST_PARTS:
        return None
    mean, shared = float(np.mean(pairs)), shared_rows(len(untuned.scores), ordered=ordered)
    return Gain(mean, mean - noise(np.array(pairs), shared), len(pairs))


def choose(trials: Sequence[Trial], run: FitRun, most_trials: int) -> Choice:
    """Return the best trial if it gains beyond noise, else the untuned one."""
    greater = greater_is_better(run.metric)
    best = best_trial(trials, greater=greater)
    untuned = best_trial([t for t in trials if t.number == 0], greater=greater)
    if untuned is None or best is None:
        return Choice({}, tuple(trials), "the untuned settings could not be validated")
    gain = gain_of(best, untuned, ordered=run.ordered, greater=greater)
    kept = best if best.number > 0 and gain is not None and gain.least > 0 else untuned
    marked = tuple(
        t.model_copy(update={"chosen": True}) if t.number == kept.number else t for t in trials
    )
    note = f"{_effort(trials, most_trials)}: {_finding(best, kept, gain, run.metric)}"
    return Choice(dict(kept.params) if kept.number > 0 else {}, marked, note)


def _effort(trials: Sequence[Trial], most_trials: int) -> str:
    counts = {
        state: sum(t.state == state for t in trials) for state in ("complete", "pruned", "failed")
    }
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    most = f" of {most_trials}" if len(trials) < most_trials else ""
    return f"tuning made {len(trials)}{most} trials ({states})"


def _finding(best: Trial, kept: Trial, gain: Gain | None, metric: str) -> str:
    if best.number == 0:
        return "none beats the untuned settings, which are kept"
    if gain is None:
        return (
            "fewer than three folds have a score, so no gain can be shown beyond noise; the "
            "untuned settings are kept"
        )
    half = gain.mean - gain.least
    found = (
        f"{number(gain.mean, half)} better in {metric}, paired over {gain.folds} folds "
        f"(at least {number(gain.least, half)} with {CONFIDENCE:.0%} confidence)"
    )
    if kept.number == 0:
        return (
            f"trial {best.number} is {found}, which is not beyond noise; the untuned settings are "
            "kept"
        )
    return f"trial {best.number} is {found} than the untuned settings"
