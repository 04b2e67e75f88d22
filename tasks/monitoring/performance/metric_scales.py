"""The scale on which a metric varies evenly from window to window, and so about normally.

A share cannot rise above one, so that it falls further than it rises; an error cannot fall below
zero, so that it rises further than it falls. Logits and logarithms undo that; of R², whose
complement is an error, the logarithm of the complement.

References
----------
Bartlett (1947), The use of transformations, Biometrics 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, inf, log
from typing import Literal

_SHARES = frozenset(
    {
        "accuracy", "balanced_accuracy", "precision", "recall", "f1", "precision_macro",
        "recall_macro", "f1_macro", "roc_auc", "average_precision", "ndcg_at_10", "map_at_10",
    }
)  # fmt: skip
_LOSSES = frozenset(
    {"log_loss", "brier", "calibration_error", "mae", "median_ae", "mape", "mse", "rmse"}
)


@dataclass(frozen=True)
class Scale:
    """A scale, and the way there and back.

    >>> scale = Scale("logit")
    >>> round(scale.back(scale.of(0.8)), 6), round(scale.slope(0.8), 6)
    (0.8, 6.25)
    """

    name: Literal["logit", "log", "complement", "plain"]

    def of(self, value: float) -> float:
        """Return a metric's value on the scale."""
        if self.name == "logit":
            return log(value / (1 - value))
        if self.name == "complement":
            return -log(1 - value)
        return log(value) if self.name == "log" else value

    def back(self, place: float) -> float:
        """Return the metric's value at a place on the scale."""
        if self.name == "logit":
            return 1 / (1 + exp(-place)) if place > 0 else exp(place) / (1 + exp(place))
        if self.name == "complement":
            return 1 - exp(min(-place, 700.0))
        return exp(min(place, 700.0)) if self.name == "log" else place

    def slope(self, value: float) -> float:
        """Return by how much the scale moves with the metric at `value`."""
        if self.name == "logit":
            return 1 / (value * (1 - value))
        if self.name == "complement":
            return 1 / (1 - value)
        return 1 / value if self.name == "log" else 1.0


def limits(metric: str) -> tuple[float, float]:
    """Return the least and the greatest value that a metric can have.

    >>> limits("accuracy"), limits("mae"), limits("r2")
    ((0.0, 1.0), (0.0, inf), (-inf, 1.0))
    """
    if metric in _SHARES:
        return 0.0, 1.0
    return (0.0 if metric in _LOSSES else -inf), (1.0 if metric == "r2" else inf)


def scale_of(metric: str, values: Iterable[float]) -> Scale:
    """Return the scale that suits a metric, if all `values` have a place there.

    >>> scale_of("roc_auc", [0.7, 0.8]).name, scale_of("accuracy", [0.9, 1.0]).name
    ('logit', 'plain')
    >>> scale_of("rmse", [12.0]).name, scale_of("r2", [0.4]).name, scale_of("gain", [3.0]).name
    ('log', 'complement', 'plain')
    """
    known = list(values)
    if metric in _SHARES and all(0 < value < 1 for value in known):
        return Scale("logit")
    if metric in _LOSSES and all(value > 0 for value in known):
        return Scale("log")
    if metric == "r2" and all(value < 1 for value in known):
        return Scale("complement")
    return Scale("plain")


def place_on(scale: Scale, value: float, usual: float) -> float:
    """Return a value's place on a scale, kept from the ends that have none.

    An error is kept from nothing by a share of its `usual` value, whatever its unit is.

    >>> round(place_on(scale_of("accuracy", [0.5]), 1.0, 0.5), 1)
    20.7
    """
    tiny = 1e-9
    if scale.name == "logit":
        return scale.of(min(max(value, tiny), 1 - tiny))
    return scale.of(max(value, tiny * usual)) if scale.name == "log" else scale.of(value)
