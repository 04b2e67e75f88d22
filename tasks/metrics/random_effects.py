"""One more value of a quantity that varies: values measured with noise, and what varies beyond it.

A value is the sum of a common centre, its own deviation and measurement noise. The standard
deviation between values has a weakly informative prior, a half-t distribution: few values leave
neither nothing nor everything, many decide by themselves. With one degree of freedom, a
half-Cauchy, the tail is so heavy that values far apart override the prior however few they are.

Sources: Gelman (2006), Prior distributions for variance parameters in hierarchical models, Bayesian
Analysis 1. Röver et al. (2021), On weakly informative prior distributions for the heterogeneity
parameter in Bayesian random-effects meta-analysis, Research Synthesis Methods 12. Gelman et al.
(2013), Bayesian data analysis, third edition, section 5.4: the predictive distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from tasks.base.arrays import Floats
from tasks.base.runtime.libraries import scipy

_DEVIATIONS = 80
_TAIL = {True: 4.0, False: 40.0}
"""Scales of the prior that the grid reaches: of a half-normal one, and of heavier tails."""
_REACH = 12.0


@dataclass(frozen=True)
class RandomEffects:
    """The posterior distribution of the centre and of the deviation between values."""

    # `means` and `variances` are the centre's under each of `deviations`; all have the shape (n,).

    deviations: Floats  # standard ones, between values
    weights: Floats  # posterior probability of each
    means: Floats
    variances: Floats
    log_evidence: float  # log density of the values, comparable for one prior

    @property
    def centre(self) -> float:
        """The expected value."""
        return float(self.weights @ self.means)

    @property
    def varies(self) -> bool:
        """Whether values vary at all beyond noise."""
        return len(self.deviations) > 1

    def around(self, centre: float, noise: float) -> RandomEffects:
        """Return the distribution moved by `centre`, with so much more variance."""
        return replace(self, means=self.means + centre, variances=self.variances + noise)

    def centre_quantile(self, share: float) -> float:
        """Return the quantile of the centre at the probability `share`."""
        return replace(self, deviations=np.zeros_like(self.deviations)).quantile(share)

    def quantile(self, share: float, noise: float = 0.0, factor: float = 1.0) -> float:
        """Return the quantile at the probability `share` of one more value, measured with noise."""
        # Noise is a variance; `factor` is how many times the usual variance that value has.
        deviations = np.sqrt(self.variances + self.deviations**2 * factor + noise)
        reach = _REACH * float(deviations.max())
        if reach == 0:
            return self.centre

        def beyond(place: float) -> float:
            with np.errstate(divide="ignore", invalid="ignore"):
                below = scipy.special.ndtr((place - self.means) / deviations)
            return float(self.weights @ below) - share

        ends = float(self.means.min()) - reach, float(self.means.max()) + reach
        return float(scipy.optimize.brentq(beyond, *ends))


def random_effects(
    placed: Floats,
    noise: Floats,
    prior: float,
    *,
    freedom: float = inf,
    centre: float | None = None,
    shared: float = 0.0,
    factors: Floats | None = None,
    others: Sequence[tuple[Floats, Floats]] = (),
) -> RandomEffects:
    """Return the distribution of one more value, given values and the variances of their noise.

    `prior` is the scale of the half-t prior of the deviation between values (0: they do not vary),
    `freedom` its degrees of freedom (infinite: half-normal; 1: half-Cauchy). Beside a known
    `centre`, `shared` is the variance of an error that all values share and one more does not have.
    `factors` are how many times the usual variance each value has. `others` are values around
    other centres with the variances of their noise, that deviate by as much: nothing else of them
    counts.

    >>> far = random_effects(np.array([1.4, -1.3]), np.full(2, 0.01), 0.05, freedom=1, centre=0.0)
    >>> near = random_effects(np.array([0.1, -0.1]), np.full(2, 0.01), 0.05, freedom=1, centre=0.0)
    >>> bool(far.quantile(0.975) > 2.0), bool(near.quantile(0.975) < 0.5)
    (True, True)
    """
    if prior == 0:
        mean = placed.mean(keepdims=True) if centre is None else np.array([centre])
        spread = np.array([noise.mean() / len(placed) if centre is None else 0.0])
        return RandomEffects(np.zeros(1), np.ones(1), mean, spread, 0.0)
    times = np.ones(len(placed)) if factors is None else factors
    return _posterior(placed, noise, prior, freedom, centre, shared, times, others)


def mixed(first: RandomEffects, second: RandomEffects, share: float) -> RandomEffects:
    """Return a mixture: the first distribution with the probability `share`, else the second."""
    shares = first.weights * share, second.weights * (1 - share)
    return RandomEffects(
        np.concatenate([first.deviations, second.deviations]),
        np.concatenate(shares),
        np.concatenate([first.means, second.means]),
        np.concatenate([first.variances, second.variances]),
        float("nan"),
    )


def _posterior(
    placed: Floats,
    noise: Floats,
    prior: float,
    freedom: float,
    centre: float | None,
    shared: float,
    factors: Floats,
    others: Sequence[tuple[Floats, Floats]],
) -> RandomEffects:
    off = placed - (float(placed.mean()) if centre is None else centre)
    away = np.concatenate([off, *(values - values.mean() for values, _ in others)])
    most = max(_TAIL[freedom == inf] * prior, 10 * float(np.sqrt(np.mean(away**2))))
    # Finer where deviations are small.
    even = (np.arange(_DEVIATIONS) + 0.5) / _DEVIATIONS
    between = most * even**2
    log_weights, fitted, precision = _fitted(placed, noise, factors, between)
    log_weights += _log_prior(between, prior, freedom)
    for values, errors in others:
        likelihood, _, about = _fitted(values, errors, np.ones(len(values)), between)
        log_weights += likelihood - 0.5 * np.log(about)
    if centre is None:
        means, variances = fitted, 1 / precision
        log_weights -= 0.5 * np.log(precision)
    else:
        means, variances = np.full(_DEVIATIONS, centre), np.zeros(_DEVIATIONS)
        # The fitted centre is normal around the known one, by noise and by what all share.
        of_fitted = shared + 1 / precision
        log_weights -= 0.5 * (np.log(precision * of_fitted) + (fitted - centre) ** 2 / of_fitted)
    log_weights += np.log(2 * most * even / _DEVIATIONS)
    weights = np.exp(log_weights - log_weights.max())
    evidence = float(log_weights.max() + np.log(weights.sum()))
    weights /= weights.sum()
    return RandomEffects(between, weights, means, variances, evidence)


def _fitted(
    placed: Floats, noise: Floats, factors: Floats, between: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return, under each deviation, the log likelihood, the fitted centre and its precision."""
    total = np.maximum(between[:, None] ** 2 * factors + noise, np.finfo(np.float64).tiny)
    precision = (1 / total).sum(axis=1)
    fitted = (placed / total).sum(axis=1) / precision
    apart = ((placed - fitted[:, None]) ** 2 / total).sum(axis=1)
    return -0.5 * (np.log(total).sum(axis=1) + apart), fitted, precision


def _log_prior(deviations: Floats, scale: float, freedom: float) -> Floats:
    """Return the logarithm of the half-t density of each deviation, but for a constant."""
    squares = (deviations / scale) ** 2
    if freedom == inf:
        return np.asarray(-0.5 * squares)
    return np.asarray(-0.5 * (freedom + 1) * np.log1p(squares / freedom))


def is_worse(gain: float, low: float, high: float, confidence: float) -> bool:
    """Return whether a gain with a two-sided interval is shown to be negative, one-sided.

    >>> is_worse(-0.03, -0.06, 0.0, 0.95), is_worse(-0.01, -0.06, 0.04, 0.95)
    (True, False)
    """
    upper = gain + float(scipy.special.ndtri(confidence)) * standard_error(low, high, confidence)
    return bool(upper < 0)


def standard_error(low: float, high: float, confidence: float) -> float:
    """Return the standard error that a two-sided interval has.

    >>> round(standard_error(-0.0196, 0.0196, 0.95), 4)
    0.01
    """
    return (high - low) / (2 * float(scipy.special.ndtri((1 + confidence) / 2)))
