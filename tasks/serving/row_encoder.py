"""The first step of a pipeline, applied to the cells of a request without a frame.

A frame of one row needs a hundred times as long to make and to take apart as its model needs for
the prediction. What reads the frame is replaced here, for each kind of transformer, and the steps
behind it by `small_batches`; the numbers are the same to the last digit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.data.typing.distinct_values import level_text
from tasks.models.features.columns import CategoryCodes, Numbers
from tasks.models.features.datetime_features import DateParts, days_of
from tasks.models.features.text_features import MAX_CHARACTERS, TextTopics
from tasks.serving.request_columns import CellType, RequestColumns
from tasks.serving.small_batches import transform_of

Matrix = NDArray[Any]
_Part = Callable[[RequestColumns, NDArray[np.float64]], Matrix]


@dataclass(frozen=True)
class RowEncoder:
    """A fitted encoder on the cells of requests."""

    _parts: tuple[_Part, ...]
    _width: int

    @classmethod
    def of(
        cls, encoder: Any, types: Mapping[str, CellType], numbers: Sequence[str]
    ) -> RowEncoder | None:
        """Return the encoder; None where one of its parts reads frames in a way not known here."""
        # `numbers`: the columns of numbers, in the order of the matrix that comes with a request.
        groups = getattr(encoder, "groups_", None)
        if groups is None:
            return None
        parts = []
        for name, step, columns in groups.transformers_:
            if name == "remainder" or isinstance(step, str):
                continue
            part = _part(step, [str(column) for column in columns], types, numbers)
            if part is None:
                return None
            parts.append(part)
        return cls(tuple(parts), len(encoder.outputs_))

    def encode(self, given: RequestColumns, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return dense float32, (n_rows, n_outputs); `numbers` is of shape (n_columns, n_rows)."""
        out = np.empty((given.rows, self._width), dtype=np.float32)
        place = 0
        for part in self._parts:
            values = part(given, numbers)
            out[:, place : place + values.shape[1]] = values
            place += values.shape[1]
        return out


def _part(
    step: Any, columns: list[str], types: Mapping[str, CellType], numbers: Sequence[str]
) -> _Part | None:
    steps = [inner for _, inner in step.steps] if hasattr(step, "steps") else [step]
    first, rest = steps[0], steps[1:]
    kinds = {types.get(column) for column in columns}
    reading: _Part | None = None
    if isinstance(first, CategoryCodes) and kinds <= {"text", "number", "boolean", "any"}:
        reading = _codes(first, columns, types)
    elif isinstance(first, Numbers) and kinds <= {"number", "boolean"}:
        reading = _numbers(first, columns, types, numbers)
    elif isinstance(first, DateParts) and kinds <= {"time"}:
        reading = _dates(first, columns)
    elif isinstance(first, TextTopics) and kinds <= {"text"}:
        reading = _topics(first, columns)
    if reading is None or not rest:
        return reading
    read, steps_behind = reading, [transform_of(one) for one in rest]

    def through(given: RequestColumns, matrix: NDArray[np.float64]) -> Matrix:
        values = read(given, matrix)
        for transform in steps_behind:
            values = transform(values)
        return values

    return through


def _codes(step: CategoryCodes, columns: list[str], types: Mapping[str, CellType]) -> _Part:
    tables = [
        ({level: code for code, level in enumerate(json.loads(levels))}, rare)
        for levels, rare in zip(step.levels_, step.rare_, strict=True)
    ]
    named = [
        (name, types[name] == "text", known, rare)
        for name, (known, rare) in zip(columns, tables, strict=True)
    ]

    def codes(given: RequestColumns, _: NDArray[np.float64]) -> Matrix:
        out = np.empty((given.rows, len(columns)), dtype=np.int32)
        for place, (name, is_text, known, rare) in enumerate(named):
            cells = given.cells[name]
            if not is_text:
                cells = [None if cell is None else level_text(cell) for cell in cells]
            out[:, place] = [known.get(cell, rare) for cell in cells]
        return out

    return codes


def _numbers(
    step: Numbers, columns: list[str], types: Mapping[str, CellType], numbers: Sequence[str]
) -> _Part:
    of_matrix = [(n, numbers.index(c)) for n, c in enumerate(columns) if types[c] == "number"]
    targets, sources = [n for n, _ in of_matrix], [place for _, place in of_matrix]
    truths = [(n, column) for n, column in enumerate(columns) if types[column] == "boolean"]

    def values(given: RequestColumns, matrix: NDArray[np.float64]) -> Matrix:
        found = np.empty((given.rows, len(columns)), dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            found[:, targets] = matrix[sources].T
            for place, name in truths:
                found[:, place] = np.array(given.cells[name], dtype=np.float64)
        found[~np.isfinite(found)] = np.nan
        return np.asarray(step.transform(found))

    return values


def _dates(step: DateParts, columns: list[str]) -> _Part:
    nothing = np.iinfo(np.int64).min

    def parts(given: RequestColumns, _: NDArray[np.float64]) -> Matrix:
        days = np.empty((given.rows, len(columns)), dtype=np.float64)
        for place, name in enumerate(columns):
            ticks = [nothing if cell is None else cell for cell in given.cells[name]]
            days[:, place] = days_of(np.array(ticks, dtype=np.int64).view("datetime64[us]"))
        return step.parts_of(days)

    return parts


def _topics(step: TextTopics, columns: list[str]) -> _Part:
    def topics(given: RequestColumns, _: NDArray[np.float64]) -> Matrix:
        documents = [
            [(text or "")[:MAX_CHARACTERS] for text in given.cells[name]] for name in columns
        ]
        return step.topics_of(documents, given.rows)

    return topics
