"""Calibration maps, fitted on out-of-fold predictions.

Sources: Platt (1999), Probabilistic outputs for support vector machines: the sigmoid, here of the
log odds. Zadrozny and Elkan (2002), Transforming classifier scores into accurate multiclass
probability estimates: isotonic regression, and more than two classes one against the rest,
normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from tasks.base.arrays import Floats, Ints, Mask
from tasks.base.runtime.libraries import scipy, sklearn
from tasks.base.text.numbers import number
from tasks.metrics.scorer import score
from tasks.models.out_of_fold import OutOfFold

Method = Literal["none", "sigmoid", "isotonic"]
METHODS: tuple[Method, ...] = ("sigmoid", "isotonic")
_LEAST = 1e-12


@dataclass(frozen=True)
class Calibration:
    """One map a class, from raw to calibrated probability."""

    # `tables` has for a class label, as text, an array of shape (2, n): slope and intercept of the
    # log odds (n = 1), or knots and their values. A binary map has the second class alone. No class
    # gets less than `floor`: what was never seen in n rows is not impossible.

    method: Method = "none"
    tables: Mapping[str, Floats] | None = None
    floor: float = 0.0

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        tables = {label: table.tolist() for label, table in (self.tables or {}).items()}
        return {"method": self.method, "tables": tables, "floor": self.floor}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the object from the values of `plain`."""
        tables = {k: np.asarray(v, dtype=np.float64) for k, v in values["tables"].items()}
        return cls(values["method"], tables, float(values["floor"]))

    def apply(self, probability: Floats, classes: tuple[str, ...]) -> Floats:
        """Return calibrated probabilities; rows of `probability` and the result sum to one."""
        if self.method == "none" or not self.tables or len(classes) < 2:
            return probability
        if len(classes) == 2 and classes[1] in self.tables:
            second = self._mapped(classes[1], probability[:, 1])
            return np.column_stack([1.0 - second, second])
        columns = [
            self._mapped(label, probability[:, place]) if label in self.tables
            else probability[:, place]
            for place, label in enumerate(classes)
        ]  # fmt: skip
        spread = np.maximum(np.column_stack(columns), _LEAST)
        return np.asarray(spread / spread.sum(axis=1, keepdims=True))

    def _mapped(self, label: str, raw: Floats) -> Floats:
        assert self.tables is not None  # noqa: S101 - only called for labels in them
        first, second = self.tables[label]
        if self.method == "sigmoid":
            value: Floats = scipy.special.expit(first[0] * _log_odds(raw) + second[0])
        else:
            value = np.interp(raw, first, second)
        return np.clip(value, self.floor, 1.0 - self.floor)


def _log_odds(probability: Floats) -> Floats:
    inside = np.clip(probability, _LEAST, 1.0 - _LEAST)
    return np.asarray(np.log(inside / (1.0 - inside)))


def fit_calibration(
    method: Method, probability: Floats, truth: Ints, classes: tuple[str, ...]
) -> Calibration:
    """Return the map from `probability`, of rows not fitted on, to `truth`, places in `classes`."""
    if method == "none":
        return Calibration()
    places = range(1, 2) if len(classes) == 2 else range(len(classes))
    tables = {}
    for place in places:
        hit = truth == place
        if hit.all() or not hit.any():
            continue
        fit = _sigmoid if method == "sigmoid" else _isotonic
        tables[classes[place]] = fit(probability[:, place], hit)
    return Calibration(method, tables, 1.0 / (len(truth) + 2)) if tables else Calibration()


def _sigmoid(raw: Floats, hit: Mask) -> Floats:
    odds = np.clip(_log_odds(raw), -20.0, 20.0)
    model = sklearn.linear_model.LogisticRegression(C=100.0).fit(odds[:, None], hit)
    slope, shift = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:
        # Turning the order round is no calibration: nothing is known but the share.
        slope, shift = 0.0, float(_log_odds(np.array([hit.mean()]))[0])
    return np.array([[slope], [shift]])


def _isotonic(raw: Floats, hit: Mask) -> Floats:
    model = sklearn.isotonic.IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    model.fit(raw, hit.astype(np.float64))
    return np.array([model.X_thresholds_, model.y_thresholds_], dtype=np.float64)


