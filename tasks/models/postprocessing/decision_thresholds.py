"""From probabilities to decisions: the threshold or the costs of a stated objective.

Source: Elkan (2001), The foundations of cost-sensitive learning, section 1: the threshold of least
expected cost of calibrated probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tasks.base.arrays import Floats, Ints, Mask
from tasks.base.training_records import Schema
from tasks.models.out_of_fold import OutOfFold
from tasks.models.postprocessing.cost_matrix import Objective, cost_matrix, positive_of

HALF = 0.5


@dataclass(frozen=True)
class Decision:
    """Decision rule by probabilities; without threshold and costs: the likeliest class."""

    # `costs` have the shape (n_classes, n_classes): true class in rows, predicted class in columns,
    # in the order of the schema's classes.

    threshold: float | None = None  # of the positive label
    positive: str | None = None
    costs: Floats | None = None
    note: str = ""

    def places(self, probability: Floats, classes: tuple[str, ...]) -> Ints:
        """Return the place of the predicted class of each row."""
        return decide(probability, classes, self.threshold, self.positive, self.costs)

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
        """Return the object from the values of `plain`."""
        costs = None if values["costs"] is None else np.asarray(values["costs"], dtype=np.float64)
        return cls(values["threshold"], values["positive"], costs, values["note"])


def decide(
    probability: Floats,
    classes: tuple[str, ...],
    threshold: float | None = None,
    positive: str | None = None,
    costs: Floats | None = None,
) -> Ints:
    """Return the place of the predicted class of each row.

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


def choose_decision(objective: Objective | None, held: OutOfFold, schema: Schema) -> Decision:
    """Return the decision rule, chosen on the model's predictions of training rows out of fold."""
    # With costs the threshold is the one of calibrated probabilities, fp / (fp + fn), unless
    # another costs less out of fold beyond noise. A minimum is held out of fold; new rows may fall
    # a little short of it.
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
        f"out of fold {cost:.4f}, against {half:.4f} at {HALF}"
    )
    return Decision(threshold, label, note=note)


def _chances(held: OutOfFold, schema: Schema) -> tuple[Floats, Mask]:
    assert held.probability is not None  # noqa: S101 - classes only
    place = schema.classes.index(positive_of(schema))
    return held.probability[:, place], held.truth(schema.classes) == place


def _saved(
    held: OutOfFold, chance: Floats, hit: Mask, stated: float, prices: tuple[float, float]
) -> float | None:
    """Return the lower end of what thresholds chosen on other parts save against `stated`."""
    difference = np.zeros(len(held))
    for inside, others in held.turns():
        if len(others):
            found = cheapest(chance[others], hit[others], *prices)
            before = costs_of(chance[inside] >= stated, hit[inside], *prices)
            after = costs_of(chance[inside] >= found, hit[inside], *prices)
            difference[inside] = before - after
    if held.judged().sum() < 2:
        return None
    low = held.gain(difference)[1]
    # What drifts may have been so once: the newest rows have to bear it out.
    return min(low, held.newest_mean(difference)) if held.ordered else low


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
        f"of fold {rate_words(now)}; at {HALF} {rate_words(half)}"
    )
    return Decision(threshold, label, note=note)


def on_holdout(
    objective: Objective | None,
    decision: Decision,
    probability: Floats,
    truth: Ints,
    schema: Schema,
) -> tuple[str, dict[str, float]]:
    """Return the rule's effect on rows not used for the choice, against the likeliest class."""
    if objective is None or not len(truth):
        return "", {}
    classes = schema.classes
    ours = decision.places(probability, classes)
    plain = probability.argmax(axis=1)
    matrix = cost_matrix(objective, schema)
    against = f"at {HALF}" if schema.task == "binary" else "with the likeliest class"
    if matrix is not None:
        cost, other = float(matrix[truth, ours].mean()), float(matrix[truth, plain].mean())
        note = f"cost a row on the holdout {cost:.4f}, against {other:.4f} {against}"
        return note, {"holdout_cost": round(cost, 6), "holdout_cost_plain": round(other, 6)}
    place = classes.index(positive_of(schema))
    now, half = (rates(called == place, truth == place) for called in (ours, plain))
    return f"on the holdout {rate_words(now)}; {against} {rate_words(half)}", {}


