"""Check of a custom metric on made-up rows, before any data is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.base.arrays import Array
from tasks.base.plugin_settings import OwnCode
from tasks.metrics.plugin_metrics import Rows, function_of, native, wrong
from tasks.plugins.modules import words

_LABELS = "If it needs the labels of your target, state them: `labels: [no, yes]`."


def try_metric(own: OwnCode, metric: str, task: str | None, positive: str | int | None) -> None:
    """Refuse a metric that gives made-up rows no finite number, or another one the next time."""
    hook = own.metrics[metric]
    if task == "regression" and hook.needs == "probability":
        raise wrong(own, metric, "needs probabilities, which a regression does not have")
    labels = trial_labels(hook.labels, task, positive)
    function = function_of(own, metric)
    truth, predicted = _trial(labels, hook.needs, task)
    rows = Rows(function, truth, predicted)
    given = f"y_true {truth.tolist()[:4]}…"
    try:
        value, again = rows.value(), rows.value()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a person's code may fail anyhow
        raise wrong(
            own, metric, f"failed on made-up rows ({given}): {words(error)}", _LABELS
        ) from None
    if not np.isfinite(value):
        raise wrong(own, metric, f"gave {value} for made-up rows ({given})", _LABELS)
    if value != again:
        raise wrong(own, metric, "gives another number when called again: seed what is random")


def trial_labels(
    labels: Sequence[bool | int | str], task: str | None, positive: str | int | None
) -> list[Any]:
    """Return the labels a metric is tried with.

    >>> trial_labels((), None, None), trial_labels((), "binary", "bad")
    ([0, 1], ['not bad', 'bad'])
    """
    if len(labels) >= 2:
        return list(native(sorted(str(label) for label in labels)).tolist())
    if isinstance(positive, str):
        return [f"not {positive}", positive]
    return [0, 1, 2] if task == "multiclass" else [0, 1]


def _trial(labels: list[Any], needs: str, task: str | None) -> tuple[Array, Array]:
    if task == "regression":
        truth = np.arange(1.0, 25.0)
        return truth, truth + np.tile([0.5, -1.0, 0.25], 8)
    k = len(labels)
    places = np.arange(12 * k) % k
    truth = np.array(labels)[places]
    guess = np.where(np.arange(12 * k) % 5 == 0, (places + 1) % k, places)
    if needs == "prediction":
        return truth, np.array(labels)[guess]
    chances = np.full((len(places), k), 0.3 / max(1, k - 1))
    chances[np.arange(len(places)), guess] = 0.7
    return truth, chances if k > 2 else chances[:, 1]
