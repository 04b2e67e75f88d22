"""From probabilities to decisions: the threshold or the costs that a stated objective asks for.

References
----------
Elkan (2001), The foundations of cost-sensitive learning, section 1: the threshold of least
expected cost of calibrated probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tasks.base.config import ObjectiveConfig
from tasks.base.errors import ConfigError
from tasks.base.records import NUMBERS, Schema
from tasks.models.outoffold import OutOfFold, gain

Floats = NDArray[np.float64]
Objective = ObjectiveConfig | str
Rule = Callable[[Floats, NDArray[np.bool_]], float]
HALF = 0.5


@dataclass(frozen=True)
class Decision:
    """How probabilities become a label; neither threshold nor costs: the likeliest class.

    Attributes
    ----------
    threshold
        The positive label is predicted from this probability on.
    costs
        Shape (n_classes, n_classes): true class in rows, predicted class in columns, in the
        order of the schema's classes.
    """

    threshold: float | None = None
    positive: str | None = None
    costs: Floats | None = None
    note: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        costs = None if self.costs is None else self.costs.tolist()
        return {
            "threshold": self.threshold,
            "positive": self.positive,
            "costs": costs,
            "note": self.note,
        }

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return what `plain` wrote."""
        costs = None if values["costs"] is None else np.asarray(values["costs"], dtype=np.float64)
        return cls(values["threshold"], values["positive"], costs, values["note"])


def decide(
    probability: Floats,
    classes: tuple[str, ...],
    threshold: float | None = None,
    positive: str | None = None,
    costs: Floats | None = None,
) -> NDArray[np.int64]:
    """Return the place of the predicted class of each row.

    Examples
    --------
    >>> p = np.array([[0.7, 0.3], [0.9, 0.1]])
    >>> decide(p, ("no", "yes"), threshold=0.25, positive="yes").tolist()
    [1, 0]
    >>> decide(p, ("no", "yes"), costs=np.array([[0.0, 1.0], [4.0, 0.0]])).tolist()
    [1, 0]
    """
    if costs is not None and costs.shape == (len(classes), len(classes)):
        return np.asarray((probability @ costs).argmin(axis=1))
    if threshold is not None and len(classes) == 2 and positive in classes:
        place = classes.index(positive)
        hit = probability[:, place] >= threshold
        return np.where(hit, place, 1 - place)
    return np.asarray(probability.argmax(axis=1))


def check_objective(objective: Objective | None, schema: Schema) -> None:
    """Refuse an objective that does not suit the target.

    Raises
    ------
    ConfigError
        With the classes there are.
    """
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
    """Return what each decision costs, shape (n_classes, n_classes); None without costs.

    True classes are rows. What a file does not name costs 1, and 0 where it is right.
    """
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


def choose_decision(objective: Objective | None, held: OutOfFold, schema: Schema) -> Decision:
    """Return how to decide, chosen on predictions of training rows out of fold.

    With costs the threshold is the one of calibrated probabilities, fp / (fp + fn), unless
    another costs less out of fold beyond noise. A minimum is held out of fold; new rows may
    fall a little short of it.

    Parameters
    ----------
    held
        With the probabilities that the model will give.
    """
    if objective is None:
        return Decision()
    costs = cost_matrix(objective, schema)
    if schema.task == "multiclass":
        return Decision(costs=costs, note="decides by the least expected cost of `objective`")
    label = positive_of(schema)
    if costs is None:
        return _reached(objective, held, schema)
    place = schema.classes.index(label)
    false_positive = costs[1 - place, place] - costs[1 - place, 1 - place]
    false_negative = costs[place, 1 - place] - costs[place, place]
    stated = float(false_positive / (false_positive + false_negative))
    chance, hit = _chances(held, schema)
    found = cheapest(chance, hit, false_positive, false_negative)
    saved = _saved(held, chance, hit, stated, (false_positive, false_negative))
    empirical = saved is not None and saved > 0
    threshold = found if empirical else stated
    cost = mean_cost(chance >= threshold, hit, false_positive, false_negative)
    half = mean_cost(chance >= HALF, hit, false_positive, false_negative)
    why = "which is cheaper out of fold" if empirical else "that of calibrated probabilities"
    note = (
        f"{label!r} is predicted from a probability of {threshold:.4g} on, {why}, for a false "
        f"positive at {false_positive:g} and a false negative at {false_negative:g}; cost a row "
        f"out of fold {cost:.4f}, with {HALF} {half:.4f}"
    )
    return Decision(threshold, label, note=note)


def _chances(held: OutOfFold, schema: Schema) -> tuple[Floats, NDArray[np.bool_]]:
    assert held.probability is not None  # noqa: S101 - classes only
    place = schema.classes.index(positive_of(schema))
    return held.probability[:, place], held.truth(schema.classes) == place


def _saved(
    held: OutOfFold,
    chance: Floats,
    hit: NDArray[np.bool_],
    stated: float,
    prices: tuple[float, float],
) -> float | None:
    """Return the lower end of what thresholds chosen on other parts save against `stated`."""
    judged = held.judged()
    difference = np.zeros(len(held))
    for inside, others in held.turns():
        if len(others):
            found = cheapest(chance[others], hit[others], *prices)
            before = _costs(chance[inside] >= stated, hit[inside], *prices)
            after = _costs(chance[inside] >= found, hit[inside], *prices)
            difference[inside] = before - after
    if judged.sum() < 2:
        return None
    low = gain(difference[judged], ordered=held.ordered)[1]
    # What drifts may have been so once: the newest rows have to bear it out.
    return min(low, held.newest_mean(difference)) if held.ordered else low


def _costs(
    called: NDArray[np.bool_],
    hit: NDArray[np.bool_],
    false_positive: float,
    false_negative: float,
) -> Floats:
    return np.where(called & ~hit, false_positive, np.where(~called & hit, false_negative, 0.0))


