"""Search spaces of the candidates: values that overrides in a file are checked with; light."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import inf
from typing import Any, Literal

Value = str | int | float

NO_WEIGHT = "none"
_LAYERS = re.compile(r"^[1-9]\d{0,3}(,[1-9]\d{0,3}){0,4}$")


@dataclass(frozen=True)
class Space:
    """One hyperparameter and where it is searched."""

    name: str
    low: float = 0.0  # low, high: both included
    high: float = 0.0
    log: bool = False  # whether it is drawn evenly in its logarithm
    choices: tuple[Value, ...] = ()  # instead of an interval
    whole: bool = False  # whether it is a whole number
    least: float = 0.0  # least, most: what the model allows; a file may not go beyond
    most: float = inf
    # Of target, where it is searched at all.
    kind: Literal["any", "classification", "regression"] = "any"
    start: Value | None = None  # the value without tuning, where the estimator does not state it

    def applies(self, *, classification: bool) -> bool:
        """Whether it is searched for such a target."""
        return self.kind in ("any", "classification" if classification else "regression")

    def nearest(self, value: Any) -> Value | None:
        """Return the value of the space nearest to `value`; None where there is none."""
        if self.choices:
            return next((c for c in self.choices if c == value), None)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        inside = min(max(float(value), self.low), self.high)
        return round(inside) if self.whole else inside


def _weights() -> Space:
    return Space("class_weight", choices=(NO_WEIGHT, "balanced"), kind="classification")


SPACES: dict[str, tuple[Space, ...]] = {
    "logistic_regression": (
        Space("C", 1e-4, 100.0, log=True, kind="classification"),
        Space("alpha", 1e-3, 1e5, log=True, kind="regression", start=1.0),
        _weights(),
    ),
    "decision_tree": (
        Space("min_samples_leaf", 1, 500, log=True, whole=True, least=1),
        Space("max_features", 0.1, 1.0, most=1.0, start=1.0),
        Space("criterion", choices=("gini", "log_loss"), kind="classification"),
        _weights(),
    ),
    "random_forest": (
        Space("min_samples_leaf", 1, 50, log=True, whole=True, least=1),
        Space("max_features", 0.05, 1.0, most=1.0),
        Space("criterion", choices=("gini", "log_loss"), kind="classification"),
        _weights(),
    ),
    "svm": (
        Space("C", 0.03, 30.0, log=True),
        Space("gamma_scale", 0.03, 10.0, log=True, start=1.0),
        _weights(),
    ),
    "mlp": (
        Space("hidden_layer_sizes", choices=("32", "64,32", "128,64", "128,128", "256,128")),
        Space("alpha", 1e-6, 1.0, log=True),
        Space("learning_rate_init", 2e-4, 1e-2, log=True, most=1.0),
        Space("batch_size", 32, 512, log=True, whole=True, least=1),
        Space("patience", 3, 24, log=True, whole=True, least=1),
        _weights(),
    ),
    "lightgbm": (
        Space("learning_rate", 0.02, 0.3, log=True, most=1.0),
        Space("num_leaves", 4, 256, log=True, whole=True, least=2, most=131_072),
        Space("min_child_samples", 2, 200, log=True, whole=True, least=1),
        Space("subsample", 0.4, 1.0, most=1.0),
        Space("colsample_bytree", 0.2, 1.0, most=1.0),
        Space("reg_alpha", 1e-4, 10.0, log=True),
        Space("reg_lambda", 1e-3, 100.0, log=True),
        Space("stopping_rounds", 10, 100, log=True, whole=True, least=1, start=30),
        _weights(),
    ),
}
"""Candidate to what is searched of it.

