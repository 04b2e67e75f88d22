"""How often the gate promotes a challenger that is truly no better.

    python tests/benchmarks/gate_error.py [--trials 400] [--rows 1000] [--years 50]

In every trial the champion and six candidates have exactly the same true quality. The best of the
six out of fold, in five folds of four times as many rows, is the challenger, as in a training;
models of a fold are off by chance, by an AUC of about 0.003. Champion and challenger then meet on
fresh holdout rows, and the gate knows the folds too. A promotion is wrong. Beside the gate stand
the same without the folds and two plain rules: the greater point value on the same holdout, and the
best of the six chosen on the holdout itself.

A refit is judged by its own rule, non-inferiority: wrong where it is truly worse by the margin;
where it is as good as the champion it should pass. Champion and refit share more than two
candidates do: their difference has the standard error that refits have on real tables, 0.009 at
1,000 rows (see refits.py). Last, a year of 52 trainings in which nothing changes: how many
promote, and what the model that scores is then worth against the first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from tasks.base.settings.evaluation import GateConfig
from tasks.base.training_records import RecipeGain, RefitGain, Schema, Verdict
from tasks.metrics.paired_bootstrap import Predictions, paired_evidence
from tasks.metrics.scorer import score
from tasks.models.out_of_fold import OutOfFold
from tasks.registry.gate.gate import REFIT_SHARE, decide
from tasks.registry.gate.recipe_comparison import compared
from tasks.registry.gate.refit_history import refit_gain

CANDIDATES = 6
FOLDS = 5
CLASSES = ("0", "1")
GATE = GateConfig(replicates=400)
SCHEMA = Schema(target="y", task="binary", features={}, classes=CLASSES, positive="1")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """Rows in which all models are equally good but for the last one's `gain` in signal.

    Attributes
    ----------
    own
        Noise of each model by itself.
    """

    name: str
    days: int | None = None
    gain: float = 0.0
    own: float = 0.45

    def draw(
        self, rows: int, models: int, rng: np.random.Generator, off: float = 0.0
    ) -> tuple[NDArray[np.int64], list[Floats], NDArray[np.int64] | None]:
        """Return the target, the score that each model gives, and the days.

        Each model's signal deviates by `off`.
        """
        y = (rng.random(rows) < 0.3).astype(np.int64)
        common = rng.standard_normal(rows)
        days = None if self.days is None else np.arange(rows) * self.days // rows
        scores = []
        for model in range(models):
            noise = 0.9 * common + self.own * rng.standard_normal(rows)
            if days is not None and self.days is not None:
                # Each model has its good and its bad days.
                noise += 0.4 * rng.standard_normal(self.days)[days] * (2 * y - 1)
            signal = 1.2 + self.gain * (model == models - 1) + off * rng.standard_normal()
            scores.append(signal * y + noise)
        return y, scores, days


def _auc(y: NDArray[np.int64], scores: Floats) -> float:
    return score("roc_auc", y, y, _probability(scores), CLASSES, "1")


def _probability(scores: Floats) -> Floats:
    p = 1 / (1 + np.exp(-scores))
    return np.column_stack([1 - p, p])


def _predictions(scores: Floats) -> Predictions:
    return Predictions((scores > 0.6).astype(np.int64), _probability(scores))


def _verdict(
    y: NDArray[np.int64],
    challenger: Floats,
    champion: Floats,
    days: NDArray[np.int64] | None,
    seed: int,
    *,
    refit: bool = False,
    earlier: Sequence[RefitGain] = (),
    recipes: RecipeGain | None = None,
) -> Verdict:
    """Return what the shipped gate says."""
    evidence = paired_evidence(
        "roc_auc",
        y,
        _predictions(challenger),
        _predictions(champion),
        Predictions(np.zeros(len(y), dtype=np.int64), np.full((len(y), 2), 0.5)),
        SCHEMA,
        blocks=days,
        gate=GATE,
        seed=seed + 1_000_000,
        refit=refit,
    )
    return decide(
        evidence.model_copy(update={"recipes": recipes}),
        GATE,
        champion_version="1",
        new_evidence=True,
        refit=refit,
        earlier=earlier,
    )


def trial(world: World, rows: int, seed: int) -> tuple[bool, bool, bool, bool]:
    """Return whether the gate, the holdout alone, a plain `>`, and one on the best promote."""
    rng = np.random.default_rng(seed)
    folds = [world.draw(4 * rows // FOLDS, CANDIDATES + 1, rng, off=0.02) for _ in range(FOLDS)]
    y_folds = np.concatenate([y for y, _, _ in folds])
    of_folds = [np.concatenate(scores) for scores in zip(*(s for _, s, _ in folds), strict=True)]
    y, of_holdout, days = world.draw(rows, CANDIDATES + 1, rng)
    champion, *candidates = of_holdout
    place = int(np.argmax([_auc(y_folds, s) for s in of_folds[1:]]))
    chosen = candidates[place]
    recipes = compared(
        "roc_auc",
        _out_of_fold(y_folds, of_folds[1 + place], world),
        _out_of_fold(y_folds, of_folds[0], world),
        SCHEMA,
        gate=GATE,
        seed=seed,
        trained=4 * rows,
        candidates=CANDIDATES,
    )
    shipped = _verdict(y, chosen, champion, days, seed, recipes=recipes)
    alone = _verdict(y, chosen, champion, days, seed)
    best = max(_auc(y, s) for s in candidates)
    theirs = _auc(y, champion)
    return shipped.promoted, alone.promoted, _auc(y, chosen) > theirs, best > theirs


def _out_of_fold(y: NDArray[np.int64], scores: Floats, world: World) -> OutOfFold:
    said = _predictions(scores)
    place = np.arange(len(y), dtype=np.int64)
    part = place * FOLDS // len(y)
    ordered = world.days is not None
    return OutOfFold(place, y, np.asarray(said.predicted), said.probability, part, ordered)


def refit_trial(
    world: World, rows: int, seed: int, before: World, earlier: int = 0
) -> tuple[bool, float]:
    """Return whether the gate promotes a refit whose gain is the world's, and its margin.

    Parameters
    ----------
    before
        World of so many `earlier` refits, which the gate judged too.
    """
    rng = np.random.default_rng(seed)
    known: list[RefitGain] = []
    for place, one in enumerate([*[before] * earlier, world]):
        y, (champion, refit), days = one.draw(rows, 2, rng)
        verdict = _verdict(y, refit, champion, days, seed * 20 + place, refit=True, earlier=known)
        known += [showed] if (showed := refit_gain(verdict, None)) is not None else []
    assert verdict.margin is not None
    return verdict.promoted, verdict.margin


def at_the_margin(world: World) -> float:
    """Return the signal that a refit lacks where it is worse by the margin, on very many rows."""
    rng, rows = np.random.default_rng(0), 200_000
    lacks = np.linspace(0.0, 0.4, 9)
    y = (rng.random(rows) < 0.3).astype(np.int64)
    noise = np.sqrt(0.9**2 + world.own**2) * rng.standard_normal(rows)
    lost = [_auc(y, 1.2 * y + noise) - _auc(y, (1.2 - lack) * y + noise) for lack in lacks]
    lead = _auc(y, 1.2 * y + noise) - 0.5
    return float(np.interp(REFIT_SHARE * lead, lost, lacks))


def year(rows: int, seed: int, *, refit: bool) -> tuple[int, float]:
    """Return how many of 52 trainings promote, and the AUC that the last model has lost.

    Models are alike on average: each one's true signal is off by chance, by an AUC of about 0.003.
    """
    rng = np.random.default_rng(seed)
    scoring, first, promoted = 1.2, 1.2, 0
    for week in range(52):
        chosen = 1.2 + 0.02 * rng.standard_normal()
        world = World("a year", gain=chosen - scoring, own=0.35 if refit else 0.45)
        y, (champion, other), days = world.draw(rows, 2, rng)
        champion, other = (s + (scoring - 1.2) * y for s in (champion, other))
        if _verdict(y, other, champion, days, seed * 52 + week, refit=refit).promoted:
            scoring, promoted = chosen, promoted + 1
    return promoted, 0.15 * (first - scoring)


def upper(count: int, trials: int) -> float:
    """Return the one-sided 95 % upper bound of a rate (Clopper and Pearson 1934)."""
    return 1.0 if count == trials else float(beta.ppf(0.95, count + 1, trials - count))


def _refits(rows: int, trials: int, seed: int) -> bool:
    """Print how often refits pass; return whether the gate misses its target."""
    print(f"\n{'refit':<30}{'':<28}{'promoted':>9}{'95 % upper':>12}{'margin':>9}")
    missed = False
    for days in (None, 31):
        alike = World("as good", days=days, own=0.35)
        worse = World("worse by the margin", days=days, own=0.35, gain=-at_the_margin(alike))
        for world, before, earlier in (
            (alike, alike, 0), (worse, worse, 0), (alike, alike, 3), (alike, alike, 12),
            (worse, worse, 3), (worse, worse, 12), (worse, alike, 12),
        ):  # fmt: skip
            found = [refit_trial(world, rows, seed + k, before, earlier) for k in range(trials)]
            count = sum(promoted for promoted, _ in found)
            margin = float(np.median([margin for _, margin in found]))
            told = "independent rows" if days is None else f"{days} uneven days"
            after = f", after {earlier}{' good' if before is not world else ''}" if earlier else ""
            bound = upper(count, trials)
            print(
                f"{world.name:<21}{told + after:<37}{count / trials:>9.1%}{bound:>12.1%}"
                f"{margin:>9.3f}",
                flush=True,
            )
            # One bad refit after good ones is for probation, where its rows do not show it.
            if before is world:
                missed |= bound > 0.07 if world is worse else days is None and count < 0.8 * trials
    return missed


def _years(rows: int, years: int, seed: int) -> None:
    """Print what a year of 52 trainings without change does."""
    for refit, told in ((True, "52 refits"), (False, "52 full trainings")):
        found = [year(rows, seed + k, refit=refit) for k in range(years)]
        counts, lost = np.array([n for n, _ in found]), np.array([loss for _, loss in found])
        print(
            f"a year without change, {told}: {counts.mean():.1f} promote ({counts.min()} to "
            f"{counts.max()}; more than two in {np.mean(counts > 2):.0%} of {years} years); "
            f"AUC lost {lost.mean():+.4f} on average, at worst {lost.max():+.4f}",
            flush=True,
        )


def main() -> int:
    """Print the table; 1 if the gate misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--years", type=int, default=50)
    parser.add_argument("--refits-only", action="store_true")
    parser.add_argument("--searches-only", action="store_true")
    asked = parser.parse_args()
    started = time.perf_counter()
    worlds: list[tuple[World, int, Callable[[float], bool]]] = [
        (World("no better, independent rows"), asked.trials, lambda bound: bound <= 0.07),
        (World("no better, 31 uneven days", days=31), asked.trials, lambda bound: bound <= 0.07),
        (World("truly better by 0.019", gain=0.103), asked.trials, lambda _: True),
        (World("better by 0.019, 31 days", days=31, gain=0.103), asked.trials, lambda _: True),
    ]
    if asked.refits_only:
        worlds = []
    print(f"{asked.rows:,} holdout rows, challenger = best of {CANDIDATES} out of fold\n")
    print(f"{'world':<30}{'rule':<28}{'promoted':>9}{'95 % upper':>12}")
    missed = False
    for world, trials, holds in worlds:
        outcomes = np.array([trial(world, asked.rows, asked.seed + k) for k in range(trials)])
        rules = (
            "gate, holdout and folds",
            "holdout alone",
            "plain >",
            "plain >, chosen on holdout",
        )
        for rule, count in zip(rules, outcomes.sum(axis=0), strict=True):
            bound = upper(int(count), trials)
            print(f"{world.name:<30}{rule:<28}{count / trials:>9.1%}{bound:>12.1%}")
            missed |= rule == rules[0] and not holds(bound)
    if not asked.searches_only:
        missed |= _refits(asked.rows, asked.trials, asked.seed)
        _years(asked.rows, asked.years, asked.seed)
    print(f"\n{time.perf_counter() - started:.0f} s; target: wrong promotions, upper bound ≤ 7 %")
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