Rule = Callable[[Floats, Mask], float]


def costs_of(called: Mask, hit: Mask, false_positive: float, false_negative: float) -> Floats:
    """Return the cost of each row."""
    return np.where(called & ~hit, false_positive, np.where(~called & hit, false_negative, 0.0))


def mean_cost(called: Mask, hit: Mask, false_positive: float, false_negative: float) -> float:
    """Return the mean cost a row of calling rows positive.

    >>> mean_cost(np.array([True, False]), np.array([False, True]), 1.0, 5.0)
    3.0
    """
    return float(costs_of(called, hit, false_positive, false_negative).mean())


def _steps(chance: Floats, hit: Mask) -> tuple[Floats, Ints, Ints]:
    """Return every threshold half-way between two probabilities; its true and false positives."""
    order = np.argsort(-chance, kind="stable")
    ranked, hits = chance[order], hit[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true = np.concatenate([[0], np.cumsum(hits)[ends]])
    false = np.concatenate([[0], np.cumsum(~hits)[ends]])
    between = (ranked[ends[:-1]] + ranked[ends[:-1] + 1]) / 2
    above = np.nextafter(max(ranked[0], 1.0), 2.0)
    return np.concatenate([[above], between, [0.0]]), true, false


def cheapest(chance: Floats, hit: Mask, false_positive: float, false_negative: float) -> float:
    """Return the threshold of least cost on these rows.

    >>> cheapest(np.array([0.1, 0.2, 0.6, 0.8]), np.array([False, True, False, True]), 1, 5)
    0.15000000000000002
    """
    thresholds, true, false = _steps(chance, hit)
    costs = false * false_positive + (hit.sum() - true) * false_negative
    return float(thresholds[int(costs.argmin())])


def best_f1(chance: Floats, hit: Mask) -> float:
    """Return the threshold of the greatest F1 on these rows."""
    thresholds, true, false = _steps(chance, hit)
    return float(thresholds[int((2 * true / np.maximum(1, true + false + hit.sum())).argmax())])


def least_precision(least: float) -> Rule:
    """Return the rule: the most recall with a precision of `least`, else the most precision."""

    def rule(chance: Floats, hit: Mask) -> float:
        thresholds, true, false = _steps(chance, hit)
        precision = true / np.maximum(1, true + false)
        able = np.flatnonzero((precision >= least) & (true > 0))
        if len(able):
            return float(thresholds[able[-1]])
        return float(thresholds[int(precision.argmax())])

    return rule


def least_recall(least: float) -> Rule:
    """Return the rule: the most precision with a recall of `least`."""

    def rule(chance: Floats, hit: Mask) -> float:
        thresholds, true, false = _steps(chance, hit)
        able = np.flatnonzero(true >= least * hit.sum() - 1e-9)
        precision = true[able] / np.maximum(1, true[able] + false[able])
        return float(thresholds[able[int(precision.argmax())]])

    return rule


def rates(called: Mask, hit: Mask) -> tuple[float, float, float]:
    """Return precision, recall and F1; 0 where nothing is called or nothing is there."""
    both = int((called & hit).sum())
    precision, recall = both / max(1, int(called.sum())), both / max(1, int(hit.sum()))
    f1 = 2 * both / max(1, int(called.sum()) + int(hit.sum()))
    return precision, recall, f1


def rate_words(found: tuple[float, float, float]) -> str:
    """Return the three rates in words."""
    return f"precision {found[0]:.3f}, recall {found[1]:.3f}, F1 {found[2]:.3f}"
