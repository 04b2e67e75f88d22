"""Distances between two samples of a column, their tests, and what chance alone makes of them.

Numbers have the Kolmogorov–Smirnov distance and the excess share of one value, levels the total
variation distance, nulls the difference of their shares. All lie between 0 and 1 and are what
they are whatever the sizes; only their limits know of sizes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.base.runtime.libraries import scipy

RARE = 5.0
_EXACT_ROWS = 500
_KS_MEAN = 0.8687  # Kolmogorov's mean: of the distance times the root of n m / (n + m)
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Found(NamedTuple):
    """A distance and what two samples of one distribution would make of it."""

    distance: float
    p_value: float  # of the two-sample test
    noise: float  # mean distance between two samples of one distribution of these sizes
    critical: float  # exceeded by such a distance with the caller's small probability


def ks(
    points: Floats, at_most: Counts, sample: Floats, *, exact: bool = True, level: float = 0.05
) -> Found:
    """Return the Kolmogorov–Smirnov distance of a sorted sample from a counted one."""
    # `points`: ascending values of the reference, `exact` when all of them; `at_most`: how many of
    # its values are at most each; both of shape (n_points,); `sample`: without NaN, (n,).
    m, n = int(at_most[-1]), len(sample)
    reference = at_most / m
    distance = np.abs(reference - np.searchsorted(sample, points, "right") / n).max()
    if exact:
        before = np.concatenate([[0.0], reference[:-1]])
        distance = max(distance, np.abs(before - np.searchsorted(sample, points, "left") / n).max())
    distance = float(distance)
    size = effective(m, n)
    return Found(
        distance,
        _ks_p_value(points, at_most, sample, distance, exact=exact),
        _KS_MEAN / math.sqrt(size),
        ks_critical(size, level),
    )


def effective(m: float, n: float) -> float:
    """Return the size that two samples of `m` and `n` rows have together."""
    return m * n / (m + n)


def peak(points: Floats, at_most: Counts, sample: Floats) -> float:
    """Return by how much the share of one value in a sample exceeds that in the reference."""
    # The greatest over all values: 1 for a sensor that stands still at a value never seen, a half
    # where every other value became -1. Parameters are those of `ks`.
    last = np.flatnonzero(np.append(sample[1:] != sample[:-1], True))
    values, counts = sample[last], np.diff(last, prepend=-1)
    place = np.minimum(np.searchsorted(points, values), len(points) - 1)
    theirs = np.where(points[place] == values, np.diff(at_most, prepend=0)[place], 0)
    return max(float((counts / len(sample) - theirs / int(at_most[-1])).max()), 0.0)


def ks_noise(m: float, n: float) -> float:
    """Return the mean distance of two samples of one continuous distribution."""
    return _KS_MEAN / math.sqrt(effective(m, n))


def ks_critical(size: float, level: float) -> float:
    """Return the distance exceeded with probability `level` (Massey 1951, asymptotic)."""
    return min(1.0, math.sqrt(-math.log(level / 2) / (2 * size)))


def _ks_p_value(
    points: Floats, at_most: Counts, sample: Floats, distance: float, *, exact: bool
) -> float:
    m, n = int(at_most[-1]), len(sample)
    if exact and max(m, n) <= _EXACT_ROWS:
        values = np.repeat(points, np.diff(at_most, prepend=0))
        if np.isfinite(values).all() and np.isfinite(sample).all():
            with warnings.catch_warnings():
                # SciPy uses the asymptotic one where its exact one fails, as with many ties.
                warnings.simplefilter("ignore", RuntimeWarning)
                return float(scipy.stats.ks_2samp(values, sample, method="exact").pvalue)
    return float(np.clip(scipy.stats.kstwo.sf(distance, max(1, round(effective(m, n)))), 0.0, 1.0))


class Merged(NamedTuple):
    """Two counted samples whose rare levels are one."""

    # reference, sample: rows per level, shape (n_levels,) each: the common levels, then the rare
    # ones as one, then those that the reference does not have as one.
    reference: Counts
    sample: Counts
    common: int  # how many levels are common


def merged(
    reference: Counts, sample: Counts, *, rest: tuple[int, int] = (0, 0), singles: int | None = None
) -> Merged:
    """Merge the rare levels of two counted samples.

    A level is rare where fewer than 5 rows of the smaller sample are expected to have it. Levels
    that the reference does not have are no news where many of its own stand in one row only: these
    rows would be unseen themselves if they came later, and so are counted as such (Good 1953).
    `rest`: rows of levels without counts of their own, which are rare; `singles`: levels of one row
    in the reference; None: those of `reference`, the rows per level.
    """
    m, n = int(reference.sum()) + rest[0], int(sample.sum()) + rest[1]
    expected = (reference + sample) * (min(m, n) / max(m + n, 1))
    unseen = reference == 0
    common = ~unseen & (expected >= RARE)
    rare = ~unseen & ~common
    rare_rows = int(reference[rare].sum()) + rest[0]
    alone = int((reference[rare] == 1).sum()) if singles is None else min(singles, rare_rows)
    return Merged(
        np.concatenate([reference[common], [rare_rows - alone, alone]]),
        np.concatenate([sample[common], [sample[rare].sum() + rest[1], sample[unseen].sum()]]),
        int(common.sum()),
    )


def level_distance(levels: Merged) -> float:
    """Return the total variation distance: the share of rows that would have to move."""
    r, s = levels.reference, levels.sample
    return float(np.abs(r / r.sum() - s / s.sum()).sum() / 2)


def tv(levels: Merged, *, level: float = 0.05) -> Found:
    """Return the total variation distance of the shares of levels."""
    # The common levels are tested by the chi-square of the pooled table. Rare and unseen ones are
    # two more levels of it where at least 5 rows of each are expected; else they are tested
    # together by Fisher against all others.
    m, n = int(levels.reference.sum()), int(levels.sample.sum())
    mean, deviation = _tv_chance((levels.reference + levels.sample) / (m + n), effective(m, n))
    return Found(
        level_distance(levels),
        _levels_p_value(levels),
        mean,
        min(1.0, mean + deviation * float(scipy.stats.norm.isf(level))),
    )


def unseen_share(levels: Merged, unseen: int, *, level: float = 0.05) -> Found:
    """Return the share of levels that the reference has not, less what is expected (Good 1953)."""
    # As many are expected as the reference has rows that stand alone in their level.
    m, n = int(levels.reference.sum()), int(levels.sample.sum())
    alone = int(levels.reference[-1])
    usual = alone / max(m, 1)
    p_value = float(
        scipy.stats.fisher_exact(
            [[unseen, n - unseen], [alone, m - alone]], alternative="greater"
        ).pvalue
    )
    noise = share_noise(max(usual, 1.0 / (m + n)), m, n)
    wide = noise * math.sqrt(math.pi / 2) * float(scipy.stats.norm.isf(level))
    return Found(max(unseen / max(n, 1) - usual, 0.0), p_value, noise, min(1.0, wide))


def _levels_p_value(levels: Merged) -> float:
    r, s, k = levels
    m, n = int(r.sum()), int(s.sum())
    expected = (r + s)[k:] * (min(m, n) / (m + n))
    filled = (r + s) > 0
    if (expected[filled[k:]] >= RARE).all():
        return _chi_square(r[filled], s[filled])
    others = int(r[k:].sum()), int(s[k:].sum())
    if sum(others) * min(m, n) / (m + n) >= RARE:
        return _chi_square(np.append(r[:k], others[0]), np.append(s[:k], others[1]))
    p_value = _chi_square(r[:k], s[:k])
    fisher = float(
        scipy.stats.fisher_exact([[others[0], m - others[0]], [others[1], n - others[1]]]).pvalue
    )
    return fisher if k < 2 else either(p_value, fisher)


def _chi_square(r: Counts, s: Counts) -> float:
    m, n = int(r.sum()), int(s.sum())
    if len(r) < 2 or not m or not n:
        return 1.0
    pooled = (r + s) / (m + n)
    chi2 = float((((r - m * pooled) ** 2 / m + (s - n * pooled) ** 2 / n) / pooled).sum())
    return float(scipy.stats.chi2.sf(chi2, len(r) - 1))


def _tv_chance(shares: Floats, size: float) -> tuple[float, float]:
    """Return mean and standard deviation of the distance under chance, by normal shares."""
    # Summed up, the share of all rare levels may exceed one by rounding.
    shares = np.clip(shares, 0.0, 1.0)
    variance = shares * (1 - shares) / size
    mean = math.sqrt(2 / math.pi) * float(np.sqrt(variance).sum()) / 2
    return mean, math.sqrt((1 - 2 / math.pi) * float(variance.sum())) / math.sqrt(2)


def tv_noise(counts: Counts, n: float) -> float:
    """Return the mean distance of a sample of `n` rows from one with `counts` by chance."""
    m = float(counts.sum())
    shares = counts / max(m, 1.0)
    rare = shares * n < RARE
    shares = np.append(shares[~rare], shares[rare].sum())
    return _tv_chance(shares, effective(max(m, 1.0), n))[0]


def nulls(null_reference: int, m: int, null_sample: int, n: int, *, level: float = 0.05) -> Found:
    """Return the difference of the shares of nulls, tested by Fisher or by two proportions."""
    distance = abs(null_reference / m - null_sample / n)
    total = null_reference + null_sample
    pooled = total / (m + n)
    deviation = math.sqrt(pooled * (1 - pooled) / effective(m, n))
    if total in (0, m + n):
        return Found(distance, 1.0, 0.0, 0.0)
    if min(m, n) * min(pooled, 1 - pooled) < RARE:
        table = [[null_reference, m - null_reference], [null_sample, n - null_sample]]
        p_value = float(scipy.stats.fisher_exact(table).pvalue)
    else:
        p_value = float(2 * scipy.stats.norm.sf(distance / deviation))
    return Found(
        distance,
        p_value,
        math.sqrt(2 / math.pi) * deviation,
        min(1.0, deviation * float(scipy.stats.norm.isf(level / 2))),
    )


def share_noise(share: float, m: float, n: float) -> float:
    """Return the mean difference of a share between two samples."""
    return math.sqrt(2 / math.pi * share * (1 - share) / effective(m, n))


def corrected(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Benjamini and Hochberg 1995).

    >>> corrected([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    if not p_values:
        return []
    known = np.clip(np.nan_to_num(p_values, nan=1.0), 0.0, 1.0)
    return [float(value) for value in scipy.stats.false_discovery_control(known)]


def either(first: float, second: float) -> float:
    """Return the p-value of two tests on one column, the smaller one paid for twice."""
    return min(1.0, 2 * min(first, second))
