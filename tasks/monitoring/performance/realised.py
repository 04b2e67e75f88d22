"""The champion's performance on one window, with and without labels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite

import numpy as np

from expectations.text.phrases import say_share
from tasks.base.monitoring_records import Performance, Window
from tasks.base.runtime.libraries import pd
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.training_records import MetricValue, Schema
from tasks.base.utc_times import as_utc
from tasks.monitoring.performance.estimation.covariate_shift import CovariateShift
from tasks.monitoring.performance.estimation.label_free import Estimate, estimate
from tasks.monitoring.performance.expected_range import Measured, Ordinary, measure, ordinary
from tasks.monitoring.performance.labelled_predictions import Answers, answers_of

MATURE_SHARE = 0.9
_FEW = ("no whole window", "one window", "two windows")


@dataclass(frozen=True)
class _Known:
    """Performance by a window's labels: a metric, or a sentence why there is none."""

    measured: Measured | None
    mature: bool
    sentence: str


def assess_window(
    rows: pd.DataFrame,
    *,
    roles: Schema,
    metric: str,
    version: str,
    window: Window | None,
    holdout: pd.DataFrame | None,
    label_delay: timedelta | None,
    now: datetime,
    false_alarms: float,
    length: timedelta,
    reference: pd.DataFrame | None = None,
    shift: CovariateShift | None = None,
    seed: int = 0,
    min_rows: int = 200,
) -> Performance:
    """Return realised and estimated performance of one window, and whether it is worse.

    Labels are mature when the delay has passed since the window's end and nine rows in ten are
    labelled: those that come early are seldom a fair sample. A window is worse when its metric
    lies beyond a limit that an ordinary window passes with the probability `false_alarms`:

    - ordinary is a predictive distribution: the metric over contiguous blocks of the window's
      length that the version's reference is cut into, the variation between windows, for which
      few blocks leave a weakly informative prior, and the window's own sampling (block
      bootstrap), see `tasks.monitoring.performance.expected_range.ordinary`;
    - the limit is the quantile of that distribution that `false_alarms` leaves;
    - realised performance decides where labels are mature. While they are not, an estimate
      decides alone, with two more variances: of what was learned on the reference, and the
      estimate's own error on parts of the reference. Once labels are mature the estimate decides
      nothing.

    Rows of other versions are left out. Without a `holdout` nothing is judged; without a
    `reference` it stands for it; `shift`: features of `rows` and of `reference`, by which estimates
    weigh the reference; `min_rows`: fewest for a number, else None for the reason in the sentence.
    """
    ours = None if shift is None else shift.window
    if "version" in rows:
        made = (rows["version"].astype(str) == version).to_numpy()
        rows, ours = rows[made], None if ours is None else ours[made]
    answers = answers_of(rows, roles, ours)
    known = _realised(answers, roles, metric, window, label_delay, now, min_rows, seed)
    newest = _labelled(holdout, roles)
    held = None if newest is None else measure(newest, roles, metric, seed=seed)
    unseen = newest
    if reference is not None:
        unseen = _labelled(reference, roles, None if shift is None else shift.reference)
    usual = None
    if unseen is not None and held is not None:
        usual = ordinary(unseen, roles, metric, length=length, min_rows=min_rows, seed=seed)
    estimated = Estimate(MetricValue(value=None), sentence="")
    if unseen is not None and answers.rows >= min_rows:
        estimated = estimate(
            answers, unseen, roles, metric, kinds=None if shift is None else shift.kinds, seed=seed,
            min_rows=min_rows,
        )  # fmt: skip
    limit, worse = _judged(known, estimated, usual, metric, false_alarms)
    return Performance(
        window=window,
        version=version,
        metric=metric,
        rows=answers.rows,
        labelled=int(answers.labelled.sum()),
        mature=known.mature,
        realised=None if known.measured is None else known.measured.ends,
        estimated=None if estimated.value.value is None else estimated.value,
        reference=None if held is None else held.ends,
        worse=worse,
        limit=limit,
        sentence=_sentence(answers, known, estimated, held, usual, limit, worse, metric, min_rows),
    )


