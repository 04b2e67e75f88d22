"""Evidence that retraining pays, accumulated window by window and valid however often one looks.

Each window gives one observation: the refreshed model's gain on it over its standard error. The
refreshed model never saw the window, so under the hypothesis that retraining brings nothing the
observation has, given all earlier ones, a mean of at most zero. A gambler who bets a share of the
wealth on each observation then gains nothing on average: the wealth is an e-process, and the
chance that it ever reaches 1/α is at most α (Ville), whether one looks once or after each window.
A small steady gain lets it grow, which the interval of no single window would show.

References
----------
Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting, Journal
of the Royal Statistical Society B 86. Howard, Ramdas, McAuliffe and Sekhon (2021), Time-uniform,
nonparametric, nonasymptotic confidence sequences, Annals of Statistics 49. Podkopaev and Ramdas
(2022), Tracking the risk of a deployed model and detecting harmful distribution shifts, ICLR.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BOUND = 3.0
"""Standard errors beyond which an observation counts no more; betting needs bounded ones.

A nearer bound finds a gain sooner and errs where gains are skewed: it would cut off rare losses.
"""
_BETS = np.array([0.3, 0.6, 0.96])


def log_evidence(differences: Sequence[tuple[float, float]]) -> float:
    """Return the logarithm of the e-value after some windows, oldest first; 0 before the first.

    The wealth is the mean over three fixed shares that are bet, so that no share has to be chosen
    from what it is to judge. What it finds and how often it errs is measured by
    ``tests/benchmarks/gain_sequence.py``.

    `differences`: gain of each window, greater is better, and its standard error; a window in which
    both models predicted the same has an error of zero and is no evidence.

    >>> log_evidence([])
    0.0
    >>> log_evidence([(0.01, 0.01)] * 20) > float(np.log(20)) > log_evidence([(0.01, 0.01)] * 3)
    True
    """
    if not differences:
        return 0.0
    gains, spreads = np.asarray(differences, dtype=np.float64).T
    seen = np.divide(gains, spreads, out=np.zeros_like(gains), where=spreads > 0)
    wealth = np.log1p(np.outer(_BETS, np.clip(seen, -BOUND, BOUND) / BOUND)).sum(axis=1)
    return float(np.logaddexp.reduce(wealth) - np.log(len(_BETS)))
