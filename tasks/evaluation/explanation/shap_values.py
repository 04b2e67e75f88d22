"""SHAP values: contributions of columns to predictions, and explanations of single rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.base.arrays import Floats, subsample_evenly
from tasks.base.runtime.libraries import pd
from tasks.base.text.numbers import number
from tasks.base.training_records import NUMBERS, Record, Schema
from tasks.evaluation.explanation.tree_shap import Scale, explained
from tasks.models.persistence.prediction import in_order, predict

BACKGROUND_ROWS = 100
MOST_STEPS = 5e9
"""Of all rows together: some five seconds of one core."""
LEAST_ROWS = 30

Outputs = Callable[["pd.DataFrame"], Floats]


class FeatureContribution(Record):
    """Contribution of one column to a prediction: upwards above 0."""

    column: str
    value: str
    push: float


class RowExplanation(Record):
    """Why a model predicts what it does of one row; the greatest pushes come first."""

    # `probability` is that of the class `label`: the positive one, or of more than two the
    # predicted. The `scale` of pushes and `base`, the output for an average row, is ``log-odds of
    # <class>``, ``probability of <class>`` or ``<target>``; of a calibrated model that before the
    # calibration.

    pipeline: str = ""
    version: str = ""
    row: str
    prediction: str
    probability: float | None = None
    label: str = ""
    base: float
    scale: str
    method: str
    pushes: tuple[FeatureContribution, ...]

    def answer(self) -> dict[str, object]:
        """Return the result for `keepfit why --row ID --json`."""
        return self.model_dump(mode="json")


@dataclass(frozen=True)
class Contributions:
    """Contribution of each source column to the trees' output for each row."""

    # `scale` is what they add up to; an output is of the second of two classes, else of each.

    columns: tuple[str, ...]
    values: Floats  # (n_rows, n_columns, n_outputs)
    base: Floats  # (n_outputs,): the output for an average row
    scale: Scale


def contributions(
    pipeline: Any, X: pd.DataFrame, steps: float = MOST_STEPS
) -> Contributions | None:
    """Return the contributions of as many of the first rows as are cheap, or None."""
    # There are none without trees, and where not even one row is cheap: what is, is so many
    # `steps`, see `tree_shap.Explained`.
    encoder, found = pipeline[0], explained(pipeline[-1])
    rows = 0 if found is None else found.rows_within(steps, len(X))
    if found is None or not rows or not hasattr(encoder, "sources_"):
        return None
    raw = found.contributions(encoder.transform(X.iloc[:rows]))
    names = tuple(dict.fromkeys(encoder.sources_))
    places = np.array([names.index(source) for source in encoder.sources_])
    total = np.zeros((rows, len(names), raw.shape[2]))
    for column, place in enumerate(places):
        total[:, place] += raw[:, column]
    return Contributions(names, total, raw[:, -1].mean(axis=0), found.scale)


def summary(pipeline: Any, X: pd.DataFrame) -> tuple[dict[str, float], Scale] | None:
    """Return the mean size of each source column's contribution, greatest first, and its scale."""
    # None without trees, and where so few rows are cheap that a mean would be unreliable.
    found = explained(pipeline[-1])
    if found is None or found.rows_within(MOST_STEPS, len(X)) < min(LEAST_ROWS, len(X)):
        return None
    parts = contributions(pipeline, X)
    if parts is None:
        return None
    sizes = np.abs(parts.values).mean(axis=(0, 2))
    order = np.argsort(-sizes, kind="stable")
    return {parts.columns[k]: float(sizes[k]) for k in order}, parts.scale


def outputs_of(pipeline: Any, schema: Schema, label: str | None) -> Outputs:
    """Return a function of rows: the probability of `label`, or the value of a regression."""

    def of(frame: pd.DataFrame) -> Floats:
        predicted, probability = predict(pipeline, frame)
        if probability is None or label is None:
            return np.asarray(predicted, dtype=np.float64)
        spread = in_order(probability, pipeline[-1].classes_, schema.classes)
        column: Floats = spread[:, schema.classes.index(label)]
        return column

    return of


