"""The joint distribution: a classifier of a window's rows against the reference's.

Where it cannot, the two are alike, in each column and in how columns hang together; so it finds a
broken correlation that no single column shows. LightGBM is small, cross-fitted over pieces of
time, and judged by its AUC on rows that it has not learned from. Columns on which the champion
hardly depends count less: their gain in a split is scaled by their weight. The odds that a row
belongs to the window, over those that it belongs to the reference, estimate the ratio of the two
densities: how much more frequent rows like it are now than in the champion's training.

References
----------
Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests, ICLR. Rabanser, Günnemann and
Lipton (2019), Failing loudly, NeurIPS. Sugiyama, Suzuki and Kanamori (2012), Density ratio
estimation in machine learning, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.runtime.libraries import lightgbm, pd, scipy
from tasks.base.training_records import Kind
from tasks.monitoring.drift.column_values import column_of, is_numeric, levels_of, numbers_of
from tasks.monitoring.drift.compared_rows import Side
from tasks.monitoring.drift.distances import Floats

SPARSE = 10.0  # sparse: rows like it are so many times as frequent as before
_FOLDS = 3
_PIECES = 12
_ROUNDS = 30
_SHARED = 1.35  # folds' models share rows: deviation over independence, by simulation
_LEVELS = 62
_COMMON = 10
_NAMED = 0.05
_PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "num_leaves": 8,
    "learning_rate": 0.2,
    "min_data_in_leaf": 20,
    "lambda_l2": 5.0,
    "max_bin": 63,
    "min_data_per_group": 20,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
    "seed": 0,
}


@dataclass(frozen=True)
class Separation:
    """Separation of a window's rows from the reference's."""

    auc: float  # cross-fitted area under the ROC curve, 0.5 where they cannot be separated
    p_value: float  # of permuting pieces of time (rows, without times) between both
    deviation: float  # standard deviation of the AUC where nothing differs
    sparse: float  # share of the window's rows ten times as frequent as before
    columns: dict[str, float]  # column to its share of the gain from 5 % on, falling


def separate(
    reference: Side,
    window: Side,
    features: Mapping[str, Kind],
    weights: Mapping[str, float] | None = None,
) -> Separation | None:
    """Return the separation of the rows of `window` from `reference`; None where too few."""
    # Gains of a column count by its weight, 0 to 1; 1 where absent.
    sides = (reference.capped(), window.capped())
    learned = _learned(*sides, features, weights)
    if learned is None:
        return None
    return Separation(
        *_judged(learned.score, learned.label, learned.piece),
        sparse=float((learned.score[learned.label == 1] >= np.log(SPARSE)).mean()),
        columns=_named(learned.names, learned.gain),
    )


def density_ratio(reference: Side, window: Side, features: Mapping[str, Kind]) -> Floats | None:
    """Return how many times as frequent as in the reference rows like each are in the window."""
    # Rows are in time. Of each row of the reference, shape (n_rows,), by a model without its piece
    # of time, clipped to 0.1 to 10; None where there are too few rows or no columns.
    learned = _learned(reference, window, features)
    if learned is None:
        return None
    of_reference = learned.score[learned.label == 0]
    ratio: Floats = np.exp(np.clip(of_reference, -np.log(SPARSE), np.log(SPARSE)))
    return ratio


@dataclass(frozen=True)
class _Learned:
    """Log odds of each row of both sides that it belongs to the window, and what they come from."""

    names: Sequence[str]
    label: NDArray[np.int64]
    piece: NDArray[np.int64]
    score: Floats
    gain: Floats


def _learned(
    reference: Side,
    window: Side,
    features: Mapping[str, Kind],
    weights: Mapping[str, float] | None = None,
) -> _Learned | None:
    sides = (reference, window)
    names = [n for n in features if all(n in side.frame.columns for side in sides)]
    if not names or min(len(side.frame) for side in sides) < _PIECES:
        return None
    x = np.column_stack(
        [
            _encoded(column_of(reference.frame, n), column_of(window.frame, n), features[n])
            for n in names
        ]
    )
    label = np.repeat([0, 1], [len(side.frame) for side in sides])
    piece = np.concatenate([_pieces(reference, 0, window), _pieces(window, 1, window)])
    levels = [k for k, n in enumerate(names) if not is_numeric(features[n])]
    contribution = [float((weights or {}).get(n, 1.0)) for n in names]
    score, gain = _cross_fitted(x, label, piece, levels, contribution)
    return _Learned(names, label, piece, score, gain)


def _encoded(reference: pd.Series[Any], window: pd.Series[Any], kind: Kind) -> Floats:
    """Return one column of both sides as numbers: values, or places of the common levels."""
    if is_numeric(kind):
        values = np.concatenate([numbers_of(side, kind).values for side in (reference, window)])
        return np.where(np.isinf(values), np.nan, values)
    codes, texts = levels_of(pd.concat([reference, window], ignore_index=True), kind)
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    place = np.full(len(texts) + 1, _LEVELS + 1, dtype=np.float64)
    common = np.argsort(-counts, kind="stable")[:_LEVELS]
    common = common[counts[common] >= _COMMON]
    place[common] = np.arange(len(common))
    place[-1] = np.nan
    return place[codes]


def _pieces(side: Side, label: int, window: Side) -> NDArray[np.int64]:
    """Return the piece of time of each row, no two of different sides the same."""
    # The pieces of the reference hold about as many rows as those of the window.
    n = len(side.frame)
    if side.times is None:
        return np.arange(n) + label * 10**9
    size = max(len(window.frame) / _PIECES, 1.0)
    piece = (np.arange(n) / size).astype(np.int64)
    return piece + label * 10**9


def _cross_fitted(
    x: Floats,
    label: NDArray[np.int64],
    piece: NDArray[np.int64],
    levels: Sequence[int],
    contribution: Sequence[float],
) -> tuple[Floats, Floats]:
    """Return the log odds of each row by a model without its piece, and the gain per column."""
    fold = piece % _FOLDS
    score = np.zeros(len(label))
    gain = np.zeros(x.shape[1])
    for k in range(_FOLDS):
        rest = fold != k
        known = label[rest]
        ours = float(np.clip(known.mean(), 1e-9, 1 - 1e-9))
        balance = np.where(known == 1, 0.5 / ours, 0.5 / (1 - ours))
        data = lightgbm.Dataset(
            x[rest], known, weight=balance, categorical_feature=list(levels),
            params={key: _PARAMETERS[key] for key in ("verbosity", "max_bin", "num_threads")},
        )  # fmt: skip
        model = lightgbm.train(
            {**_PARAMETERS, "feature_contri": list(contribution)}, data, num_boost_round=_ROUNDS
        )
        score[~rest] = model.predict(x[~rest], raw_score=True)
        gain += model.feature_importance("gain")
    return score, gain


def _judged(
    score: Floats, label: NDArray[np.int64], piece: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Return the AUC, its p-value and its standard deviation where nothing differs."""
    # Ranks are taken within each fold, whose model is its own. Whole pieces change sides, whose
    # variance is that of a sum drawn without replacement (Cochran 1977, section 2.6).
    fold = piece % _FOLDS
    auc = total = variance = 0.0
    for k in range(_FOLDS):
        chosen = fold == k
        ours = label[chosen] == 1
        if not ours.any() or ours.all():
            continue
        ranks = scipy.stats.rankdata(score[chosen]) / len(ours)
        weight = float(ours.sum())
        auc += weight * float(ranks[ours].mean() - ranks[~ours].mean())
        variance += weight**2 * _variance(ranks, ours, piece[chosen])
        total += weight
    if not total:
        return 0.5, 1.0, 0.0
    auc, deviation = 0.5 + auc / total, _SHARED * np.sqrt(variance) / total
    p_value = float(scipy.stats.norm.sf((auc - 0.5) / max(deviation, 1e-9)))
    return float(auc), p_value, float(deviation)


def _variance(ranks: Floats, ours: NDArray[np.bool_], piece: NDArray[np.int64]) -> float:
    """Return the variance of the difference of mean ranks when pieces change sides at random."""
    _, place = np.unique(piece, return_inverse=True)
    sums = np.bincount(place, weights=ranks - ranks.mean())
    side = np.bincount(place, weights=ours) > 0
    n, k = len(sums), int(side.sum())
    if n < 3:
        return 0.25
    rows = float(ours.sum()), float((~ours).sum())
    of_sum = k * (1 - k / n) * float(sums.var(ddof=1))
    return of_sum * (1 / rows[0] + 1 / rows[1]) ** 2


def _named(names: Sequence[str], gain: Floats) -> dict[str, float]:
    share = gain / max(float(gain.sum()), 1e-12)
    order = np.argsort(-share, kind="stable")
    return {names[k]: float(share[k]) for k in order if share[k] >= _NAMED}
