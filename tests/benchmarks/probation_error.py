"""How often probation sends a version back that is no worse, and finds one that is.

    python -m tests.benchmarks.probation_error [--trials 300]

A promoted version and the former one are compared after each of three windows. The difference of a
window is normal around its mean by its standard error, as a block bootstrap finds it in 720 or
several thousand rows, and by what windows vary by: on electricity 0.039 ROC AUC, on Seoul's rides
four times the change that matters. A version that is sent back though it is no worse on average is
an error; so is one that is worse and stays. Beside what ships stands what it replaced: an interval
that knows the rows' sampling only. Seeded; a minute.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import ndtri

from tasks.monitoring.performance.gain import material
from tasks.monitoring.probation.verdict import _Difference, _judged, _Names

WINDOWS = 3
CONFIDENCE = 0.95
FORMER = 0.65
ESTIMATES = {"estimated": None, "former_estimated": None}


def trial(mean: float, varies: float, error: float, rng: np.random.Generator) -> tuple[bool, bool]:
    """Return whether what ships, and sampling alone, ever send the version back."""
    drawn = mean + varies * rng.standard_normal(WINDOWS) + error * rng.standard_normal(WINDOWS)
    found = [_Difference(float(value), error, FORMER) for value in drawn]
    looks = range(1, WINDOWS + 1)
    given = ("roc_auc", CONFIDENCE, WINDOWS, 0, ESTIMATES, _Names())
    beyond = float(ndtri(1 - (1 - CONFIDENCE) / WINDOWS / 2))
    return (
        any(_judged(found[:look], *given).state == "rolled_back" for look in looks),
        any(drawn[:look].mean() + beyond * error / np.sqrt(look) < 0 for look in looks),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    trials = parser.parse_args().trials
    print(f"ROC AUC of {FORMER}, where {material('roc_auc', FORMER):.3f} matters; {trials} trials")
    print(f"{'mean':>6}{'windows vary by':>17}{'standard error':>16}{'ships':>8}{'sampling':>10}")
    for mean in (0.0, 0.01, -0.02, -0.05, -0.15):
        for varies in (0.0, 0.02, 0.04):
            for error in (0.014, 0.005):
                rng = np.random.default_rng(0)
                found = [trial(mean, varies, error, rng) for _ in range(trials)]
                ships, sampling = np.mean(found, axis=0)
                print(f"{mean:>6}{varies:>17}{error:>16}{ships:>8.1%}{sampling:>10.1%}", flush=True)


if __name__ == "__main__":
    main()