def cross_fitted(method: Method, held: OutOfFold, classes: tuple[str, ...]) -> Floats:
    """Return each part's probabilities through a map of other parts: earlier ones where ordered."""
    # A part that has none to learn from keeps its raw probabilities.
    assert held.probability is not None  # noqa: S101 - classes only
    calibrated = held.probability.copy()
    for inside, others in held.turns():
        if len(others):
            fitted = fit_calibration(
                method, held.probability[others], held.truth(classes)[others], classes
            )
            calibrated[inside] = fitted.apply(held.probability[inside], classes)
    return calibrated


def row_losses(probability: Floats, truth: Ints) -> Floats:
    """Return the log loss of each row."""
    taken = probability[np.arange(len(truth)), truth]
    return np.asarray(-np.log(np.maximum(taken, _LEAST)))


@dataclass(frozen=True)
class Chosen:
    """The map to use and its numbers, out of fold."""

    calibration: Calibration
    probability: Floats  # through maps that did not see them
    note: str
    params: Mapping[str, str | float]


def choose_calibration(
    wanted: Literal["auto", "none", "sigmoid", "isotonic"],
    held: OutOfFold,
    classes: tuple[str, ...],
    positive: str | None,
) -> Chosen:
    """Return the calibration by log loss out of fold; ``auto`` keeps raw ones unless worse."""
    # ``auto`` uses the better of sigmoid and isotonic where the 95 % interval of its mean gain,
    # over rows (or groups of them, or runs of neighbours where rows lie in time), lies above zero,
    # and the newest of rows in time gain as well.
    assert held.probability is not None  # noqa: S101 - classes only
    raw, truth = held.probability, held.truth(classes)
    judged = held.judged()
    tried: tuple[Method, ...] = (
        METHODS if wanted == "auto" else () if wanted == "none" else (wanted,)
    )
    if not tried or not judged.any():
        return Chosen(Calibration(), raw, "", {})
    mapped = {method: cross_fitted(method, held, classes) for method in tried}
    before = row_losses(raw, truth)[judged]
    losses = {m: row_losses(p, truth)[judged] for m, p in mapped.items()}
    best = min(tried, key=lambda m: (float(losses[m].mean()), m != "sigmoid"))
    change_of_rows = row_losses(raw, truth) - row_losses(mapped[best], truth)
    better, low, high = held.gain(change_of_rows)
    steady = not held.ordered or held.newest_mean(change_of_rows) > 0
    change = f"{before.mean():.4f} → {losses[best].mean():.4f}"
    half = (high - low) / 2
    ends = f"{number(low, half)} to {number(high, half)}"
    interval = f"gain {number(better, half)}, 95 % interval {ends}, {judged.sum():,} rows"
    if wanted == "auto" and not (low > 0 and steady):
        note = (
            f"probabilities are left as they are: {best} calibration would change the log loss "
            f"{change} ({interval}), "
            + ("within noise or for the worse" if steady else "not on the newest rows")
        )
        return Chosen(Calibration(), raw, note, {"calibration": "none"})
    errors = [_error(p[judged], truth[judged], classes, positive) for p in (raw, mapped[best])]
    note = (
        f"probabilities calibrated by {best}, out of fold: log loss {change} ({interval}), "
        f"calibration error {errors[0]:.4f} → {errors[1]:.4f}"
    )
    params: dict[str, str | float] = {
        "calibration": best,
        "log_loss_before_calibration": round(float(before.mean()), 6),
        "log_loss_after_calibration": round(float(losses[best].mean()), 6),
        "calibration_error_before": round(errors[0], 6),
        "calibration_error_after": round(errors[1], 6),
    }
    return Chosen(fit_calibration(best, raw, truth, classes), mapped[best], note, params)


def _error(
    probability: Floats, truth: Ints, classes: tuple[str, ...], positive: str | None
) -> float:
    labels = np.asarray(classes)
    likeliest = labels[probability.argmax(axis=1)]
    return score("calibration_error", labels[truth], likeliest, probability, classes, positive)
