"""Custom metrics: called for all rows, for validation parts, slices and bootstrap draws.

``hooks: {metrics: {profit: {call: my_metrics:profit, greater_is_better: true}}}`` names a function
``(y_true, y_pred) -> float``. For a regression both are values. For classes both are labels:
whole numbers and booleans where all labels are such, else text. With ``needs: probability`` the
second is the probability of the positive class, or with more than two classes a matrix with a
column for each, in sorted order.

It is called once for every bootstrap draw with the drawn rows, as often as they were drawn: 1,000
times for each model at the gate, on large tables fewer times (20 million rows in all draws, but at
least 200 draws). Write it with NumPy, without a loop over rows.

On all rows and on validation parts a failure or a number that is not finite is an error. On a
slice or a draw it means that the metric is not defined there; more than one such draw in twenty
leave it without an interval, and the gate then refuses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Array, Floats, Ints
from tasks.base.errors import OwnMetricError
from tasks.base.plugin_settings import OwnCode
from tasks.metrics.bootstrap import Plan
from tasks.metrics.label_codes import encode, encode_truth
from tasks.plugins.modules import check_call, hook_object, words

MOST_ROWS = 20_000_000
LEAST_DRAWS = 200
_SLOW_SECONDS = 30.0
_LOGGER = logging.getLogger(__name__)


def is_own(metric: str, own: OwnCode | None) -> bool:
    """Return whether `metric` is a custom one."""
    return own is not None and metric in own.metrics


@dataclass(frozen=True)
class Rows:
    """Input of a metric: truth and predictions of rows, as the function expects them."""

    function: Callable[..., Any]
    y_true: Array
    said: Array

    def value(self, chosen: Ints | None = None) -> float:
        """Return the metric of the rows, or of those `chosen`, repeated ones included."""
        rows = slice(None) if chosen is None else chosen
        return as_number(self.function(self.y_true[rows].copy(), self.said[rows].copy()))


def as_number(value: Any) -> float:
    """Return a metric's result as a float, or raise TypeError."""
    plain = (
        value.item() if isinstance(value, np.generic | np.ndarray) and not value.shape else value
    )
    if isinstance(plain, bool) or not isinstance(plain, Real):
        raise TypeError(f"it must return one number; got {type(value).__name__}")
    return float(plain)


def exactly(
    metric: str,
    own: OwnCode,
    y_true: ArrayLike,
    predicted: ArrayLike,
    probability: Floats | None,
    classes: Sequence[str],
    positive: str | None,
) -> float:
    """Return the metric of rows; one that fails or is not finite is a ConfigError."""
    rows = _rows(metric, own, y_true, predicted, probability, classes, positive)
    about = f"{len(rows.y_true):,} rows"
    try:
        value = rows.value()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a person's code may fail anyhow
        raise wrong(own, metric, f"failed on {about}: {words(error)}") from None
    if not np.isfinite(value):
        raise wrong(
            own, metric, f"gave {value} for {about}",
            "Return a finite number for any rows that hold every class.",
        )  # fmt: skip
    return value


def drawn_of(
    metric: str,
    own: OwnCode,
    y_true: ArrayLike,
    predicted: ArrayLike,
    probability: Floats | None,
    classes: Sequence[str],
    positive: str | None,
    plan: Plan,
) -> tuple[float, Floats]:
    """Return the metric of rows, and of every draw of `plan`; not a number where undefined."""
    rows = _rows(metric, own, y_true, predicted, probability, classes, positive)
    began = time.monotonic()
    value, problem = _tried(rows, None)
    if not plan.replicates:
        return value, np.array([value])
    plan = bounded(plan)
    _tell_cost(metric, own, plan, time.monotonic() - began)
    values, problems = np.empty(plan.replicates), [problem]
    place = 0
    for weights in plan.weights(plan.rows):
        for of_units in weights:
            of_rows = of_units if plan.units is None else of_units[plan.units]
            chosen = np.repeat(np.arange(plan.rows), of_rows.astype(np.int64))
            values[place], problem = _tried(rows, chosen)
            problems.append(problem)
            place += 1
    failed = [p for p in problems if p]
    if failed:
        _LOGGER.warning(
            "hooks.metrics.%s failed on %d of %d draws, where it counts as undefined: %s",
            metric, len(failed), len(problems), failed[0],
        )  # fmt: skip
    return value, values


