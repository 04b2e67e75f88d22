"""What a model looks at: contributions of columns, and one row explained.

References
----------
Lundberg and others (2020), From local explanations to global understanding with explainable AI
for trees, Nature Machine Intelligence 2: the contributions that LightGBM computes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.records import NUMBERS, Record, Schema
from tasks.evaluation.bootstrap import Floats
from tasks.evaluation.words import number

if TYPE_CHECKING:
    import pandas as pd

BACKGROUND_ROWS = 100

Outputs = Callable[["pd.DataFrame"], Floats]


class Push(Record):
    """What one column did to a prediction: upwards above 0."""

    column: str
    value: str
    push: float


class RowExplanation(Record):
    """Why a model predicts what it does of one row.

    Attributes
    ----------
    base
        What it says of an average row, on the scale of the pushes.
    scale
        ``log-odds of <class>``, ``probability of <class>`` or ``<target>``.
    pushes
        The greatest first.
    """

    pipeline: str = ""
    version: str = ""
    row: str
    prediction: str
    probability: float | None = None
    base: float
    scale: str
    method: str
    pushes: tuple[Push, ...]

    def answer(self) -> dict[str, object]:
        """Return what `keepfit why --row ID --json` prints."""
        return self.model_dump(mode="json")


def booster_of(model: Any) -> Any | None:
    """Return LightGBM's booster of the last step of a pipeline, below any calibration."""
    for _ in range(3):
        if hasattr(model, "booster_"):
            return model.booster_
        inner = getattr(model, "estimator", None)
        if inner is None:
            return None
        model = inner
    return None


def contributions(pipeline: Any, X: pd.DataFrame) -> tuple[list[str], Floats, Floats] | None:
    """Return what each source column adds to LightGBM's raw output of each row.

    Returns
    -------
    tuple or None
        Source columns; contributions of shape (n_rows, n_columns, n_outputs); the base of shape
        (n_outputs,). Outputs are log-odds, of each class where there are more than two. None for
        another kind of model.
    """
    encoder = pipeline[0]
    booster = booster_of(pipeline[-1])
    if booster is None:
        return None
    matrix = encoder.transform(X)
    raw = np.asarray(booster.predict(matrix, pred_contrib=True), dtype=np.float64)
    width = len(encoder.outputs_) + 1
    raw = raw.reshape(len(X), -1, width).transpose(0, 2, 1)
    names = list(dict.fromkeys(encoder.sources_))
    places = np.array([names.index(source) for source in encoder.sources_])
    total = np.zeros((len(X), len(names), raw.shape[2]))
    for place in range(width - 1):
        total[:, places[place]] += raw[:, place]
    return names, total, raw[:, -1].mean(axis=0)


def summary(pipeline: Any, X: pd.DataFrame) -> dict[str, float]:
    """Return the mean size of each source column's contribution, the greatest first."""
    found = contributions(pipeline, X)
    if found is None:
        return {}
    names, values, _ = found
    sizes = np.abs(values).mean(axis=(0, 2))
    order = np.argsort(-sizes, kind="stable")
    return {names[k]: float(sizes[k]) for k in order}


def outputs_of(pipeline: Any, schema: Schema, label: str | None) -> Outputs:
    """Return a function of rows: the probability of `label`, or the value of a regression."""
    from tasks.models.prediction import in_order, predict

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

    Parameters
    ----------
    new, old
        Column to what the metric loses when it is shuffled.

    Examples
    --------
    >>> looked_at({"a": 0.2, "b": 0.1}, {"a": 0.3})
    'The new model looks at b, which the champion did not.'
    """
    if not new or not old:
        return ""
    ours, theirs = _shares(new), _shares(old)
    gained = [c for c, s in ours.items() if s >= 0.05 and theirs.get(c, 0.0) < 0.2 * s]
    lost = [c for c, s in theirs.items() if s >= 0.05 and ours.get(c, 0.0) < 0.2 * s]
    said = []
    if gained:
        said.append(f"The new model looks at {_few(gained)}, which the champion did not.")
    if lost:
        said.append(f"It no longer looks at {_few(lost)}.")
    return " ".join(said) or "The new model looks at the same columns as the champion."


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
    """Return which columns pushed the prediction of one row.

    LightGBM's contributions add up to its raw output. Of other models, each column in turn is
    replaced by the values it has in other rows: the push is the output minus the mean of the
    outputs then; these do not add up, as columns work together.

    Parameters
    ----------
    row
        One row with the schema's features.
    background
        Other rows; at most 100 are used.
    """
    from tasks.models.prediction import in_order, predict

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
        base=base,
        scale=scale,
        method=method,
        pushes=tuple(
            Push(
                column=pushes[0][k],
                value=_shown(row[pushes[0][k]].iloc[0]),
                push=float(pushes[1][k]),
            )
            for k in order.tolist()
        ),
    )


def _pushed(
    pipeline: Any,
    row: pd.DataFrame,
    background: pd.DataFrame,
    schema: Schema,
    label: str | None,
) -> tuple[float, tuple[list[str], NDArray[np.float64]], str, str]:
    found = contributions(pipeline, row)
    if found is not None:
        names, values, base = found
        k = _output(pipeline, label, values.shape[2])
        sign = -1.0 if _reversed(pipeline, label, values.shape[2]) else 1.0
        scale = schema.target if label is None else f"log-odds of {label}"
        if values.shape[2] > 1:
            scale = f"raw score of {label}"
        return sign * float(base[k]), (names, sign * values[0, :, k]), scale, "contributions"
    outputs = outputs_of(pipeline, schema, label)
    others = background.iloc[:: max(1, len(background) // BACKGROUND_ROWS)][:BACKGROUND_ROWS]
    others = others.reset_index(drop=True)
    own = float(outputs(row)[0])
    names = list(row.columns)
    repeated = row.loc[row.index.repeat(len(others))].reset_index(drop=True)
    pushes = np.array(
        [own - float(outputs(repeated.assign(**{c: others[c]})).mean()) for c in names]
    )
    scale = schema.target if label is None else f"probability of {label}"
    return float(outputs(others).mean()), (names, pushes), scale, "replacement"


def _output(pipeline: Any, label: str | None, outputs: int) -> int:
    if label is None or outputs == 1:
        return 0
    return [str(c) for c in pipeline[-1].classes_].index(label)


def _reversed(pipeline: Any, label: str | None, outputs: int) -> bool:
    """Whether the one output of a binary model is of the other class."""
    return label is not None and outputs == 1 and str(pipeline[-1].classes_[-1]) != label


def _shown(value: object) -> str:
    if value is None or value != value:
        return "(null)"
    return number(float(value)) if isinstance(value, float) else str(value)
