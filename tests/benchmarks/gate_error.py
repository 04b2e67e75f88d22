"""How often the gate promotes a challenger that is truly no better.

    python tests/benchmarks/gate_error.py [--trials 400] [--rows 1000]

In every trial the champion and six candidates have exactly the same true quality. The best of the
six on a validation part is the challenger, as in a training; champion and challenger then meet on
fresh holdout rows. A promotion is wrong. Beside the gate stand two plain rules: the greater
point value on the same holdout, and the best of the six chosen on the holdout itself.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from tasks.base.config import GateConfig
from tasks.base.records import Schema
from tasks.metrics.paired_bootstrap import Predictions, paired_evidence
from tasks.metrics.scorer import score
from tasks.registry.gate import decide

CANDIDATES = 6
CLASSES = ("0", "1")
GATE = GateConfig(replicates=400)
SCHEMA = Schema(target="y", task="binary", features={}, classes=CLASSES, positive="1")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """Rows in which all models are equally good but for the last one's `gain` in signal."""

    name: str
    days: int | None = None
    gain: float = 0.0

    def draw(
        self, rows: int, models: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], list[Floats], NDArray[np.int64] | None]:
        """Return the target, the score that each model gives, and the days."""
        y = (rng.random(rows) < 0.3).astype(np.int64)
        common = rng.standard_normal(rows)
        days = None if self.days is None else np.arange(rows) * self.days // rows
        scores = []
        for model in range(models):
            noise = 0.9 * common + 0.45 * rng.standard_normal(rows)
            if days is not None and self.days is not None:
                # Each model has its good and its bad days.
                noise += 0.4 * rng.standard_normal(self.days)[days] * (2 * y - 1)
            scores.append((1.2 + self.gain * (model == models - 1)) * y + noise)
        return y, scores, days


def _auc(y: NDArray[np.int64], scores: Floats) -> float:
    return score("roc_auc", y, y, _probability(scores), CLASSES, "1")


def _probability(scores: Floats) -> Floats:
    p = 1 / (1 + np.exp(-scores))
    return np.column_stack([1 - p, p])


def _predictions(scores: Floats) -> Predictions:
    return Predictions((scores > 0.6).astype(np.int64), _probability(scores))


def trial(world: World, rows: int, seed: int) -> tuple[bool, bool, bool]:
    """Return whether the gate, a plain `>`, and a plain `>` over the best of six promote."""
    rng = np.random.default_rng(seed)
    y_validation, of_validation, _ = world.draw(rows, CANDIDATES + 1, rng)
    y, of_holdout, days = world.draw(rows, CANDIDATES + 1, rng)
    champion, *candidates = of_holdout
    validated = [_auc(y_validation, s) for s in of_validation[1:]]
    chosen = candidates[int(np.argmax(validated))]
    evidence = paired_evidence(
        "roc_auc",
        y,
        _predictions(chosen),
        _predictions(champion),
        Predictions(np.zeros(rows, dtype=np.int64), np.full((rows, 2), 0.5)),
        SCHEMA,
        blocks=days,
        gate=GATE,
        seed=seed + 1_000_000,
    )
    verdict = decide(evidence, GATE, champion_version="1", new_evidence=True)
    best = max(_auc(y, s) for s in candidates)
    theirs = _auc(y, champion)
    return verdict.promoted, _auc(y, chosen) > theirs, best > theirs


def upper(count: int, trials: int) -> float:
    """Return the one-sided 95 % upper bound of a rate (Clopper and Pearson 1934)."""
    return 1.0 if count == trials else float(beta.ppf(0.95, count + 1, trials - count))


def main() -> int:
    """Print the table; 1 if the gate misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    started = time.perf_counter()
    worlds: list[tuple[World, int, Callable[[float], bool]]] = [
        (World("no better, independent rows"), asked.trials, lambda bound: bound <= 0.07),
        (World("no better, 31 uneven days", days=31), asked.trials, lambda bound: bound <= 0.07),
        (World("truly better by 0.018", gain=0.125), max(1, asked.trials // 8), lambda _: True),
    ]
    print(f"{asked.rows:,} holdout rows, challenger = best of {CANDIDATES} on validation\n")
    print(f"{'world':<30}{'rule':<28}{'promoted':>9}{'95 % upper':>12}")
    missed = False
    for world, trials, holds in worlds:
        outcomes = np.array([trial(world, asked.rows, asked.seed + k) for k in range(trials)])
        rules = ("gate, paired interval", "plain >", "plain >, chosen on holdout")
        for rule, count in zip(rules, outcomes.sum(axis=0), strict=True):
            bound = upper(int(count), trials)
            print(f"{world.name:<30}{rule:<28}{count / trials:>9.1%}{bound:>12.1%}")
            missed |= rule == rules[0] and not holds(bound)
    print(f"\n{time.perf_counter() - started:.0f} s; target: wrong promotions, upper bound ≤ 7 %")
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