def mean_cost(
    called: NDArray[np.bool_],
    hit: NDArray[np.bool_],
    false_positive: float,
    false_negative: float,
) -> float:
    """Return the mean cost a row of calling rows positive.

    Examples
    --------
    >>> mean_cost(np.array([True, False]), np.array([False, True]), 1.0, 5.0)
    3.0
    """
    return float(_costs(called, hit, false_positive, false_negative).mean())


def _steps(
    chance: Floats, hit: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Return every threshold that tells rows apart, from above all to below all, and its counts.

    A threshold lies half-way between two neighbouring probabilities. The counts are the true and
    the false positives.
    """
    order = np.argsort(-chance, kind="stable")
    ranked, hits = chance[order], hit[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true = np.concatenate([[0], np.cumsum(hits)[ends]])
    false = np.concatenate([[0], np.cumsum(~hits)[ends]])
    between = (ranked[ends[:-1]] + ranked[ends[:-1] + 1]) / 2
    above = np.nextafter(max(ranked[0], 1.0), 2.0)
    return np.concatenate([[above], between, [0.0]]), true, false


def cheapest(
    chance: Floats, hit: NDArray[np.bool_], false_positive: float, false_negative: float
) -> float:
    """Return the threshold of least cost on these rows.

    Examples
    --------
    >>> cheapest(np.array([0.1, 0.2, 0.6, 0.8]), np.array([False, True, False, True]), 1, 5)
    0.15000000000000002
    """
    thresholds, true, false = _steps(chance, hit)
    costs = false * false_positive + (hit.sum() - true) * false_negative
    return float(thresholds[int(costs.argmin())])


def best_f1(chance: Floats, hit: NDArray[np.bool_]) -> float:
    """Return the threshold of the greatest F1 on these rows."""
    thresholds, true, false = _steps(chance, hit)
    return float(thresholds[int((2 * true / np.maximum(1, true + false + hit.sum())).argmax())])


def least_precision(least: float) -> Rule:
    """Return the rule: the most recall with a precision of `least`, else the most precision."""

    def rule(chance: Floats, hit: NDArray[np.bool_]) -> float:
        thresholds, true, false = _steps(chance, hit)
        precision = true / np.maximum(1, true + false)
        able = np.flatnonzero((precision >= least) & (true > 0))
        if len(able):
            return float(thresholds[able[-1]])
        return float(thresholds[int(precision.argmax())])

    return rule


def least_recall(least: float) -> Rule:
    """Return the rule: the most precision with a recall of `least`."""

    def rule(chance: Floats, hit: NDArray[np.bool_]) -> float:
        thresholds, true, false = _steps(chance, hit)
        able = np.flatnonzero(true >= least * hit.sum() - 1e-9)
        precision = true[able] / np.maximum(1, true[able] + false[able])
        return float(thresholds[able[int(precision.argmax())]])

    return rule


def _rule(objective: Objective) -> tuple[Rule, str]:
    if isinstance(objective, str):
        return best_f1, "for the greatest F1"
    if objective.min_precision is not None:
        least = objective.min_precision
        return least_precision(least), f"for the most recall at a precision of {least:g}"
    least = objective.min_recall or 0.0
    return least_recall(least), f"for the most precision at a recall of {least:g}"


def _reached(objective: Objective, held: OutOfFold, schema: Schema) -> Decision:
    rule, words = _rule(objective)
    chance, hit = _chances(held, schema)
    threshold, label = rule(chance, hit), positive_of(schema)
    now, half = rates(chance >= threshold, hit), rates(chance >= HALF, hit)
    least = None if isinstance(objective, str) else objective.min_precision
    missed = " (no threshold reaches it)" if least is not None and now[0] < least else ""
    note = (
        f"{label!r} is predicted from a probability of {threshold:.4g} on, {words}{missed}; out "
        f"of fold {rate_words(now)}; with {HALF} {rate_words(half)}"
    )
    return Decision(threshold, label, note=note)


def rates(called: NDArray[np.bool_], hit: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return precision, recall and F1; 0 where nothing is called or nothing is there."""
    both = int((called & hit).sum())
    precision, recall = both / max(1, int(called.sum())), both / max(1, int(hit.sum()))
    f1 = 2 * both / max(1, int(called.sum()) + int(hit.sum()))
    return precision, recall, f1


def rate_words(found: tuple[float, float, float]) -> str:
    """Return the three rates in words."""
    return f"precision {found[0]:.3f}, recall {found[1]:.3f}, F1 {found[2]:.3f}"


def on_holdout(
    objective: Objective | None,
    decision: Decision,
    probability: Floats,
    truth: NDArray[np.int64],
    schema: Schema,
) -> tuple[str, dict[str, float]]:
    """Return what the decision gives on rows that chose nothing, against the likeliest class."""
    if objective is None or not len(truth):
        return "", {}
    classes = schema.classes
    ours = decide(probability, classes, decision.threshold, decision.positive, decision.costs)
    plain = probability.argmax(axis=1)
    matrix = cost_matrix(objective, schema)
    against = f"with {HALF}" if schema.task == "binary" else "with the likeliest class"
    if matrix is not None:
        cost, other = float(matrix[truth, ours].mean()), float(matrix[truth, plain].mean())
        note = f"cost a row on the holdout {cost:.4f}, {against} {other:.4f}"
        return note, {"holdout_cost": round(cost, 6), "holdout_cost_plain": round(other, 6)}
    place = classes.index(positive_of(schema))
    now, half = (rates(called == place, truth == place) for called in (ours, plain))
    return f"on the holdout {rate_words(now)}; {against} {rate_words(half)}", {}
