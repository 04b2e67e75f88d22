"""Density ratios: how much more frequent rows like the reference's are in a window.

Where covariates shift and the target's dependence on them does not, what labelled rows teach of
the window is right once each counts by the ratio of the two densities (Shimodaira 2000). The ratio
is the odds of drift's domain classifier.

References
----------
Shimodaira (2000), Improving predictive inference under covariate shift by weighting the
log-likelihood function, Journal of Statistical Planning and Inference 90. Białek, Kivimäki,
Kuberski and Perrakis (2025), Estimating model performance under covariate shift without labels,
NeurIPS, arXiv 2401.08348: the calibrator of confidence-based estimates weighted so (PAPE).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasks.base.arrays import Floats, spread
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Kind
from tasks.monitoring.drift.compared_rows import Side
from tasks.monitoring.drift.harm.domain_classifier import density_ratio
from tasks.monitoring.performance.labelled_predictions import Answers

_WINDOW_ROWS = 5_000


@dataclass(frozen=True)
class CovariateShift:
    """Features of rows that are judged and of the reference's, in their order."""

    window: pd.DataFrame
    reference: pd.DataFrame
    kinds: Mapping[str, Kind]  # of the columns by which the two are separated


def weights_of(reference: Answers, window: Answers, kinds: Mapping[str, Kind]) -> Floats | None:
    """Return the weight of each row of the reference, shape (rows,), by the columns of `kinds`."""
    # None where the features of either are not known, or rows are few.
    ours, theirs = (_side(answers) for answers in (in_time(thinned(window)), reference))
    return None if ours is None or theirs is None else density_ratio(theirs, ours, kinds)


def _side(answers: Answers) -> Side | None:
    if answers.features is None:
        return None
    return Side(answers.features.reset_index(drop=True), answers.times)


def in_time(answers: Answers) -> Answers:
    """Return the rows in the order of their times."""
    if answers.times is None:
        return answers
    return answers.only(np.argsort(answers.times, kind="stable"))


def thinned(answers: Answers, most: int = _WINDOW_ROWS) -> Answers:
    """Return at most so many rows, evenly spread."""
    return answers if answers.rows <= most else answers.only(spread(answers.rows, most))