def _realised(
    answers: Answers,
    roles: Schema,
    metric: str,
    window: Window | None,
    label_delay: timedelta | None,
    now: datetime,
    min_rows: int,
    seed: int,
) -> _Known:
    labelled = int(answers.labelled.sum())
    share = labelled / answers.rows if answers.rows else 0.0
    due = _is_due(window, label_delay, now)
    mature = is_mature(labelled, answers.rows, window, label_delay, now)
    stated = f"{labelled:,} of {answers.rows:,} rows are labelled ({say_share(share)})"
    if answers.strange:
        stated += f"; {answers.strange:,} labels are none of the classes"
    if labelled < min_rows:
        return _Known(None, mature, f"Too few labels: {stated}, {min_rows:,} needed.")
    truth = answers.of_labelled
    if roles.classes and len(np.unique(truth.truth)) < 2:
        only = roles.classes[int(truth.truth[0])]
        return _Known(None, mature, f"All labels are {only!r}: no {metric} of one class.")
    found = measure(truth, roles, metric, seed=seed)
    if found is None:
        return _Known(None, mature, f"{metric} is not defined on these rows; {stated}.")
    waits = "" if mature else f" Labels are not mature: {'' if due else 'the delay lasts, '}"
    waits += "" if mature else f"{say_share(MATURE_SHARE)} needed."
    return _Known(found, mature, f"{stated[0].upper()}{stated[1:]}.{waits}")


def is_mature(
    labelled: int, rows: int, window: Window | None, label_delay: timedelta | None, now: datetime
) -> bool:
    """Return whether the delay has passed since the window's end and 9 rows in 10 are labelled."""
    return rows > 0 and labelled / rows >= MATURE_SHARE and _is_due(window, label_delay, now)


def _is_due(window: Window | None, label_delay: timedelta | None, now: datetime) -> bool:
    return window is None or as_utc(now) >= as_utc(window.end) + (label_delay or timedelta(0))


def _labelled(
    holdout: pd.DataFrame | None, roles: Schema, features: pd.DataFrame | None = None
) -> Answers | None:
    if holdout is None or not len(holdout):
        return None
    known = answers_of(holdout, roles, features).of_labelled
    return known if known.rows else None


def _judged(
    known: _Known, estimated: Estimate, usual: Ordinary | None, metric: str, false_alarms: float
) -> tuple[float | None, bool]:
    """Return the limit and whether the window lies beyond it."""
    if usual is None:
        return None, False
    if known.mature:
        if known.measured is None:
            return None, False
        value, spread = known.measured.value, known.measured.spread
    elif estimated.value.value is not None:
        value = estimated.value.value
        spread = float(np.hypot(estimated.spread, estimated.error))
    else:
        return None, False
    if not isfinite(spread):
        return None, False
    greater = greater_is_better(metric)
    limit = usual.limit(spread, false_alarms, greater=greater)
    return limit, value < limit if greater else value > limit


def _sentence(
    answers: Answers,
    known: _Known,
    estimated: Estimate,
    held: Measured | None,
    usual: Ordinary | None,
    limit: float | None,
    worse: bool,
    metric: str,
    min_rows: int,
) -> str:
    if answers.rows < min_rows:
        return f"Not enough data: {answers.rows:,} rows with a prediction, {min_rows:,} needed."
    parts = []
    if known.measured is not None:
        parts.append(f"{metric} {_valued(known.measured.ends)} where labels are known.")
    parts.append(known.sentence)
    if estimated.value.value is not None and not known.mature:
        parts.append(f"Estimated {_valued(estimated.value)}. {estimated.sentence}")
    elif estimated.sentence and known.measured is None:
        parts.append(estimated.sentence)
    parts.append(_compared(held, usual, limit, worse, metric))
    return " ".join(part for part in parts if part)


def _compared(
    held: Measured | None, usual: Ordinary | None, limit: float | None, worse: bool, metric: str
) -> str:
    if held is None:
        return "No holdout of this version is kept, so the normal range is unknown."
    text = f"On the holdout it is {_valued(held.ends)}"
    if usual is not None and usual.blocks > 1:
        text += (
            f", {usual.low:.4g} to {usual.high:.4g} over {usual.blocks} windows of the reference"
        )
    if limit is None:
        return f"{text}."
    side = "below" if greater_is_better(metric) else "above"
    verdict = "worse than is ordinary" if worse else "ordinary"
    return f"{text}; {side} {limit:.4g} counts as worse: {verdict}.{_caution(usual)}"


def _caution(usual: Ordinary | None) -> str:
    """Return the basis of the limit where the holdout holds too few windows."""
    if usual is None or not usual.effects.varies or usual.blocks >= len(_FEW):
        return ""
    return (
        f" The reference holds {_FEW[usual.blocks]}, so how much windows vary is mostly assumed; "
        "raise `split.holdout` or shorten `monitoring.window` to measure it."
    )


def _valued(value: MetricValue) -> str:
    if value.low is None or value.high is None:
        return f"{value.value:.4g}"
    return f"{value.value:.4g} ({value.low:.4g} to {value.high:.4g})"
