"""Proposals of Optuna's sampler, built anew for every batch from the trials known by then.

Nothing of Optuna is kept between batches. A batch depends on the seed, its number and the trials of
earlier batches only, so that a search that was killed goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.base.runtime.libraries import optuna
from tasks.base.settings.search_spaces import Space, Value, spaces_of
from tasks.base.training_records import Trial
from tasks.models.run_context import FitRun
from tasks.models.tuning.pruner import best_trial, standing

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

_MOVED = 0.4
"""Share of the hyperparameters that differ between a neighbour and its origin."""
_STEP = 0.15
"""Standard deviation of a move, as a share of the space's width."""
RANDOM_TRIALS = 8
"""Trials before the sampler learns from them."""
_ATTEMPTS = 20
_DIGITS = 4


def spaces_for(run: FitRun, name: str) -> tuple[Space, ...]:
    """Return the search spaces of a candidate in a run."""
    given = {n: s.model_dump() for n, s in run.training.spaces.get(name, {}).items()}
    return spaces_of(
        name, given, classification=run.classification, class_weight=run.training.class_weight
    )


def propose(
    spaces: Sequence[Space],
    earlier: Sequence[Trial],
    count: int,
    *,
    seed: int,
    batch: int,
    name: str,
    greater: bool,
) -> list[dict[str, Value]]:
    """Return up to `count` sets of hyperparameters that no earlier trial had, if there are any."""
    # The candidate's `name`, `seed` and `batch`, any number of the batch, seed the sampler, which
    # learns from trials of `earlier` batches. Source: Bergstra et al. (2011), Algorithms for
    # hyper-parameter optimization, NeurIPS.
    distributions = {space.name: _distribution(space) for space in spaces}
    number = _seed(name, seed, batch)
    study = _study(earlier, distributions, spaces, number, greater=greater)
    rng, best = np.random.default_rng(number), best_trial(earlier, greater=greater)
    seen = [trial.params for trial in earlier if trial.number > 0]
    found: list[dict[str, Value]] = []
    for _ in range(count + _ATTEMPTS):
        if len(found) == count:
            break
        near = None if len(found) % 2 or best is None else neighbour(best.params, spaces, rng)
        params = _rounded(near or study.ask(distributions).params, spaces)
        if params not in seen:
            seen.append(params)
            found.append(params)
    return found


def neighbour(
    params: Mapping[str, Value], spaces: Sequence[Space], rng: np.random.Generator
) -> dict[str, Value] | None:
    """Return `params` with some of them moved a little; None where they lie in no space."""
    # Every second proposal is one: in a dozen trials a sampler of a whole space learns little,
    # while the untuned settings are good already.
    start = {space.name: space.nearest(params.get(space.name)) for space in spaces}
    if None in start.values() or not spaces:
        return None
    chosen = rng.random(len(spaces)) < _MOVED
    chosen[rng.integers(len(spaces))] = True
    moved: dict[str, Value] = {}
    for space, value, moves in zip(spaces, start.values(), chosen, strict=True):
        assert value is not None  # noqa: S101 - returned above
        moved[space.name] = _moved(space, value, rng) if moves else value
    return moved


def _moved(space: Space, value: Value, rng: np.random.Generator) -> Value:
    if space.choices:
        return space.choices[int(rng.integers(len(space.choices)))]
    low, high, here = space.low, space.high, float(value)
    if space.log:
        low, high, here = np.log(low), np.log(high), np.log(here)
    there = float(np.clip(here + rng.normal() * _STEP * (high - low), low, high))
    there = float(np.exp(there)) if space.log else there
    nearest = space.nearest(there)
    return value if nearest is None else nearest


def _seed(name: str, seed: int, batch: int) -> int:
    digest = hashlib.sha256(f"{name} {seed} {batch}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _study(
    earlier: Sequence[Trial],
    distributions: dict[str, BaseDistribution],
    spaces: Sequence[Space],
    seed: int,
    *,
    greater: bool,
) -> Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental warnings differ by version
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=RANDOM_TRIALS
        )
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for trial in earlier:
        finished = _finished(trial, distributions, spaces, greater=greater)
        if finished is not None:
            study.add_trial(finished)
    return study


def _finished(
    trial: Trial,
    distributions: dict[str, BaseDistribution],
    spaces: Sequence[Space],
    *,
    greater: bool,
) -> Any:
    """Return a trial of Optuna's; None where it lies outside the spaces or failed."""
    params = {space.name: space.nearest(trial.params.get(space.name)) for space in spaces}
    steps = {
        rung: stood
        for rung in range(len(trial.scores) + 1)
        if (stood := standing(trial, rung, greater=greater)) is not None
    }
    if not steps or None in params.values():
        return None
    complete = trial.state == "complete"
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED,
        value=steps[max(steps)] if complete else None,
        params=params,
        distributions=distributions,
        intermediate_values=steps,
    )


def _distribution(space: Space) -> BaseDistribution:
    if space.choices:
        return optuna.distributions.CategoricalDistribution(space.choices)
    if space.whole:
        return optuna.distributions.IntDistribution(int(space.low), int(space.high), log=space.log)
    return optuna.distributions.FloatDistribution(space.low, space.high, log=space.log)


def _rounded(params: dict[str, Any], spaces: Sequence[Space]) -> dict[str, Value]:
    """Return values with as many digits as matter, within their spaces."""
    rounded: dict[str, Value] = {}
    for space in spaces:
        value = params[space.name]
        if isinstance(value, float) and not space.choices:
            value = min(max(float(f"{value:.{_DIGITS}g}"), space.low), space.high)
        rounded[space.name] = value
    return rounded