``gamma_scale`` multiplies the width that scikit-learn chooses itself; ``stopping_rounds`` and
``patience`` is the number of rounds without a better loss after which a learner stops.
"""


def spaces_of(
    candidate: str,
    overrides: Mapping[str, Mapping[str, Any]],
    *,
    classification: bool,
    class_weight: str | None = None,
) -> tuple[Space, ...]:
    """Return the search spaces of `candidate`; a plugin estimator has those of the file alone.

    `overrides`: hyperparameter to ``low``, ``high``, ``log`` or ``choices``, as the file has them;
    a `class_weight` that the file states is not searched.

    >>> [s.name for s in spaces_of("logistic_regression", {}, classification=False)]
    ['alpha']
    """
    if candidate not in SPACES:
        return tuple(_own_space(name, given) for name, given in overrides.items())
    searched = [s for s in SPACES[candidate] if s.applies(classification=classification)]
    if class_weight is not None:
        searched = [s for s in searched if s.name != "class_weight"]
    return tuple(_overridden(s, overrides.get(s.name)) for s in searched)


def _own_space(name: str, given: Mapping[str, Any]) -> Space:
    """Return the search range of a plugin estimator's argument; integers between integer ends."""
    if given.get("choices"):
        return Space(name, choices=tuple(given["choices"]), least=-inf)
    low, high = given["low"], given["high"]
    whole = isinstance(low, int) and isinstance(high, int)
    return Space(name, low, high, log=bool(given["log"]), whole=whole, least=-inf)


def _overridden(space: Space, given: Mapping[str, Any] | None) -> Space:
    if given is None:
        return space
    if given.get("choices"):
        return replace(space, choices=tuple(given["choices"]))
    low, high = given["low"], given["high"]
    return replace(space, low=low, high=high, log=bool(given["log"]), choices=())


def fault_of(
    candidate: str, name: str, low: float | None, high: float | None, choices: Sequence[Value]
) -> str | None:
    """Return the fault of an overridden space, or None.

    >>> fault_of("lightgbm", "num_leafs", 4, 8, ())[:59]
    'lightgbm has no hyperparameter `num_leafs`; did you mean `n'
    >>> fault_of("lightgbm", "subsample", 0.5, 1.0, ())
    """
    known = {space.name: space for space in SPACES[candidate]}
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else "."
        return f"{candidate} has no hyperparameter `{name}`{hint} Searched: {', '.join(known)}"
    space = known[name]
    values = [*choices, *(v for v in (low, high) if v is not None)]
    if space.choices:
        return _fault_of_choice(space, values, interval=low is not None)
    for value in values:
        fault = _fault_of_number(space, value)
        if fault:
            return fault
    return None


def _fault_of_choice(space: Space, values: Sequence[Value], *, interval: bool) -> str | None:
    if interval:
        return f"`{space.name}` needs `choices`, such as {', '.join(map(str, space.choices))}"
    for value in values:
        if space.name == "hidden_layer_sizes":
            if not _LAYERS.match(str(value)):
                return f"{value!r} is no list of layer sizes such as '64,32'"
        elif value not in space.choices:
            near = get_close_matches(str(value), map(str, space.choices), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return (
                f"`{space.name}` is one of {', '.join(map(str, space.choices))}; "
                f"got {value!r}{hint}"
            )
    return None


def _fault_of_number(space: Space, value: Value) -> str | None:
    if isinstance(value, str | bool):
        return f"`{space.name}` is a number; got {value!r}"
    if space.whole and value != int(value):
        return f"`{space.name}` is a whole number; got {value:g}"
    if value < space.least or value > space.most or (value == 0 and not space.whole):
        top = f" and at most {space.most:g}" if space.most < inf else ""
        least = f"at least {space.least:g}" if space.least > 0 else "more than 0"
        return f"`{space.name}` has to be {least}{top}; got {value:g}"
    return None


def untuned_values(spaces: Sequence[Space], estimator: Any, columns: int) -> dict[str, Value]:
    """Return the values of `spaces` without tuning, some relative to the matrix's `columns`."""
    params: dict[str, Any] = dict(estimator.get_params())
    for name, value in estimator.get_params().items():
        params.setdefault(name.rpartition("__")[2], value)
    values = {space.name: _plain(space, params.get(space.name), columns) for space in spaces}
    return {name: value for name, value in values.items() if value is not None}


def _plain(space: Space, value: Any, columns: int) -> Value | None:
    if space.start is not None and not isinstance(value, int | float):
        return space.start
    if space.name == "class_weight":
        return NO_WEIGHT if value is None else str(value)
    if value == "sqrt":
        return float(round(max(1, columns) ** -0.5, 6))
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    plain: Value | None = value if isinstance(value, str | int | float) else None
    return plain
