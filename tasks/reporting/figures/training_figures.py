"""The figures of a training, each with what it lets a person conclude."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Floats
from tasks.base.runtime.files import write_whole
from tasks.base.runtime.libraries import mpl
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text.numbers import number
from tasks.base.training_records import Evaluation, LeaderboardRow, Picture, Schema
from tasks.evaluation.explanation.permutation_importance import Importance
from tasks.metrics.paired_bootstrap import Predictions
from tasks.reporting.figures import diagrams, style
from tasks.reporting.figures.curve_data import (
    Calibration,
    Ranking,
    Residuals,
    calibration,
    precision_recall_curves,
    residuals,
    roc_curves,
)


@dataclass(frozen=True)
class Drawing:
    """A figure with its words."""

    name: str  # of the file, unique in a training
    title: str
    caption: str  # what to conclude from it
    figure: mpl.figure.Figure

    @cached_property
    def svg(self) -> str:
        """Return it as an SVG element for a light or a dark page."""
        return style.to_svg(self.figure, self.name, f"{self.title}. {self.caption}")


def diagnose(
    y_true: ArrayLike, model: Predictions, schema: Schema, evaluation: Evaluation
) -> tuple[Drawing, ...]:
    """Return the figures of one candidate's predictions of the holdout."""
    # Classification: confusion matrix and, with probabilities, ROC, precision-recall and
    # calibration, before and after where the model is calibrated. Regression: predicted against
    # observed values, and residuals.
    probability = model.probability
    if not schema.classes:
        record = residuals(y_true, model.predicted)
        return () if record is None else _of_values(record)
    found = [_confusion(evaluation, schema)]
    if probability is not None and len(probability) and np.isfinite(probability).all():
        curves = roc_curves(y_true, probability, schema)
        if curves.lines:
            found.append(_roc(curves))
            found.append(_precision_recall(precision_recall_curves(y_true, probability, schema)))
        raw = model.uncalibrated
        before = None if raw is None else calibration(y_true, raw, schema)
        found.append(_calibration(calibration(y_true, probability, schema), before))
    return tuple(found)


def _confusion(evaluation: Evaluation, schema: Schema) -> Drawing:
    classes = schema.classes
    cells = np.asarray(evaluation.confusion, dtype=np.float64).reshape(len(classes), -1)
    if len(classes) == 2:
        caption = _binary_confusion(cells, schema)
    else:
        wrong = cells - np.diag(np.diag(cells))
        i, j = np.unravel_index(int(wrong.argmax()), wrong.shape)
        caption = f"{np.trace(cells) / max(1.0, cells.sum()):.1%} of the rows are right."
        if wrong[i, j]:
            caption += (
                f" The commonest mistake: {classes[i]} taken for {classes[j]}, "
                f"{wrong[i, j]:,.0f} times."
            )
    figure = diagrams.confusion_matrix(evaluation.confusion, classes)
    title = "Confusion matrix" if len(classes) <= diagrams.MOST_CLASSES else "Commonest confusions"
    return Drawing("confusion_matrix", title, caption, figure)


def _binary_confusion(cells: Floats, schema: Schema) -> str:
    k = schema.classes.index(schema.positive or schema.classes[-1])
    found, claimed, actual = cells[k, k], cells[:, k].sum(), cells[k].sum()
    label = schema.classes[k]
    if not actual:
        return f"No row of the holdout is {label}."
    text = f"Of the {actual:,.0f} rows that are {label} it finds {found / actual:.1%}"
    if not claimed:
        return f"{text}; it never predicts {label}."
    return f"{text}; when it predicts {label} it is right {found / claimed:.1%} of the time."


def _roc(curves: Ranking) -> Drawing:
    area = float(np.mean([line.area for line in curves.lines]))
    caption = (
        f"A random row of the class gets a higher score than a random other row {area:.1%} of "
        "the time. The dashed diagonal is guessing."
    )
    return Drawing("roc", "ROC curve", caption, diagrams.roc(curves))


def _precision_recall(curves: Ranking) -> Drawing:
    area = float(np.mean([line.area for line in curves.lines]))
    caption = f"Average precision {area:.3f}"
    if curves.chance is not None:
        caption += f", where guessing gives {curves.chance:.3f}, the dashed line"
    caption += ". Finding more of a class (to the right) costs false alarms (down)."
    figure = diagrams.precision_recall(curves)
    return Drawing("precision_recall", "Precision and recall", caption, figure)


def _calibration(record: Calibration, before: Calibration | None) -> Drawing:
    caption = f"Stated probabilities are off by {record.error * 100:.1f} points on average"
    if abs(record.excess) > 0.5 * record.error and record.error > 0.005:
        caption += ", mostly too high" if record.excess > 0 else ", mostly too low"
    if before is not None:
        caption += (
            f"; without the calibration, which was chosen on other rows, by "
            f"{before.error * 100:.1f} (orange)"
        )
    caption += ". On the dashed diagonal, what is stated comes true as often as it is stated."
    figure = diagrams.reliability(record, before)
    title = "Calibration" if before is None else "Calibration, before and after"
    return Drawing("calibration", title, caption, figure)


