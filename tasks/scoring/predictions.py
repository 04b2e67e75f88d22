"""Predictions of a model, row by row beside what identifies the row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.base.errors import DataError
from tasks.base.runtime.libraries import pa, pc, pd
from tasks.base.text.commands import command
from tasks.base.training_records import ModelVersion, Record, Schema
from tasks.data.typing.distinct_values import texts_of
from tasks.models.persistence.prediction import in_order, predict

CHUNK_ROWS = 200_000
ROW_NUMBER = "row"
RANK = "rank"
_MARKS = ("model_name", "model_version", "run_id", "batch")


class ScoringCounts(Record):
    """Counts of a scoring."""

    rows: int
    # Categorical column to its rows of a level that the contract does not list.
    unseen: dict[str, int] = Field(default_factory=dict)
    # Class to the rows it was predicted for; empty for regression.
    predicted: dict[str, int] = Field(default_factory=dict)

    def __add__(self, other: ScoringCounts) -> ScoringCounts:
        """Return the counts of both parts of a batch."""
        return ScoringCounts(
            rows=self.rows + other.rows,
            unseen=dict(Counter(self.unseen) + Counter(other.unseen)),
            predicted=dict(Counter(self.predicted) + Counter(other.predicted)),
        )


def score_frame(
    frame: pd.DataFrame,
    schema: Schema,
    pipeline: Any,
    *,
    version: ModelVersion,
    run_id: str,
    batch: str,
    known: Mapping[str, Collection[str]] | None = None,
    places: NDArray[np.int64] | None = None,
) -> tuple[pd.DataFrame, ScoringCounts]:
    """Predict every row of `frame` and count the levels the model never saw.

    Rows are predicted in parts, so that encoded matrices of a bounded size are in memory. `known`:
    categorical column to its levels in the training window, as text; `places`: where in what was
    read each row stood, from 0, shape (n_rows,). Raises DataError when features or ids are missing,
    all of them named, or the model cannot take the values.

    Columns of the predictions, in the order of `frame`: ids (without any ``row``, the place in what
    was read), the time column, ``prediction``, ``probability_<class>`` per class, of a ranking
    ``rank`` within the group from 1 on, ``model_name``, ``model_version``, ``run_id`` and
    ``batch``. An id column that has one of these names gets ``_input`` behind it.
    """
    _require(frame, schema)
    predicted, probability = _predictions(pipeline, frame, schema)
    columns = {"prediction": pd.Series(predicted)}
    for place, label in enumerate(schema.classes):
        columns[f"probability_{label}"] = pd.Series(probability[:, place])
    if schema.group is not None:
        columns[RANK] = pd.Series(ranks(frame[schema.group], predicted))
    for name, mark in zip(_MARKS, (version.name, version.version, run_id, batch), strict=True):
        columns[name] = pd.Series(mark, index=range(len(frame)), dtype="str")
    kept = _identity(frame, schema, columns, places)
    counts = ScoringCounts(
        rows=len(frame),
        unseen=unseen_levels(frame, known or {}),
        predicted=_class_counts(predicted, schema),
    )
    return pd.DataFrame({**kept, **columns}, copy=False), counts


def ranks(group: pd.Series[Any], predicted: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place of each row in its group, 1 for the greatest prediction.

    Equal predictions stand in the order of the rows.

    Raises DataError when a row has no group.

    >>> ranks(pd.Series(["a", "b", "a", "a"]), np.array([0.1, 0.5, 0.7, 0.1])).tolist()
    [2, 1, 1, 3]
    """
    absent = int(group.isna().sum())
    if absent:
        raise DataError(
            f"{absent:,} of {len(group):,} rows to score have no {group.name!r}, the group in "
            "which they are ranked.",
            "Leave them out of the source, or fill the column.",
        )
    codes = pd.factorize(group)[0]
    order = np.lexsort((-np.asarray(predicted, np.float64), codes))
    first = np.r_[True, codes[order][1:] != codes[order][:-1]] if len(order) else np.empty(0, bool)
    places = np.arange(len(order))
    found = np.empty(len(order), dtype=np.int64)
    found[order] = places - np.maximum.accumulate(np.where(first, places, 0)) + 1
    return found


