"""Calibration and decision rule of a fitted classifier, chosen by out-of-fold predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.arrays import Floats, Ints
from tasks.base.errors import KeepfitError
from tasks.base.runtime.files import write_whole
from tasks.base.settings.evaluation import ObjectiveConfig
from tasks.base.training_records import Schema
from tasks.data.column_kinds import target_values
from tasks.data.snapshots import read_frame
from tasks.metrics.scorer import score
from tasks.models.out_of_fold import OutOfFold
from tasks.models.postprocessing.calibration import Calibration, choose_calibration
from tasks.models.postprocessing.cost_matrix import Objective
from tasks.models.postprocessing.decision_thresholds import (
    Decision,
    choose_decision,
    on_holdout,
)
from tasks.models.run_context import BLEND_FILE, ENSEMBLE, FitRun

_FILE = "adjustment.json"


@dataclass(frozen=True)
class Adjustment:
    """Calibration and rule of decision of one candidate."""

    calibration: Calibration = field(default_factory=Calibration)
    decision: Decision = field(default_factory=Decision)
    params: Mapping[str, Any] | None = None
    notes: Mapping[str, str] = field(default_factory=dict)  # on ``calibrated`` and ``decides``
    held: OutOfFold | None = None  # as the adjusted model would have predicted
    scores: tuple[float, ...] | None = None  # of each part, where requested

    def wrap(self, model: Any, classes: tuple[str, ...]) -> Any:
        """Return `model` adjusted; itself where there is nothing to do."""
        decided = self.decision
        costs = decided.costs
        if self.calibration.method == "none" and decided.threshold is None and costs is None:
            return model
        from tasks.models.postprocessing.adjusted_classifier import (
            AdjustedClassifier,
        )  # defers scikit-learn

        if costs is not None:
            seen = [classes.index(str(label)) for label in model.classes_]
            costs = costs[np.ix_(seen, seen)]
        return AdjustedClassifier(
            model,
            self.calibration.method,
            dict(self.calibration.tables or {}),
            self.calibration.floor,
            decided.threshold,
            decided.positive,
            costs,
        )

    def save(self, folder: Path) -> None:
        """Write the parts that a recipe needs, see `adjustment_of`."""
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "calibration": self.calibration.plain(),
            "decision": self.decision.plain(),
            "params": dict(self.params or {}),
            "notes": dict(self.notes),
        }
        write_whole(folder / _FILE, json.dumps(values))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Adjustment:
        """Return a recipe's adjustment; nothing to do where it holds none."""
        if not values:
            return cls()
        return cls(
            Calibration.of(values["calibration"]),
            Decision.of(values["decision"]),
            values["params"],
            # Older recipes have a list without the subject of each note.
            notes if isinstance(notes := values["notes"], dict) else {},
        )


def adjustment_of(folder: Path) -> dict[str, Any]:
    """Return the adjustment that was kept with a candidate, as JSON values; empty without one."""
    path = folder / _FILE
    values: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return values


def asked(run: FitRun) -> bool:
    """Return whether anything is to be adjusted."""
    return run.classification and (
        run.training.calibrate != "none" or objective_of(run) is not None
    )


def objective_of(run: FitRun) -> Objective | None:
    """Return the objective of a run."""
    if isinstance(run.objective, dict):
        return ObjectiveConfig.model_validate(run.objective)
    return run.objective


def adjust(run: FitRun, held: OutOfFold | None) -> Adjustment:
    """Choose calibration and decision by `held`, or take those of the recipe."""
    if run.recipe is not None:
        return Adjustment.of(run.recipe.adjustment)
    if not asked(run) or held is None or held.probability is None:
        return Adjustment(held=held)
    schema, objective = run.schema, objective_of(run)
    classes = schema.classes
    chosen = choose_calibration(run.training.calibrate, held, classes, schema.positive)
    held = held.with_probability(chosen.probability)
    decision = choose_decision(objective, held, schema)
    params = dict(chosen.params)
    if decision.threshold is not None:
        params["threshold"] = round(decision.threshold, 6)
    notes = {"calibrated": chosen.note, "decides": decision.note}
    scores = part_scores(run, held, _decided(held, objective, run))
    return Adjustment(chosen.calibration, decision, params, notes, held, scores)


def _decided(held: OutOfFold, objective: Objective | None, run: FitRun) -> Ints:
    """Return the place of the class each row is decided for, by rules of other parts."""
    assert held.probability is not None  # noqa: S101 - classes only
    places: Ints = held.probability.argmax(axis=1)
    if objective is None:
        return places
    for inside, others in held.turns():
        if len(others):
            rule = choose_decision(objective, held.only(others), run.schema)
            places[inside] = rule.places(held.probability[inside], run.schema.classes)
    return places


