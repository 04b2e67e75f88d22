"""Score against rows, and by a power law what twice the rows would bring.

Source: Viering and Loog (2023), The shape of learning curves: a review, IEEE TPAMI 45, section 4: a
power law with an offset describes most learning curves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.base.arrays import Floats
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text.numbers import metric_words, number
from tasks.evaluation.findings import CurvePoint, LearningCurve

SIZES = (100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000)
LEAST_POINTS = 3
_RATES = np.linspace(0.1, 1.5, 29)
_DRAWS = 300
_BEYOND = 10.0  # times what was gained so far: as far a metric without a bound may still go
_OF_REACHED, _OF_LEFT = 0.02, 0.03
"""Shares of the gain over the baseline and of the loss that is left: what is less is little."""


def sizes(rows: int) -> tuple[int, ...]:
    """Return how many rows to fit on: the usual numbers, then all `rows`.

    >>> sizes(1200), sizes(80)
    ((100, 500, 1000, 1200), (80,))
    """
    usual = [size for size in SIZES if size < 0.9 * rows]
    return (*usual, rows)


def power_law(rows: Floats, losses: Floats, weights: Floats) -> tuple[float, float, float]:
    """Return a, b and c of ``a + b * rows ** -c``, all at least 0, by weighted least squares."""
    offset, slope, rate = power_laws(rows, losses[None, :], weights)[0]
    return float(offset), float(slope), float(rate)


def power_laws(rows: Floats, losses: Floats, weights: Floats) -> Floats:
    """Return the power law of each of several curves, (curves, 3), from losses (curves, points)."""
    w = weights / weights.sum()
    flat = losses @ w
    best = np.column_stack([flat, np.zeros_like(flat), np.ones_like(flat)])
    least = (losses - flat[:, None]) ** 2 @ w
    for rate in _RATES:
        x = rows**-rate
        from_mean = x - x @ w
        slope = (losses - flat[:, None]) @ (w * from_mean) / max(float(w @ from_mean**2), 1e-300)
        offset = flat - slope * float(x @ w)
        # A loss does not fall below 0.
        through = losses @ (w * x) / float(w @ x**2)
        slope, offset = np.where(offset < 0, through, slope), np.maximum(offset, 0.0)
        error = (losses - offset[:, None] - slope[:, None] * x) ** 2 @ w
        better = (error < least) & (slope >= 0)
        best[better] = np.column_stack([offset, slope, np.full_like(slope, rate)])[better]
        least[better] = error[better]
    return best


def extrapolate(
    candidate: str, metric: str, points: Sequence[CurvePoint], baseline: float | None, seed: int = 0
) -> LearningCurve:
    """Return the curve with what twice the rows would bring, and its 90 % interval."""
    # The interval comes from fitting the law again to points moved by their own noise: the
    # deviation over repeats, or for a point of one fit the pooled one, falling with the root of the
    # rows, and by how far the law misses the points. The `baseline` (None: the first point) is the
    # measure of what is much.
    curve = LearningCurve(candidate=candidate, metric=metric, points=tuple(points))
    if len(points) < LEAST_POINTS:
        return curve.model_copy(update={"sentence": "Too few rows for a learning curve."})
    rows = np.array([p.rows for p in points], np.float64)
    losses = _losses(np.array([p.valid for p in points]), greater=greater_is_better(metric))
    noise = _noise(points)
    weights = 1.0 / noise**2
    law = power_law(rows, losses, weights)
    missed = np.sqrt(np.average((losses - _at(law, rows)) ** 2, weights=weights))
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((_DRAWS, len(rows))) * np.hypot(noise, missed)
    gains = [_gain(one.tolist(), rows[-1]) for one in power_laws(rows, losses + drawn, weights)]
    low, high = np.quantile(gains, [0.05, 0.95])
    gain = _gain(law, rows[-1])
    low, high = min(low, gain), max(high, gain)
    start = baseline if baseline is not None else points[0].valid
    reached = abs(points[-1].valid - start)
    much = min(_OF_REACHED * reached, _OF_LEFT * abs(float(losses[-1])))
    verdict = "little" if high <= much else "helps" if gain > much and low > 0 else "unclear"
    return curve.model_copy(
        update={
            "gain": gain,
            "low": float(low),
            "high": float(high),
            "verdict": verdict,
            "sentence": _sentence(candidate, metric, points, (gain, low, high), verdict),
        }
    )


def _losses(scores: Floats, *, greater: bool) -> Floats:
    """Return scores as losses that tend to 0 or above: from 1, or an error's 0, downwards."""
    losses, least = (-scores, -1.0) if greater else (scores, 0.0)
    if losses.min() < least:  # a metric of one's own, without such a bound
        least = float(losses.min() - _BEYOND * np.ptp(losses))
    return losses - least


def _noise(points: Sequence[CurvePoint]) -> Floats:
    """Return the standard error of each point, never 0."""
    rows = np.array([p.rows for p in points], np.float64)
    repeated = [p for p in points if p.repeats > 1]
    unit = max((p.valid_std * np.sqrt(p.rows) for p in repeated), default=0.0)
    span = float(np.ptp([p.valid for p in points])) or 1e-9
    of_one = np.maximum(unit / np.sqrt(rows), 1e-3 * span)
    return of_one / np.sqrt([p.repeats for p in points])


def _at(law: Sequence[float], rows: Floats | float) -> Floats:
    offset, slope, rate = law
    return np.asarray(offset + slope * np.asarray(rows, np.float64) ** -rate)


def _gain(law: Sequence[float], rows: float) -> float:
    return float(_at(law, rows) - _at(law, 2 * rows))


def _sentence(
    candidate: str,
    metric: str,
    points: Sequence[CurvePoint],
    gains: tuple[float, float, float],
    verdict: str,
) -> str:
    gain, low, high = gains
    half = (high - low) / 2
    about = f"{number(gain, half)} ({number(low, half)} to {number(high, half)})"
    twice = f"twice the {points[-1].rows:,} rows would improve {metric_words(metric)} by {about}"
    if verdict == "little":
        return f"More data brings little: {twice}. Better columns are the way on."
    if verdict == "helps":
        return f"More data helps: {twice}."
    if low > 0:
        return f"More data helps a little: {twice} ({candidate})."
    return f"Whether more data helps is not clear: {twice} ({candidate})."