def best(predictions: pd.DataFrame, top_k: int | None) -> pd.DataFrame:
    """Return the `top_k` best rows of each group, every row without it."""
    if top_k is None or RANK not in predictions:
        return predictions
    return predictions[predictions[RANK] <= top_k].reset_index(drop=True)


def unseen_levels(frame: pd.DataFrame, known: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Return, per column with any, how many rows hold a level that is not among `known`.

    A null is no level. 3, 3.0 and "3" are the same one.

    >>> rows = pd.DataFrame({"carrier": ["AA", "ZZ", None], "month": [1, 2, 1]})
    >>> unseen_levels(rows, {"carrier": ["AA"], "month": ["1", "2"]})
    {'carrier': 1}
    """
    counts = {}
    for column, levels in known.items():
        if column not in frame:
            continue
        texts = texts_of(frame[column])
        seen = pc.is_in(texts, value_set=pa.array(list(levels), type=texts.type))
        unseen = pc.and_(pc.is_valid(texts), pc.invert(seen))
        if rows := int(pc.sum(unseen).as_py() or 0):
            counts[column] = rows
    return counts


def _require(frame: pd.DataFrame, schema: Schema) -> None:
    features = [column for column in schema.features if column not in frame]
    named = dict.fromkeys([*schema.id_columns, *([schema.group] if schema.group else [])])
    ids = [column for column in named if column not in frame]
    if not features and not ids:
        return
    parts = [
        f"{word} {', '.join(map(repr, missing))}"
        for word, missing in (("features", features), ("id columns", ids))
        if missing
    ]
    raise DataError(
        f"The rows to score lack columns that the model was trained with: {'; '.join(parts)}.",
        "Add them to the source, with nulls where a value is not known; or train without them.",
    )


def _predictions(
    pipeline: Any, frame: pd.DataFrame, schema: Schema
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return labels or values, and probabilities of shape (n_rows, n_classes)."""
    predicted: list[NDArray[Any]] = []
    probability: list[NDArray[np.float64]] = []
    for start in range(0, max(1, len(frame)), CHUNK_ROWS):
        part = frame.iloc[start : start + CHUNK_ROWS][list(schema.features)]
        labels, shares = _ask(pipeline, part, schema)
        predicted.append(labels)
        probability.append(shares)
    return np.concatenate(predicted), np.concatenate(probability)


def _ask(
    pipeline: Any, part: pd.DataFrame, schema: Schema
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    if not len(part):
        # Encoders refuse to look at nothing.
        classes = getattr(pipeline[-1], "classes_", np.empty(0))
        return classes[:0], np.empty((0, len(schema.classes)))
    try:
        labels, shares = predict(pipeline, part)
    except (ValueError, TypeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"The model cannot take these rows: {reason[0][:300]}",
            f"Compare the columns' kinds with the contract: `{command('contract', 'check')}`.",
        ) from None
    if shares is None:
        return labels, np.empty((len(part), 0))
    unnamed = sorted({str(label) for label in pipeline[-1].classes_} - set(schema.classes))
    if unnamed:
        raise DataError(
            f"The model predicts classes that its schema does not name: {', '.join(unnamed[:5])}.",
            "Train again: the model and its schema do not belong together.",
        )
    return labels, in_order(shares, pipeline[-1].classes_, schema.classes)


def _identity(
    frame: pd.DataFrame, schema: Schema, taken: Iterable[str], places: NDArray[np.int64] | None
) -> dict[str, pd.Series[Any]]:
    names = dict.fromkeys(schema.id_columns)
    if schema.time_column is not None and schema.time_column in frame:
        names[schema.time_column] = None
    used = set(taken)
    kept: dict[str, pd.Series[Any]] = {}
    if not schema.id_columns:
        numbers = np.arange(len(frame)) if places is None else places
        kept[_free(ROW_NUMBER, {*used, *names})] = pd.Series(numbers)
    for name in names:
        kept[_free(name, used | kept.keys())] = frame[name].reset_index(drop=True)
    return kept


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name = f"{name}_input"
    return name


def _class_counts(predicted: NDArray[Any], schema: Schema) -> dict[str, int]:
    if not schema.classes:
        return {}
    labels, counts = np.unique(predicted.astype(str), return_counts=True)
    return {str(label): int(count) for label, count in zip(labels, counts, strict=True)}
