"""A column as drift sees it: numbers or levels, by the kind that the champion was trained with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.base.runtime.libraries import pa, pc, pd
from tasks.base.training_records import Kind
from tasks.data.typing.distinct_values import texts_of

_TRUTH = {"1": "True", "0": "False", "true": "True", "false": "False"}


class Numbers(NamedTuple):
    """A column as numbers."""

    values: NDArray[np.float64]  # shape (n_rows,), float64; NaN where there is no value
    strange: int  # cells that hold something else than the column's kind; they count as nulls


class Levels(NamedTuple):
    """A column as levels."""

    codes: NDArray[np.int64]  # shape (n_rows,), int64 places in `levels`; -1 for null
    levels: tuple[str, ...]  # texts, each once; 3, 3.0 and "3" are the same


def is_numeric(kind: Kind) -> bool:
    """Return whether columns of `kind` are compared as numbers."""
    # Times are microseconds since 1970, texts their length.
    return kind in ("numeric", "datetime", "text")


def column_of(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Return the column `name`, the first one where there are several."""
    column = frame[name]
    return column.iloc[:, 0] if isinstance(column, pd.DataFrame) else column


def numbers_of(column: pd.Series[Any], kind: Kind) -> Numbers:
    """Return `column` as numbers."""
    if kind == "text":
        lengths = pc.utf8_length(_texts(column)).cast(pa.float64())
        return Numbers(np.asarray(lengths.to_numpy(zero_copy_only=False)), 0)
    nulls = column.isna().to_numpy()
    values = _microseconds(column) if kind == "datetime" else _floats(column)
    return Numbers(values, int((np.isnan(values) & ~nulls).sum()))


def _floats(column: pd.Series[Any]) -> NDArray[np.float64]:
    if column.dtype.kind in "iufb":
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if column.dtype.kind in "mMc":
        return np.full(len(column), np.nan)
    try:
        numeric = pd.to_numeric(column, errors="coerce")
        if numeric.dtype.kind in "iufb":
            return np.asarray(numeric.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError, OverflowError):
        pass
    return np.array([_float(value) for value in column], dtype=np.float64)


def _float(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _microseconds(column: pd.Series[Any]) -> NDArray[np.float64]:
    if column.dtype.kind in "iufbc":
        return np.full(len(column), np.nan)
    if column.dtype.kind != "M":
        try:
            column = pd.to_datetime(column, errors="coerce", utc=True, format="mixed")
        except (TypeError, ValueError, OverflowError):
            return np.full(len(column), np.nan)
    times = naive_times(column)
    values = times.astype(np.int64).astype(np.float64)
    values[np.isnat(times)] = np.nan
    return values


def naive_times(column: pd.Series[Any]) -> NDArray[np.datetime64]:
    """Return a column of times as ``datetime64[us]`` in UTC; NaT stays."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return column.to_numpy().astype("datetime64[us]")


def levels_of(column: pd.Series[Any], kind: Kind) -> Levels:
    """Return `column` as levels; for booleans 1, "true" and True are the same."""
    encoded = _texts(column).dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    texts = encoded.dictionary.to_pylist()
    if kind != "boolean":
        return Levels(codes, tuple(texts))
    spelled = [_TRUTH.get(text, text) for text in texts]
    levels = list(dict.fromkeys(spelled))
    places = np.array([*(levels.index(text) for text in spelled), -1], dtype=np.int64)
    return Levels(places[codes], tuple(levels))


def _texts(column: pd.Series[Any]) -> Any:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if column.dtype.kind == "O":
        try:
            values = pa.array(column, from_pandas=True)
        except (pa.ArrowException, UnicodeError, TypeError, ValueError, OverflowError):
            return texts_of(column)
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            return values.cast(pa.large_string())
    return texts_of(column)
