"""How often the sequence over windows speaks for a retraining that brings nothing, and how soon.

    python -m tests.benchmarks.gain_sequence

Level: the share of paths that ever reach the limit within 100 looks where the mean gain is zero,
for normal, heavy-tailed and skewed observations, and for windows that vary more than their standard
errors say. Power: the windows that it takes for gains of some standard errors.
Seeded; a few seconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.monitoring.performance.gain_sequence import log_evidence

LOOKS = 100
PATHS = 2_000
LIMIT = float(np.log(20))

Floats = NDArray[np.float64]


def first_crossing(path: Floats) -> int:
    """Return after how many windows the limit is reached; LOOKS + 1 where it never is."""
    pairs = [(float(value), 1.0) for value in path]
    for count in range(1, len(pairs) + 1):
        if log_evidence(pairs[:count]) >= LIMIT:
            return count
    return LOOKS + 1


def observations(kind: str, rng: np.random.Generator) -> Floats:
    """Return standardised gains of one path without any gain, shape (LOOKS,)."""
    if kind == "t, 3 degrees":
        return rng.standard_t(3, LOOKS) / np.sqrt(3)
    if kind == "three times as variable":
        return 3 * rng.standard_normal(LOOKS)
    if kind == "skewed":
        return rng.exponential(1.0, LOOKS) - 1.0
    if kind == "skewed, negative":
        return 1.0 - rng.exponential(1.0, LOOKS)
    return rng.standard_normal(LOOKS)


def main() -> None:
    """Print both tables."""
    rng = np.random.default_rng(20)
    print(f"level over {LOOKS} looks, {PATHS:,} paths, limit 1/0.05")
    for kind in ("normal", "t, 3 degrees", "three times as variable", "skewed", "skewed, negative"):
        crossed = sum(first_crossing(observations(kind, rng)) <= LOOKS for _ in range(PATHS))
        print(f"  {kind:<26}{100 * crossed / PATHS:5.1f} %")
    print("windows until the limit (median), share within 12 and within 52")
    for mean in (0.25, 0.5, 1.0, 1.5, 2.0, 3.0):
        found = np.array(
            [first_crossing(mean + rng.standard_normal(LOOKS)) for _ in range(PATHS // 10)]
        )
        soon, year = (100 * float((found <= within).mean()) for within in (12, 52))
        print(f"  gain of {mean:4.2f} s.e.: {np.median(found):4.0f}  {soon:4.0f} %  {year:4.0f} %")


if __name__ == "__main__":
    main()