def part_scores(run: FitRun, held: OutOfFold, places: Ints | None = None) -> tuple[float, ...]:
    """Return the metric of each part that has one, for the `places` decided or the likeliest."""
    classes, chances = run.schema.classes, held.probability
    truth, predicted = held.y, held.predicted
    if chances is not None:
        labels = np.asarray(classes)
        truth = labels[held.truth(classes)]
        predicted = labels[chances.argmax(axis=1) if places is None else places]
    found = []
    for inside, _ in held.turns():
        part = None if chances is None else chances[inside]
        try:
            value = score(
                run.metric, truth[inside], predicted[inside], part, classes, run.schema.positive,
                own=run.schema.own,
            )  # fmt: skip
        except (KeepfitError, ValueError):
            continue
        if np.isfinite(value):
            found.append(float(value))
    return tuple(found)


@dataclass(frozen=True)
class Told:
    """Parameters and notes, by what they are about, that an adjustment adds to the candidate's."""

    params: dict[str, Any]
    asked: dict[str, tuple[str, ...]]

    @property
    def notes(self) -> tuple[str, ...]:
        """All notes."""
        return tuple(text for texts in self.asked.values() for text in texts)


def keep_adjustment(run: FitRun, name: str, adjustment: Adjustment) -> Told:
    """Keep `adjustment`, after the holdout's predictions, beside the model; return its notes."""
    note, params = told_of_holdout(run, name, adjustment)
    notes: dict[str, tuple[str, ...]] = {
        about: (text,) for about, text in adjustment.notes.items() if text
    }
    if note:
        notes["decides"] = (*notes.get("decides", ()), note)
    found = Told({**(adjustment.params or {}), **params}, notes)
    if adjustment.held is not None:
        adjustment.held.save(run.candidate(name))
    adjustment.save(run.candidate(name))
    return found


def told_of_holdout(run: FitRun, name: str, adjustment: Adjustment) -> tuple[str, dict[str, float]]:
    """Return the decision rule's effect on the holdout, from the kept predictions."""
    objective = objective_of(run)
    if objective is None or not run.classification or run.whole:
        return "", {}
    rows = np.load(run.split.holdout_path)
    y, _ = target_values(
        read_frame(run.snapshot_path, columns=[run.schema.target], rows=rows), run.schema
    )
    with np.load(run.candidate(name) / "holdout.npz", allow_pickle=False) as kept:
        probability = kept["probability"]
    if len(y) != len(probability):
        return "", {}
    everyone = OutOfFold(rows, np.asarray(y), np.asarray(y), probability, np.zeros(len(rows), int))
    truth = everyone.truth(run.schema.classes)
    return on_holdout(objective, adjustment.decision, probability, truth, run.schema)


def as_served(folder: Path, name: str, schema: Schema) -> OutOfFold | None:
    """Return a candidate's out-of-fold predictions as the model that was kept predicts, or None."""
    # Weights, calibration and decision are those of the model, so that it is one model's behaviour
    # over all parts. While candidates were compared, the first part in time had no earlier one to
    # learn weights and calibration from. ``predicted`` is by the model's own rule, classes as text.
    held = OutOfFold.read(folder / name)
    if held is None:
        return None
    adjustment = Adjustment.of(adjustment_of(folder / name))
    first = np.flatnonzero(~held.judged())
    values = held.predicted.copy() if held.probability is None else held.probability.copy()
    if name == ENSEMBLE and len(first):
        values[first] = _remixed(folder, schema, held, first)
    if held.probability is None:
        return replace(held, predicted=values)
    values[first] = adjustment.calibration.apply(values[first], schema.classes)
    places = adjustment.decision.places(values, schema.classes)
    return replace(held, probability=values, predicted=np.asarray(schema.classes)[places])


def _remixed(folder: Path, schema: Schema, held: OutOfFold, rows: Ints) -> Floats:
    """Return the members' predictions of `rows`, weighed as in the ensemble that was kept."""
    weights = json.loads((folder / ENSEMBLE / BLEND_FILE).read_text(encoding="utf-8"))
    total: Any = 0.0
    for name, weight in weights.items():
        if not weight:
            continue
        member = as_served(folder, name, schema)
        if member is None or not member.same_rows(held):
            return np.asarray(held.predicted if held.probability is None else held.probability)[
                rows
            ]
        values = member.predicted if member.probability is None else member.probability
        total = total + weight * values[rows]
    return np.asarray(total, dtype=np.float64)