def _of_values(record: Residuals) -> tuple[Drawing, ...]:
    lean = "above" if record.mean > 0 else "below"
    return (
        Drawing(
            "predicted_observed",
            "Predicted and observed",
            "A perfect model puts every point on the dashed line. "
            f"Half of the predictions lie within {number(record.half)} of what was observed.",
            diagrams.predicted_observed(record),
        ),
        Drawing(
            "residuals",
            "Residuals",
            f"Observed values lie {number(abs(record.mean))} {lean} the predicted ones on average; "
            "a long tail to one side is what the model misses.",
            diagrams.residual_histogram(record),
        ),
    )


def draw_importance(record: Importance) -> Drawing | None:
    """Return the figure of the importances; None where no column could be tried."""
    if not record.columns:
        return None
    top = record.columns[0]
    idle = sum(c.low <= 0 for c in record.columns)
    if top.low > 0:
        cost = number(top.loss, top.high - top.low)
        caption = f"{top.column} matters most: shuffling it costs {cost} in {record.metric}."
    else:
        caption = "No single column is shown to matter by itself."
    if idle and top.low > 0:
        many = f"{idle} columns are" if idle > 1 else "1 column is"
        caption += f" {many} not shown to matter; redundant columns hide each other."
    if record.left_out:
        tried = "column was" if len(record.left_out) == 1 else "columns were"
        caption += f" {len(record.left_out)} further {tried} not tried."
    return Drawing("importance", "What it relies on", caption, diagrams.importances(record))


def draw_leaderboard(
    rows: Sequence[LeaderboardRow], metric: str, challenger: str
) -> Drawing | None:
    """Return the figure of the leaderboard; None where no candidate has a score."""
    if not any(row.holdout is not None for row in rows):
        return None
    better = "right" if greater_is_better(metric) else "left"
    caption = (
        f"Better lies to the {better}. Where two bars overlap widely, these rows cannot rank the "
        "candidates; the challenger was chosen in cross-validation, not here."
    )
    shown = diagrams.comparable(rows)
    for row in rows:
        if row.holdout is not None and row not in shown:
            caption += f" The {row.candidate}, at {number(row.holdout)}, lies far off this scale."
    figure = diagrams.leaderboard(rows, metric, challenger)
    return Drawing("leaderboard", "Candidates on the holdout", caption, figure)


def draw_learning(
    candidate: str, curves: Mapping[str, Sequence[float]], of: str = ""
) -> tuple[Drawing, ...]:
    """Return the curves of an iterative candidate, one figure for each loss or score."""
    # Those of one loss, on rows learnt from and on rows set aside, share a figure; `of` is which
    # fit they are of, where it is not the one that was kept.
    losses: dict[str, dict[str, Floats]] = {}
    for name, values in curves.items():
        part, _, loss = name.partition("_")
        y = np.asarray(values, dtype=np.float64)
        if len(y) and np.isfinite(y).all():
            losses.setdefault(loss, {})[part] = y
    watched = [(loss, parts) for loss, parts in losses.items() if "validation" in parts]
    return tuple(
        Drawing(
            f"learning_{candidate}" + (f"_{place}" if place else ""),
            f"Learning of {candidate}",
            _learning_caption(loss, parts, of),
            diagrams.learning(loss, parts, _cut(loss, parts["validation"])),
        )
        for place, (loss, parts) in enumerate(watched)
    )


def _learning_caption(loss: str, parts: Mapping[str, Floats], of: str) -> str:
    y = parts["validation"]
    best = _best(loss, y)
    name = f"{loss.replace('_', ' ')} on rows set aside"
    if _cut(loss, y) is None:
        caption = (
            f"The {name} was still improving, or flat, when it stopped after {len(y):,} "
            "iterations: more of them may help."
        )
    elif of:
        caption = f"The {name} is best at iteration {best:,} of {len(y):,} (the dashed line)."
    else:
        caption = (
            f"The {name} is best at iteration {best:,} of {len(y):,}, where early stopping cut "
            "(the dashed line); what follows is overfitting, and is not in the model."
        )
    if "training" in parts and best <= len(parts["training"]):
        caption += (
            f" There it is {number(float(y[best - 1]))}, and "
            f"{number(float(parts['training'][best - 1]))} on rows that are learnt from."
        )
    return f"{caption} Drawn of {of}." if of else caption


def _best(loss: str, y: Floats) -> int:
    """Return the iteration, from 1 on, at which a curve is best: a loss lowest, NDCG highest."""
    return int(y.argmax() if loss.startswith("ndcg") else y.argmin()) + 1


def _cut(loss: str, y: Floats) -> int | None:
    """Return the best iteration of a curve; None where it is the last one, or nearly."""
    best = _best(loss, y)
    return best if best < len(y) - 1 else None


def pictures(drawings: Sequence[Drawing], files: Mapping[str, str]) -> tuple[Picture, ...]:
    """Return drawings as a report holds them."""
    return tuple(
        Picture(name=d.name, title=d.title, caption=d.caption, svg=d.svg, file=files[d.name])
        for d in drawings
    )


def save_figures(drawings: Sequence[Drawing], folder: Path) -> dict[str, str]:
    """Write each figure as SVG into `folder` and return name to path."""
    paths = {}
    for drawn in drawings:
        path = folder / f"{drawn.name}.svg"
        write_whole(path, style.as_file(drawn.svg))
        paths[drawn.name] = str(path)
    return paths
