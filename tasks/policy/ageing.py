"""Ageing of the champion: the expected gain of a refit now; pure.

Each measurement compares a refreshed model with the champion, whose newest row is older by some
time. Divided by that time its gain is a rate of ageing, and the rates of all measurements, of
earlier champions too, vary around that of the table. Together they narrow what one measurement
leaves open, and soon after a refit they still know what waiting costs. A refit fitted now would be
ahead of the champion by more time than the refreshed model was, as that left the judged rows out.

References
----------
Vela et al. (2022), Temporal quality degradation in AI models, Scientific Reports 12. Gelman (2006),
Prior distributions for variance parameters in hierarchical models, Bayesian Analysis 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from tasks.base.monitoring_records import AgedGain, Gain
from tasks.base.utc_times import as_utc
from tasks.metrics.random_effects import random_effects, standard_error

MOST = 24
"""Measurements that count, the newest: a table may age faster or slower than it did."""
SHARE = 0.5
"""Of what matters: so much the rates of one window's length vary a priori (a scale)."""
EXPECTED = 0.25
"""Of what matters: so much a refit has to be expected to bring; it is one fit, behind a gate."""


def with_ageing(
    found: Gain, learned: datetime, earlier: Sequence[AgedGain], length: timedelta
) -> Gain:
    """Return a measured gain with what a refit now is expected to bring.

    `found`: with its `boundary`; `learned`: time of the newest row that the champion was fitted on;
    `earlier`: what earlier measurements showed, the newest last; `length`: of a window: the time in
    which rates are counted.

    >>> day = timedelta(days=1)
    >>> start = datetime(2026, 1, 1)
    >>> found = Gain(
    ...     version="1", metric="roc_auc", gain=0.01, low=0.002, high=0.018, matters=0.01,
    ...     boundary=start + 10 * day, newest=start + 20 * day)
    >>> round(with_ageing(found, start, (), 7 * day).expected, 3)
    0.02
    """
    known = tuple(earlier[-MOST:])
    if found.gain is None or found.low is None or found.high is None or found.matters is None:
        return found.model_copy(update={"aged": known})
    if found.boundary is None or found.newest is None:
        return found.model_copy(update={"aged": known})
    ahead = (as_utc(found.boundary) - as_utc(learned)) / length
    error = standard_error(found.low, found.high, found.confidence)
    if ahead <= 0 or error <= 0:
        return found.model_copy(update={"aged": known})
    known = (*known, AgedGain(gain=found.gain, error=error, ahead=ahead * length))[-MOST:]
    rates = np.array([one.gain / (one.ahead / length) for one in known])
    errors = np.array([one.error / (one.ahead / length) for one in known])
    rate = random_effects(rates, errors**2, SHARE * found.matters).centre
    return found.model_copy(
        update={
            "aged": known,
            "expected": rate * ((as_utc(found.newest) - as_utc(learned)) / length),
        }
    )
