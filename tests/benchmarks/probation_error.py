"""How often probation sends a version back that is no worse, and finds one that is.

    python -m tests.benchmarks.probation_error [--trials 300]

A promoted version and the former one are compared after each of three windows. The difference of a
window is normal around its mean by its standard error, as a block bootstrap finds it in 720 or
several thousand rows, and by what windows vary by: on electricity 0.039 ROC AUC, on Seoul's rides
four times the change that matters. A version that is sent back though it is no worse on average is
an error; so is one that is worse and stays. What ships is tried where no probation came before, and
after four whose windows vary as much. Beside it stand an interval that knows the rows' sampling
only, and the most that any test with 5 % of errors could find in all windows if it knew what they
vary by (Neyman and Pearson 1933). Seeded; a minute.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import ndtr, ndtri

from tasks.monitoring.performance.gain_estimate import material
from tasks.monitoring.probation.verdict import _Difference, _judged, _Names

WINDOWS, EARLIER = 3, 4
CONFIDENCE = 0.95
FORMER = 0.65
ESTIMATES = {"estimated": None, "former_estimated": None}


def trial(
    mean: float, varies: float, error: float, rng: np.random.Generator
) -> tuple[bool, bool, bool]:
    """Return whether what ships, without and after others, and sampling alone send it back."""
    shape = 1 + EARLIER, WINDOWS
    drawn, *others = varies * rng.standard_normal(shape) + error * rng.standard_normal(shape)
    drawn = drawn + mean
    found = [_Difference(float(value), error, FORMER) for value in drawn]
    looks = range(1, WINDOWS + 1)
    given = ("roc_auc", CONFIDENCE, WINDOWS, 0, ESTIMATES, _Names())
    before = [[(float(value), error) for value in other] for other in others]
    beyond = float(ndtri(1 - (1 - CONFIDENCE) / WINDOWS / 2))
    return (
        any(_judged(found[:look], *given).state == "rolled_back" for look in looks),
        any(_judged(found[:look], *given, before).state == "rolled_back" for look in looks),
        any(drawn[:look].mean() + beyond * error / np.sqrt(look) < 0 for look in looks),
    )


def most(mean: float, varies: float, error: float) -> float:
    """Return how often a test of all windows' mean that knows all but it finds what is worse."""
    spread = np.sqrt((varies**2 + error**2) / WINDOWS)
    return float(ndtr(ndtri(1 - CONFIDENCE) - mean / spread))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    trials = parser.parse_args().trials
    print(f"ROC AUC of {FORMER}, where {material('roc_auc', FORMER):.3f} matters; {trials} trials")
    print(
        f"{'mean':>6}{'windows vary by':>17}{'standard error':>16}{'first':>8}{'later':>8}"
        f"{'sampling':>10}{'at most':>9}"
    )
    for mean in (0.0, 0.01, -0.02, -0.05, -0.15):
        for varies in (0.0, 0.02, 0.04):
            for error in (0.014, 0.005):
                rng = np.random.default_rng(0)
                found = [trial(mean, varies, error, rng) for _ in range(trials)]
                first, later, sampling = np.mean(found, axis=0)
                print(
                    f"{mean:>6}{varies:>17}{error:>16}{first:>8.1%}{later:>8.1%}{sampling:>10.1%}"
                    f"{most(mean, varies, error):>9.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
