"""Performance of the champion by segment: rows with one value of a column that the file names.

A segment's mean loss is compared with that of rows of the same segment that the model had not seen
in training. Beside the sampling of both it may vary between windows as the segments do on average
in blocks of the reference; one correction covers all segments.

References
----------
Benjamini and Hochberg (1995), Controlling the false discovery rate, JRSS B 57. DerSimonian and
Laird (1986), Meta-analysis in clinical trials, Controlled Clinical Trials 7, for the variance
between blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import Floats, Ints, Mask
from tasks.base.monitoring_records import Performance, SegmentPerformance
from tasks.base.runtime.libraries import pd, scipy
from tasks.base.text.numbers import number
from tasks.monitoring.drift.distances import corrected
from tasks.monitoring.drift.reference_summary import Cells, cells_of
from tasks.monitoring.performance.labelled_predictions import Answers

Texts = NDArray[Any]

_LEAST_REFERENCE = 30
_LEAST_INCREASE = 0.25
_PRIOR_VARIATION = 0.15
_PRIOR_BLOCKS = 3
_NAMED = 3


@dataclass(frozen=True)
class Scored:
    """Labelled rows and, for each column that makes segments, the value of every row."""

    answers: Answers
    values: Mapping[str, Texts]  # column to texts, shape (n_rows,); empty where a row has none


def judge_segments(
    windows: Sequence[Scored],
    reference: Scored,
    *,
    min_rows: int,
    false_alarms: float,
    length: timedelta,
) -> tuple[SegmentPerformance, ...]:
    """Return the champion's performance in each segment that has rows enough."""
    # `windows`: the window, and then longer stretches that end with it: the first that holds
    # `min_rows` labelled rows of a segment counts; the model had not seen the rows of `reference`.
    theirs = losses(reference.answers)
    ours = [losses(window.answers) for window in windows]
    cells = cells_of(reference.answers.times, length.total_seconds())
    found: list[tuple[str, str, int, float, float, float]] = []
    for column, values in reference.values.items():
        places, levels = pd.factorize(values, sort=True)
        rows = np.bincount(places, minlength=len(levels))
        held = [
            (loss, pd.Index(levels).get_indexer(window.values[column]))
            for window, loss in zip(windows, ours, strict=True)
            if column in window.values
        ]
        for place in np.flatnonzero((rows >= _LEAST_REFERENCE) & (levels != "")).tolist():
            value, chosen = str(levels[place]), places == place
            before, now = theirs[chosen], _enough(held, place, min_rows)
            if now is None:
                continue
            p_value = _greater(now, before, *_between(cells, theirs, chosen))
            found.append(
                (column, value, len(now), float(now.mean()), float(before.mean()), p_value)
            )
    p_values = corrected([one[-1] for one in found])
    return tuple(
        SegmentPerformance(
            column=column, value=value, rows=rows, loss=loss, reference=before, p_value=p_value,
            worse=p_value <= false_alarms and loss > before * (1 + _LEAST_INCREASE),
        )
        for (column, value, rows, loss, before, _), p_value in zip(found, p_values, strict=True)
    )  # fmt: skip


def losses(answers: Answers) -> Floats:
    """Return the loss of each row, NaN where its label is not known, shape (n_rows,)."""
    if answers.truth.dtype.kind == "f":
        return np.asarray(np.abs(answers.truth - answers.predicted), dtype=np.float64)
    found = np.full(answers.rows, np.nan)
    known = answers.labelled
    truth = answers.truth[known].astype(np.int64)
    if answers.probability is None:
        found[known] = answers.predicted[known] != truth
    else:
        likely = answers.probability[known][np.arange(len(truth)), truth]
        found[known] = -np.log(np.clip(likely, 1e-4, 1.0))
    return found


def _enough(held: Sequence[tuple[Floats, Ints]], place: int, least: int) -> Floats | None:
    """Return the known losses of a segment in the first window that has at least so many."""
    for loss, places in held:
        known: Floats = loss[(places == place) & np.isfinite(loss)]
        if len(known) >= least:
            return known
    return None


def _between(cells: Cells, loss: Floats, chosen: Mask) -> tuple[float, int]:
    """Return the variance of a segment's mean loss between windows, and from how many."""
    # It is what exceeds their sampling, drawn towards a prior that counts as three windows.
    prior = (_PRIOR_VARIATION * float(loss[chosen].mean())) ** 2
    if cells.of_row is None:
        return prior, _PRIOR_BLOCKS
    block = cells.of_row[chosen] // cells.per_block
    ours = loss[chosen]
    parts = [ours[block == k] for k in np.unique(block[block >= 0])]
    parts = [part for part in parts if len(part) >= _LEAST_REFERENCE]
    if len(parts) < 3:
        return prior, _PRIOR_BLOCKS
    means = np.array([part.mean() for part in parts])
    sampling = float(np.mean([part.var(ddof=1) / len(part) for part in parts]))
    seen = max(float(means.var(ddof=1)) - sampling, 0.0)
    weight = len(parts) - 1
    total = weight + _PRIOR_BLOCKS
    return (weight * seen + _PRIOR_BLOCKS * prior) / total, total


def _greater(now: Floats, before: Floats, between: float, known_from: int) -> float:
    """Return the p-value of a mean that is no greater, windows having the variance `between`."""
    variance = now.var(ddof=1) / len(now) + before.var(ddof=1) / len(before) + between
    score = float(now.mean() - before.mean()) / math.sqrt(
        max(float(variance), np.finfo(np.float64).tiny)
    )
    return float(scipy.stats.t.sf(score, known_from))


def with_segments(found: Performance, segments: tuple[SegmentPerformance, ...]) -> Performance:
    """Return a window's performance with its segments; one that is worse makes it worse."""
    worse = sorted((s for s in segments if s.worse), key=lambda s: s.p_value)
    sentence = found.sentence
    if worse:
        named = "; ".join(
            f"{s.name} (loss {number(s.loss)}, {number(s.reference)} before, {s.rows:,} rows)"
            for s in worse[:_NAMED]
        )
        more = f" and {len(worse) - _NAMED} more" if len(worse) > _NAMED else ""
        sentence = f"{sentence} Worse in {named}{more}.".strip()
    return found.model_copy(
        update={"segments": segments, "worse": found.worse or bool(worse), "sentence": sentence}
    )