def looked_at(new: Mapping[str, float], old: Mapping[str, float]) -> str:
    """Return a sentence: what the new model relies on that the old one did not, and the reverse.

    Both map a column to what the metric loses when it is shuffled.

    >>> looked_at({"a": 0.2, "b": 0.1}, {"a": 0.3})
    'The new model looks at b, which the champion did not.'
    """
    if not new or not old:
        return ""
    ours, theirs = _shares(new), _shares(old)
    gained = [c for c, s in ours.items() if s >= 0.05 and theirs.get(c, 0.0) < 0.2 * s]
    lost = [c for c, s in theirs.items() if s >= 0.05 and ours.get(c, 0.0) < 0.2 * s]
    sentences = []
    if gained:
        sentences.append(f"The new model looks at {_few(gained)}, which the champion did not.")
    if lost:
        sentences.append(f"It no longer looks at {_few(lost)}.")
    return " ".join(sentences) or "The new model looks at the same columns as the champion."


def _shares(losses: Mapping[str, float]) -> dict[str, float]:
    positive = {c: max(0.0, v) for c, v in losses.items()}
    total = sum(positive.values()) or 1.0
    return {c: v / total for c, v in positive.items()}


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def explain_frame(
    pipeline: Any, row: pd.DataFrame, background: pd.DataFrame, schema: Schema, name: str
) -> RowExplanation:
    """Return which columns pushed the prediction of one row."""
    # Contributions of trees add up to their raw output. Of other models, each column in turn is
    # replaced by the values it has in at most 100 rows of `background`: the push is the output
    # minus the mean of the outputs then; these do not add up, as columns work together.
    features = list(schema.features)
    row, background = row[features], background[features]
    predicted, probability = predict(pipeline, row)
    label = None
    stated = None
    if probability is not None:
        spread = in_order(probability, pipeline[-1].classes_, schema.classes)[0]
        label = schema.positive if len(schema.classes) == 2 else str(predicted[0])
        label = label or schema.classes[-1]
        stated = float(spread[schema.classes.index(label)])
    base, pushes, scale, method = _pushed(pipeline, row, background, schema, label)
    order = np.argsort(-np.abs(pushes[1]), kind="stable")
    value = predicted[0]
    return RowExplanation(
        row=name,
        prediction=number(float(value)) if schema.task in NUMBERS else str(value),
        probability=stated,
        label=label or "",
        base=base,
        scale=scale,
        method=method,
        pushes=tuple(
            FeatureContribution(
                column=pushes[0][k],
                value=_shown(row[pushes[0][k]].iloc[0]),
                push=float(pushes[1][k]),
            )
            for k in order.tolist()
        ),
    )


def _pushed(
    pipeline: Any, row: pd.DataFrame, background: pd.DataFrame, schema: Schema, label: str | None
) -> tuple[float, tuple[list[str], Floats], str, str]:
    found = contributions(pipeline, row)
    if found is not None:
        outputs_told, k, sign = found.values.shape[2], 0, 1.0
        if label is not None:
            classes = [str(c) for c in pipeline[-1].classes_]
            k = 0 if outputs_told == 1 else classes.index(label)
            # The one output of a binary model is of its last class.
            sign = -1.0 if outputs_told == 1 and classes[-1] != label else 1.0
        base = sign * float(found.base[k])
        if found.scale == "probability" and sign < 0:
            base += 1.0
        scale = schema.target if label is None else f"{found.scale} of {label}"
        if found.scale == "log-odds" and outputs_told > 1:
            scale = f"raw score of {label}"
        if getattr(pipeline[-1], "method", "none") != "none":
            scale += " before calibration"
        columns = (list(found.columns), sign * found.values[0, :, k])
        return base, columns, scale, "contributions"
    outputs = outputs_of(pipeline, schema, label)
    others = background.iloc[subsample_evenly(len(background), BACKGROUND_ROWS)]
    others = others.reset_index(drop=True)
    own = float(outputs(row)[0])
    names = list(row.columns)
    repeated = row.loc[row.index.repeat(len(others))].reset_index(drop=True)
    pushes = np.array(
        [own - float(outputs(repeated.assign(**{c: others[c]})).mean()) for c in names]
    )
    scale = schema.target if label is None else f"probability of {label}"
    return float(outputs(others).mean()), (names, pushes), scale, "replacement"


def _shown(value: object) -> str:
    if value is None or value != value:
        return "(null)"
    return number(float(value)) if isinstance(value, float | np.floating) else str(value)
