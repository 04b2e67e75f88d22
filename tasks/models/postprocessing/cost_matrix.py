"""Cost matrix of a configured objective, checked against the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.base.arrays import Floats
from tasks.base.errors import ConfigError
from tasks.base.settings.evaluation import ObjectiveConfig
from tasks.base.training_records import NUMBERS, Schema

Objective = ObjectiveConfig | str


def check_objective(objective: Objective | None, schema: Schema) -> None:
    """Refuse an objective that does not suit the target."""
    if objective is None:
        return
    if schema.task in NUMBERS:
        raise ConfigError("`objective` is about classes; the target is a number.")
    cost = None if isinstance(objective, str) else objective.cost
    nested = cost is not None and any(isinstance(row, dict) for row in cost.values())
    if schema.task == "multiclass" and not nested:
        raise ConfigError(
            "With more than two classes `objective` is a cost for each true class: "
            "{cost: {TRUE: {PREDICTED: 2}}}; what is not named costs 1.",
            f"The classes: {', '.join(schema.classes[:12])}.",
        )
    if nested:
        _check_names(cost or {}, schema.classes)
        matrix = cost_matrix(objective, schema)
        if matrix is not None and (matrix.diagonal() >= _dearest(matrix)).any():
            raise ConfigError("`objective.cost`: to be right must cost less than to be wrong.")


def _dearest(matrix: Floats) -> Floats:
    wrong = np.where(np.eye(len(matrix), dtype=bool), -np.inf, matrix)
    return np.asarray(wrong.max(axis=1))


def _check_names(cost: Mapping[str, Any], classes: tuple[str, ...]) -> None:
    named = [*cost, *(label for row in cost.values() for label in row)]
    for label in named:
        if label not in classes:
            raise ConfigError(
                f"`objective.cost` names {label!r}, which is no class of the target.",
                f"The classes: {', '.join(classes[:12])}.",
            )


def cost_matrix(objective: Objective | None, schema: Schema) -> Floats | None:
    """Return the cost of each decision, shape (n_classes, n_classes); None without costs."""
    # True classes are rows. What a file does not name costs 1, and 0 where it is right.
    if objective is None or isinstance(objective, str) or objective.cost is None:
        return None
    cost, classes = objective.cost, schema.classes
    matrix = 1.0 - np.eye(len(classes))
    prices = [v for v in cost.values() if not isinstance(v, dict)]
    if prices:
        place = classes.index(positive_of(schema))
        false_positive, false_negative = cost["false_positive"], cost["false_negative"]
        assert isinstance(false_positive, float)  # noqa: S101 - the configuration's check
        assert isinstance(false_negative, float)  # noqa: S101
        matrix[1 - place, place], matrix[place, 1 - place] = false_positive, false_negative
        return matrix
    for truth, row in cost.items():
        for predicted, value in row.items() if isinstance(row, dict) else ():
            matrix[classes.index(truth), classes.index(predicted)] = value
    return matrix


def positive_of(schema: Schema) -> str:
    """Return the positive label of a binary task."""
    return schema.positive if schema.positive is not None else schema.classes[-1]
