"""Columns of a frame turned into numbers, one transformer per kind of column.

scikit-learn's transformers take over where arrays of numbers begin. What stands here reads frames
as people deliver them: mixed types, infinities, three ways to write a null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from tasks.base.arrays import Floats, Mask, Matrix
from tasks.base.errors import DataError
from tasks.base.runtime.libraries import pa, pc, pd
from tasks.data.typing.distinct_values import texts_of


class Output(NamedTuple):
    """One column of an encoded matrix: its name and the column of the frame it comes from."""

    name: str
    source: str


def features_of(frame: pd.DataFrame, features: list[str]) -> pd.DataFrame:
    """Return the columns `features` of `frame`, in their order; DataError if one is absent."""
    if not isinstance(frame, pd.DataFrame) and hasattr(frame, "to_pandas"):  # Polars or Arrow
        frame = frame.to_pandas()
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            f"features come as a DataFrame with named columns; got {type(frame).__name__}."
        )
    absent = [name for name in features if name not in frame.columns]
    if absent:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        raise DataError(
            "every feature the model was trained on must be a column; absent: "
            f"{', '.join(map(repr, absent[:5]))}{more}.",
            "Add the column to the source (nulls are allowed), or train again without it.",
        )
    return frame[features]


def numbers_of(frame: pd.DataFrame) -> Matrix:
    """Return `frame` as float32 of shape (n_rows, n_columns).

    Nulls, infinities, numbers beyond float32 and what is no number are NaN; booleans are 0 and 1.

    >>> numbers_of(pd.DataFrame({"a": [1, np.inf], "b": [True, False]})).tolist()
    [[1.0, 1.0], [nan, 0.0]]
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if all(isinstance(kind, np.dtype) and kind.kind in "iufb" for kind in frame.dtypes):
            values = frame.to_numpy(dtype=np.float32)
            # Views of the caller's frame are read-only under pandas' copy on write.
            if not (values.flags.writeable and values.flags.c_contiguous):
                values = np.array(values, order="C")
        else:
            values = np.empty(frame.shape, dtype=np.float32)
            for place in range(frame.shape[1]):
                values[:, place] = _numeric(frame.iloc[:, place])
    values[~np.isfinite(values)] = np.nan
    return values


def _numeric(column: pd.Series[Any]) -> Floats:
    if column.dtype.kind in "mM":
        return np.full(len(column), np.nan)
    numeric = pd.to_numeric(column, errors="coerce")
    return np.asarray(numeric.to_numpy(dtype=np.float64, na_value=np.nan))


def count_levels(column: pd.Series[Any]) -> int:
    """Return how many distinct levels `column` has, null among them."""
    return int(pc.count_distinct(texts_of(column), mode="all").as_py())


class Numbers(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Numbers and booleans as float32; `bounded`: within one range's width of the training range.

    With `fill`, nulls become the median (``medians_``; 0 for a column of nulls) and a column each,
    0 or 1, marks where they were (``nulls_``); else they stay NaN. scikit-learn's median imputer
    needs 3 s for 30,000 rows of 785 columns, for its masked arrays; this computes medians of the
    columns with nulls only.
    """

    def __init__(self, fill: bool = False, bounded: bool = False) -> None:
        self.fill = fill
        self.bounded = bounded

    def fit(
        self,
        X: pd.DataFrame | Matrix,
        y: object = None,  # noqa: ARG002 - scikit-learn's signature
    ) -> Self:
        """Learn medians, bounds and which columns have nulls."""
        values = _matrix(X)
        null = np.isnan(values)
        holes = np.flatnonzero(null.any(axis=0))
        self.n_features_in_ = values.shape[1]
        self.nulls_ = holes if self.fill else holes[:0]
        self.medians_ = np.zeros(values.shape[1], dtype=np.float32)
        for place in holes:
            there = values[~null[:, place], place]
            self.medians_[place] = np.median(there) if len(there) else 0.0
        low, high = _range(values, null)
        self.low_, self.high_ = 2 * low - high, 2 * high - low
        return self

    def transform(self, X: pd.DataFrame | Matrix) -> Matrix:
        """Return shape (n_rows, n_columns + n_indicators)."""
        values = _matrix(X)
        if self.bounded:
            np.clip(values, self.low_, self.high_, out=values)
        if not self.fill:
            return values
        null = np.isnan(values)
        np.copyto(values, self.medians_, where=null)
        if not len(self.nulls_):
            return values
        return np.hstack([values, null[:, self.nulls_].astype(np.float32)])

    def outputs(self, columns: Iterable[Output]) -> list[Output]:
        """Name the columns that come out for the `columns` that went in."""
        given = list(columns)
        return given + [
            Output(f"{given[i].name} is missing", given[i].source) for i in self.nulls_.tolist()
        ]


def _matrix(X: pd.DataFrame | Matrix) -> Matrix:
    return numbers_of(X) if isinstance(X, pd.DataFrame) else np.array(X, dtype=np.float32)


def _range(values: Matrix, null: Mask) -> tuple[Floats, Floats]:
    low = np.where(null, np.inf, values).min(axis=0, initial=np.inf).astype(np.float64)
    high = np.where(null, -np.inf, values).max(axis=0, initial=-np.inf).astype(np.float64)
    empty = low > high
    low[empty] = high[empty] = 0.0
    return low, high


class CategoryCodes(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Levels as whole numbers: frequent levels first, then one code for all rare ones.

    At most `max_levels` of `min_rows` training rows or more keep a code of their own. Null is a
    level of its own. A level never seen counts as a rare one, and is -1 where the training rows had
    no rare level. Per column, ``levels_`` are those with a code of their own as a JSON list, and
    ``rare_`` is the code of rare ones; -1 without any.
    """

    def __init__(self, max_levels: int = 254, min_rows: int = 1) -> None:
        self.max_levels = max_levels
        self.min_rows = min_rows

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:  # noqa: ARG002 - as above
        """Learn the levels of each column."""
        self.levels_: list[str] = []
        self.rare_: list[int] = []
        for place in range(X.shape[1]):
            counts = pc.value_counts(texts_of(X.iloc[:, place]))
            found = zip(
                counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True
            )
            # Ties in order of the text, so that the same rows always give the same codes.
            ranked = sorted(found, key=lambda one: (-one[1], one[0] is not None, one[0] or ""))
            kept = [v for v, n in ranked[: self.max_levels] if n >= self.min_rows]
            self.levels_.append(json.dumps(kept))
            self.rare_.append(len(kept) if len(kept) < len(ranked) else -1)
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[np.int32]:
        """Return the codes, shape (n_rows, n_columns)."""
        codes = np.empty(X.shape, dtype=np.int32)
        for place, (levels, rare) in enumerate(zip(self.levels_, self.rare_, strict=True)):
            known = pa.array(json.loads(levels), type=pa.large_string())
            found = pc.index_in(texts_of(X.iloc[:, place]), value_set=known)
            codes[:, place] = found.fill_null(rare).to_numpy(zero_copy_only=False)
        return codes

    def outputs(self, columns: Iterable[Output]) -> list[Output]:
        """Name the columns that come out for the `columns` that went in."""
        return list(columns)

    def level_name(self, place: int, code: int) -> str:
        """Return the value of `code` in the column at `place`."""
        levels = json.loads(self.levels_[place])
        if not 0 <= code < len(levels):
            return "(rare)"
        return "(null)" if levels[code] is None else str(levels[code])
