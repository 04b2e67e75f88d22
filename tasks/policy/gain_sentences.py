"""A measured gain as a person reads it; made where it is shown, read by nobody."""

from __future__ import annotations

from tasks.base.monitoring_records import Gain, GainAnswer, Window
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text.numbers import metric_words, number
from tasks.base.text.phrases import plural, valued
from tasks.base.training_records import MetricValue

_SKIPPED = {
    "no recipe": "the champion's version does not record how it was fitted; the next training does",
    "changed": "the champion cannot be fitted on today's rows",
    "nothing newer": "too few labelled rows are newer than what the champion was trained on",
    "too few rows": "too few labelled rows to judge on",
    "undefined": "the metric is not defined on the labelled rows",
    "failed": "the fit or the comparison failed",
}


def gain_value(gain: Gain) -> str:
    """Return the gain with its interval.

    >>> gain_value(Gain(version="1", metric="roc_auc", gain=0.0412, low=0.031, high=0.052))
    '0.041 (0.031 to 0.052)'
    """
    return valued(MetricValue(value=gain.gain, low=gain.low, high=gain.high))


def gain_sentence(gain: Gain, answer: GainAnswer) -> str:
    """Return the gain of retraining as text, without a full stop; without an answer the figures.

    >>> found = Gain(version="1", metric="roc_auc", gain=-0.002, low=-0.01, high=0.006, rows=5402)
    >>> gain_sentence(found, "none")
    'retraining would not have helped: gain in ROC AUC -0.0020 (-0.0100 to 0.0060) on 5,402 labelled rows'
    """  # noqa: E501
    if gain.gain is None:
        return f"gain not measured: {gain_skipped(gain)}"
    name, rows = metric_words(gain.metric), f"on {_rows(gain)}"
    if gain.beside is not None and gain.beside.metric != "log_loss":
        # Only the probabilities call for a training.
        rows += f", gain in {metric_words(gain.beside.metric)} {gain_value(gain.beside)}"
    if answer == "pays":
        return f"retraining would {_bring(gain, gain_value(gain))} {rows}"
    if answer == "steady":
        return (
            f"retraining would have brought {number(gain.mean)} {name} a window over "
            f"{gain.observed} windows, beyond chance; on the last {gain_value(gain)}"
        )
    if answer == "ages":
        return (
            f"{gain_headline(gain, answer)}, by {plural(len(gain.aged), 'measurement')} of "
            f"how the champion ages; gain of the last {gain_value(gain)} {rows}"
        )
    stated = f"gain in {name} {gain_value(gain)} {rows}"
    if answer == "none":
        helped = "have helped too little" if (gain.low or 0.0) > 0 else "not have helped"
        return f"retraining would {helped}: {stated}"
    return f"whether retraining would help is open: {stated}" if answer else stated


def gain_headline(gain: Gain, answer: GainAnswer) -> str:
    """Return the same in a few words, for a title; empty where nothing calls for a training.

    >>> found = Gain(version="1", metric="mae", gain=3.2, low=2.0, high=4.4)
    >>> gain_headline(found, "pays"), gain_headline(found, "none")
    ('retraining would lower mean absolute error by 3.2', '')
    """
    if answer == "ages":
        return f"a refit is expected to {_bring(gain, number(gain.expected, _half(gain)))}"
    if answer == "steady" and gain.mean is not None:
        return f"retraining would {_bring(gain, number(gain.mean))}"
    if answer == "pays" and gain.gain is not None:
        return f"retraining would {_bring(gain, number(gain.gain, _half(gain)))}"
    return ""


def _half(gain: Gain) -> float | None:
    """Return half the width of a gain's interval."""
    return MetricValue(value=gain.gain, low=gain.low, high=gain.high).half


def _bring(gain: Gain, amount: str) -> str:
    name = metric_words(gain.metric)
    return (
        f"bring {amount} {name}" if greater_is_better(gain.metric) else f"lower {name} by {amount}"
    )


def gain_skipped(gain: Gain) -> str:
    """Return why a gain was not measured; empty where it was."""
    if not gain.skipped:
        return ""
    return f"{_SKIPPED[gain.skipped]}{f': {gain.problem}' if gain.problem else ''}"


def gain_method(gain: Gain) -> str:
    """Return the method of the measurement: the fit, its rows, and its duration."""
    if gain.gain is None:
        return ""
    fewer = f" of {gain.rows_available:,}" if gain.rows_fitted < gain.rows_available else ""
    until = f" before {gain.boundary:%Y-%m-%d %H:%M} UTC" if gain.boundary else ""
    fitted = f"fitted on {gain.rows_fitted:,}{fewer} rows{until}, in {gain.seconds:.1f} s"
    return (
        f"{gain.family or 'The champion'} with the champion's settings, {fitted}; both predicted "
        f"the same {gain.rows:,} rows: {number(gain.refreshed)} against {number(gain.champion)}"
    )


def _rows(gain: Gain) -> str:
    where = ""
    if gain.windows:
        span = Window(start=gain.windows[0].start, end=gain.windows[-1].end)
        count = len(gain.windows)
        where = f" of {span}" if count == 1 else f" of {count} windows in {span}"
    return f"{gain.rows:,} labelled rows{where}"
