"""The gain of retraining: a refreshed model and the champion on the same labelled rows.

Pure: production, the tests and a replay of history call the same functions. Measuring it in a
pipeline, with its one fit, is `tasks.monitoring.performance.measured_gain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.base.arrays import Floats
from tasks.base.monitoring_records import Gain, Window, WindowDifference
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.settings.monitoring import PolicyConfig
from tasks.base.training_records import Schema
from tasks.base.utc_times import as_utc, naive_utc
from tasks.metrics.bootstrap import interval, resampling, spread_of, time_blocks
from tasks.metrics.paired_bootstrap import Predictions
from tasks.metrics.ranking import RankingGroups
from tasks.metrics.scorer import sampled
from tasks.monitoring.performance.gain_sequence import log_evidence
from tasks.monitoring.performance.metric_scales import scale_of
from tasks.policy.ageing import with_ageing
from tasks.policy.gain_rule import foremost

MATERIAL = 0.05  # least change that matters: a twentieth of the odds or of the error
_REPLICATES = 1_000
_OF_A_WINDOW = 200

Times = NDArray[np.datetime64]


def interval_confidence(false_alarms: float) -> float:
    """Return the confidence level of an interval above zero with this probability without a gain.

    Both ends may err, and only the lower one raises an alarm.

    >>> interval_confidence(0.05)
    0.9
    """
    return max(0.1, 1 - 2 * false_alarms)


def retraining_gain(
    policy: PolicyConfig,
    metric: str,
    y_true: NDArray[np.generic],
    refreshed: Predictions,
    champion: Predictions,
    schema: Schema,
    *,
    earlier: Iterable[Gain],
    aged: Iterable[Gain],
    learned: datetime,
    length: timedelta,
    stated: dict[str, Any],
    false_alarms: float,
    **given: Any,
) -> Gain:
    """Return the gain in the metric, or that of the probabilities where only they call.

    Where the metric does not read probabilities, or reads their order only, a champion can go stale
    in them unseen: a base rate that moves leaves ROC AUC as it is. So log loss is compared too, at
    a quarter of the level, unless the file states in the metric what a gain must be or is worth.

    `earlier`: measurements of this champion, the oldest first; `aged`: of all champions, the newest
    first; `learned`: time of the newest row that the champion was fitted on; `length`: of a window;
    `stated`: further fields of the result; `false_alarms`: share of looks that may call for a
    training where nothing is gained; `given`: the other arguments of `measured`.
    """
    own = policy.min_gain is not None or policy.cost is not None
    both = refreshed.probability is not None and champion.probability is not None
    probable = bool(schema.classes) and both and metric != "log_loss" and not own
    earlier, aged = tuple(earlier), tuple(aged)
    found = []
    for name, level in ((metric, 1.0), ("log_loss", 0.25))[: 1 + probable]:
        before = [g for one in earlier if (g := one.within(name)) is not None]
        known = (g.aged for one in aged if (g := one.within(name)) is not None and g.aged)
        one = measured(
            name, y_true, refreshed, champion, schema,
            earlier=[d for g in before for d in g.differences],
            confidence=interval_confidence(false_alarms * level),
            **given,
        )  # fmt: skip
        one = one.model_copy(update=stated)
        found.append(with_ageing(one, learned, next(known, ()), length))
    return foremost(policy, *found)


def measured(
    metric: str,
    y_true: NDArray[np.generic],
    refreshed: Predictions,
    champion: Predictions,
    schema: Schema,
    *,
    times: Times,
    windows: Sequence[Window],
    earlier: Sequence[WindowDifference] = (),
    version: str = "",
    confidence: float = 0.9,
    min_rows: int = 200,
    seed: int = 0,
    queries: RankingGroups | None = None,
) -> Gain:
    """Return the gain of a refreshed model over the champion, with what windows showed so far.

    Both models are scored on the same drawn blocks of rows, so that the interval is that of a
    paired difference. Each window that no `earlier` measurement judged adds one observation to the
    sequence, see `tasks.monitoring.performance.gain_sequence`. `y_true`: native labels or values of
    rows that neither model was trained on, and their `times`, UTC, shape (n_rows,); `windows`:
    those whose labels are mature, oldest first; `min_rows`: fewest for a number, of all rows and of
    each window; with fewer the gain is skipped with its reason.
    """
    judged = [w for w in windows if inside(times, w).any()]
    begun = Gain(
        version=version,
        metric=metric,
        confidence=confidence,
        rows=len(times),
        windows=tuple(judged),
        newest=as_utc(times.max().astype("datetime64[us]").item()) if len(times) else None,
        **_accumulated(earlier),
    )
    if len(times) < min_rows:
        return begun.model_copy(update={"skipped": "too few rows"})
    found = _compared(
        metric, y_true, refreshed, champion, schema, times, _REPLICATES, seed, queries
    )
    ends = None if found is None else interval(found.replicates, confidence, found.units)
    if found is None or ends is None:
        return begun.model_copy(update={"skipped": "undefined"})
    known = {d.window for d in earlier}
    fresh = []
    for window in (w for w in judged if w not in known):
        rows = inside(times, window)
        if rows.sum() >= min_rows:
            given = (y_true[rows], refreshed.only(rows), champion.only(rows))
            part = None if queries is None else queries.only(rows)
            of = _compared(metric, *given, schema, times[rows], _OF_A_WINDOW, seed, part)
            spread = float("nan") if of is None else spread_of(of.replicates, of.units)
            if of is not None and isfinite(spread):
                fresh.append(
                    WindowDifference(
                        window=window, rows=int(rows.sum()), gain=of.gain, spread=spread
                    )
                )
    return begun.model_copy(
        update={
            "gain": found.gain,
            "low": min(ends[0], found.gain),
            "high": max(ends[1], found.gain),
            "refreshed": found.ours,
            "champion": found.theirs,
            "matters": material(metric, found.theirs),
            "differences": tuple(fresh),
            **_accumulated((*earlier, *fresh)),
        }
    )


def _accumulated(differences: Sequence[WindowDifference]) -> dict[str, float | int | None]:
    return {
        "evidence": log_evidence([(d.gain, d.spread) for d in differences]),
        "mean": float(np.mean([d.gain for d in differences])) if differences else None,
        "observed": len(differences),
    }


def material(metric: str, value: float) -> float:
    """Return the least gain that would matter where the champion's metric is `value`.

    A twentieth of the odds of a share, of an error, or of what R² leaves unexplained; of a metric
    without a scale of its own a twentieth of its size.

    >>> round(material("roc_auc", 0.8), 4), round(material("mae", 46.0), 2)
    (0.0079, 2.24)
    """
    scale = scale_of(metric, [value])
    if scale.name == "plain":
        return MATERIAL * abs(value)
    step = MATERIAL if greater_is_better(metric) else -MATERIAL
    return abs(scale.back(scale.of(value) + step) - value)


def inside(times: Times, window: Window) -> NDArray[np.bool_]:
    """Return which rows lie in the window, closed at its start and open at its end."""
    start, end = (np.datetime64(naive_utc(one), "us") for one in (window.start, window.end))
    return np.asarray((times >= start) & (times < end))


@dataclass(frozen=True)
class _Compared:
    """A paired difference: the metric of both models, and the replicates of the difference."""

    ours: float
    theirs: float
    gain: float
    replicates: Floats
    units: int


def _compared(
    metric: str,
    y_true: ArrayLike,
    ours: Predictions,
    theirs: Predictions,
    schema: Schema,
    times: Times,
    replicates: int,
    seed: int,
    queries: RankingGroups | None,
) -> _Compared | None:
    """Return the difference on some rows; None where the metric is not defined on them."""
    if schema.classes and len(np.unique(np.asarray(y_true))) < 2:
        return None
    blocks = time_blocks(times) if queries is None else queries.groups
    curves = len(schema.classes) if len(schema.classes) > 2 else 1
    plan = resampling(len(times), blocks, replicates, seed, curves=curves)
    values = [
        sampled(metric, y_true, p.predicted, p.probability, schema, plan, queries)
        for p in (ours, theirs)
    ]
    if not plan.replicates or not all(isfinite(value) for value, _ in values):
        return None
    sign = 1 if greater_is_better(metric) else -1
    (ours_now, ours_drawn), (theirs_now, theirs_drawn) = values
    gain, drawn = sign * (ours_now - theirs_now), sign * (ours_drawn - theirs_drawn)
    return _Compared(ours_now, theirs_now, gain, drawn, plan.n_units)
