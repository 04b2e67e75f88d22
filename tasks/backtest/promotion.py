"""What the gate says of a model that a replay trains, as it would in production."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.backtest.fits import Fits
from tasks.backtest.history import History
from tasks.backtest.observation import Champion
from tasks.base.config import PipelineConfig
from tasks.base.records import Verdict
from tasks.evaluation.bootstrap import time_blocks
from tasks.evaluation.comparison import Predictions, paired_evidence
from tasks.registry.gate import decide


@dataclass(frozen=True)
class Challenge:
    """A challenger with the gate's verdict; `champion` scores from the next window on."""

    champion: Champion
    verdict: Verdict


def first_champion(history: History, config: PipelineConfig, fits: Fits) -> Champion:
    """Return the model of the first training, which every policy starts with."""
    first, last = history.trained(history.windows[0].start, config.training.window)
    held = history.boundary(first, last, config.split.holdout)
    return Champion(model=fits.of(first, last), judged=fits.of(first, held), held=held)


def challenge(
    history: History,
    config: PipelineConfig,
    fits: Fits,
    champion: Champion,
    window: int,
    span: timedelta | None,
) -> Challenge | None:
    """Return what the gate says of a model trained at the end of `window`; None without new rows.

    The challenger is judged on the newest half of the labelled rows that the champion does not
    know, where they are enough, and promoted it is fitted once more with these rows.
    """
    first, last = history.trained(history.windows[window].end, span)
    newer = last - max(champion.model.last, first)
    if newer < 1 or last - first < 2:
        return None
    share = config.split.holdout
    if newer >= 2 * config.monitoring.min_rows:
        share = min(share, newer / 2 / (last - first))
    held = history.boundary(first, last, share)
    judged = fits.of(first, held)
    rows = max(held, champion.model.last)
    evidence = paired_evidence(
        history.metric,
        history.y[rows:last],
        judged.predictions(rows, last),
        champion.model.predictions(rows, last),
        _trivial(history, first, held, last - rows),
        history.roles,
        blocks=time_blocks(history.stamps(rows, last)),
        gate=config.gate,
        seed=config.training.seed,
        name="challenger",
    )
    verdict = decide(
        evidence, config.gate, champion_version=str(champion.since), new_evidence=rows < last
    )
    made = Champion(
        model=fits.of(first, last) if verdict.promoted else judged,
        judged=judged,
        held=held,
        since=window + 1,
    )
    return Challenge(made, verdict)


def _trivial(history: History, first: int, last: int, rows: int) -> Predictions:
    """Return what the trivial baseline of rows [first, last) says of so many rows."""
    y: NDArray[Any] = history.y[first:last]
    if not history.roles.classes:
        middle = np.median if history.metric in {"mae", "median_ae", "mape"} else np.mean
        return Predictions(np.full(rows, float(middle(y.astype(np.float64)))))
    labels, counts = np.unique(y, return_counts=True)
    names = [str(label) for label in labels]
    shares = np.array(
        [counts[names.index(c)] if c in names else 0 for c in history.roles.classes], np.float64
    )
    chances = np.tile(shares / shares.sum(), (rows, 1))
    return Predictions(np.full(rows, labels[np.argmax(counts)]), chances)