def bounded(plan: Plan) -> Plan:
    """Return `plan` with as many draws as its rows allow.

    >>> bounded(Plan(50_000, 50_000, None, 1_000, 0)).replicates
    400
    """
    most = max(LEAST_DRAWS, MOST_ROWS // max(1, plan.rows))
    return replace(plan, replicates=min(plan.replicates, most))


def _tell_cost(metric: str, own: OwnCode, plan: Plan, seconds: float) -> None:
    expected = seconds * plan.replicates
    if expected > _SLOW_SECONDS:
        _LOGGER.warning(
            "hooks.metrics.%s (%s) needs %.2g s for %d rows and is called %d times for an "
            "interval: about %.0f s a model. Write it with NumPy, without a loop over rows",
            metric, own.metrics[metric].call, seconds, plan.rows, plan.replicates, expected,
        )  # fmt: skip


def _tried(rows: Rows, chosen: Ints | None) -> tuple[float, str]:
    """Return the value and no words, or not a number and why."""
    try:
        return rows.value(chosen), ""
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a person's code may fail anyhow
        return float("nan"), words(error)


def _rows(
    metric: str,
    own: OwnCode,
    y_true: ArrayLike,
    predicted: ArrayLike,
    probability: Floats | None,
    classes: Sequence[str],
    positive: str | None,
) -> Rows:
    function, needs = function_of(own, metric), own.metrics[metric].needs
    if not classes:
        if needs == "probability":
            raise wrong(own, metric, "needs probabilities, which a regression does not have")
        return Rows(function, np.asarray(y_true, np.float64), np.asarray(predicted, np.float64))
    labels = native(classes)
    truth = labels[encode_truth(y_true, classes)]
    if needs == "prediction":
        places = encode(predicted, classes)
        known = places < len(classes)
        # A label that occurs only in another model is none of these.
        named = labels[places] if known.all() else np.array([*labels.tolist(), None])[places]
        return Rows(function, truth, named)
    if probability is None:
        raise wrong(own, metric, "needs probabilities, and the model gives none")
    if len(classes) > 2:
        return Rows(function, truth, probability)
    place = len(classes) - 1 if positive is None else list(classes).index(positive)
    return Rows(function, truth, probability[:, place])


def native(classes: Sequence[str]) -> Array:
    """Return labels as booleans or whole numbers where all are such, else as text.

    >>> native(("0", "1")).tolist(), native(("False", "True")).tolist(), native(("1", "a")).tolist()
    ([0, 1], [False, True], ['1', 'a'])
    """
    if set(classes) <= {"False", "True"}:
        return np.array([label == "True" for label in classes])
    if all(label.removeprefix("-").isdecimal() and str(int(label)) == label for label in classes):
        return np.array([int(label) for label in classes])
    return np.array(classes)


def function_of(own: OwnCode, metric: str) -> Callable[..., Any]:
    """Return the function of a metric, or refuse what is not called with two arguments."""
    hook, key = own.metrics[metric], f"metrics.{metric}"
    found: Callable[..., Any] = hook_object(key, hook.call, own.folder)
    second = "what is predicted" if hook.needs == "prediction" else "probabilities"
    remedy = f"Write it as: def {hook.call.partition(':')[2]}(y_true, y_pred): return …"
    check_call(key, hook.call, found, ("what is true", second), remedy)
    return found


def wrong(own: OwnCode, metric: str, what: str, remedy: str = "") -> OwnMetricError:
    """Return the error that names the hook and what is wrong with it."""
    return OwnMetricError(f"`hooks.metrics.{metric}: {own.metrics[metric].call}` {what}.", remedy)


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
