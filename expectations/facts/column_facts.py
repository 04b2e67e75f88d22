"""Facts of a column: how its values are stored, its missing values, its ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expectations.contract import ScaleRule
from expectations.engine.libraries import pd
from expectations.text.time_spans import as_naive_utc

Stored = Literal["number", "text", "boolean", "time", "mixed", "empty"]
Mask = NDArray[np.bool_]

_HASHED_ROWS = 100_000
_INFERRED: dict[str, Stored] = {
    "string": "text",
    "boolean": "boolean",
    "integer": "number",
    "floating": "number",
    "mixed-integer-float": "number",
    "decimal": "number",
    "datetime": "time",
    "datetime64": "time",
    "date": "time",
    "empty": "empty",
}


@dataclass(frozen=True)
class ColumnFacts:
    """A column in its plainest form, and what is known of it after one pass."""

    # `values` are numbers as int64 or float64 or narrower, times as datetime64 in UTC, texts as
    # ``str``, booleans as they are; ``mixed`` columns untouched.

    values: pd.Series[Any]
    stored: Stored  # ``empty`` when no value is present
    nulls: int  # rows
    low: Any = None  # least of numbers and times
    high: Any = None
    constant: bool = False  # False where there are fewer than two

    @property
    def present(self) -> int:
        """Rows that have a value."""
        return len(self.values) - self.nulls

    @property
    def sizes(self) -> NDArray[np.float64]:
        """Finite values other than 0 without their sign, of shape (n_sizes,)."""
        if self.stored != "number":
            return np.empty(0)
        numbers = np.abs(self.values.to_numpy(np.float64, na_value=np.nan))
        found: NDArray[np.float64] = numbers[np.isfinite(numbers) & (numbers > 0)]
        return found


def gather_facts(frame: pd.DataFrame, names: Mapping[str, object]) -> dict[str, ColumnFacts]:
    """Return the facts of every column of `frame` that is in `names`."""
    return {str(name): facts_of(frame[name]) for name in frame.columns if name in names}


def facts_of(column: pd.Series[Any]) -> ColumnFacts:
    """Return the facts of `column`; no value in it can make this fail."""
    nulls = int(column.isna().sum())
    if nulls == len(column):
        return ColumnFacts(column, "empty", nulls)
    values, stored = _plainest(column)
    if stored in {"number", "time"}:
        low, high = values.min(), values.max()
        constant = len(values) - nulls > 1 and bool(low == high)
        return ColumnFacts(values, stored, nulls, low, high, constant)
    return ColumnFacts(values, stored, nulls, constant=_is_constant(values, len(values) - nulls))


def _plainest(column: pd.Series[Any]) -> tuple[pd.Series[Any], Stored]:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _plainest(column.astype(dtype.categories.dtype))
    if pd.api.types.is_bool_dtype(dtype):
        return column, "boolean"
    if pd.api.types.is_complex_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return column, "mixed"
    if pd.api.types.is_numeric_dtype(dtype):
        if pd.api.types.is_extension_array_dtype(dtype):
            return _as_floats(column), "number"
        return column, "number"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return _as_utc(column), "time"
    if pd.api.types.is_object_dtype(dtype):
        return _from_objects(column)
    if pd.api.types.is_string_dtype(dtype):
        return column, "text"
    return column.astype(object), "mixed"


def _from_objects(column: pd.Series[Any]) -> tuple[pd.Series[Any], Stored]:
    stored = _INFERRED.get(pd.api.types.infer_dtype(column, skipna=True), "mixed")
    if stored == "number":
        return _as_floats(column), stored
    if stored == "time":
        try:
            return _as_utc(pd.to_datetime(column, utc=True)), stored
        except (ValueError, OverflowError, TypeError):
            return column, "mixed"
    return column, stored


def _as_floats(column: pd.Series[Any]) -> pd.Series[Any]:
    floats = (
        np.array(
            [
                np.nan if missing else _as_float(v)
                for v, missing in zip(column, column.isna(), strict=True)
            ],
            dtype=np.float64,
        )
        if pd.api.types.is_object_dtype(column.dtype)
        else column.to_numpy(np.float64, na_value=np.nan)
    )
    return pd.Series(floats, index=column.index, name=column.name)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def _as_utc(column: pd.Series[Any]) -> pd.Series[Any]:
    if getattr(column.dtype, "tz", None) is None:
        return column
    naive: pd.Series[Any] = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return naive


def _is_constant(values: pd.Series[Any], present: int) -> bool:
    if present < 2:
        return False
    known = values.dropna()
    try:
        # Most columns differ early; only a suspicious one is read to its end.
        return _all_equal(known.iloc[:1000]) and _all_equal(known)
    except (TypeError, ValueError):
        return False


def _all_equal(known: pd.Series[Any]) -> bool:
    return bool((known == known.iloc[0]).all())


def bound_of(value: Any) -> Any:
    """Return a bound of a contract in the form that plain columns are compared with."""
    return as_naive_utc(value) if isinstance(value, datetime) else value


def outside(facts: ColumnFacts, low: Any, high: Any) -> Mask:
    """Return which rows lie outside [low, high]; rows without a value do not."""
    mask = np.zeros(len(facts.values), dtype=bool)
    values = facts.values
    if low is not None:
        mask |= np.asarray(values < bound_of(low), dtype=bool)
    if high is not None:
        mask |= np.asarray(values > bound_of(high), dtype=bool)
    return mask


def as_category(value: Any) -> Any:
    """Return a value of a column as a category of a contract: text, a plain number or a truth."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str):
        return value
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def later_than(facts: ColumnFacts, moment: datetime) -> Mask:
    """Return which rows have a time after `moment`; rows without a time have not."""
    return np.asarray(facts.values > as_naive_utc(moment), dtype=bool)


def off_scale(facts: ColumnFacts, rule: ScaleRule) -> Mask:
    """Return which rows lie so far beyond the sizes of a scale that they alone are a fault."""
    numbers = np.abs(facts.values.to_numpy(np.float64, na_value=np.nan))
    return np.asarray(numbers > rule.farthest, dtype=bool)


def unseen(facts: ColumnFacts, categories: tuple[Any, ...]) -> Mask:
    """Return which rows hold a value that is none of `categories`; rows without a value do not."""
    known = facts.values.isin(list(categories)) | facts.values.isna()
    return ~np.asarray(known, dtype=bool)


def codes_of(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return a number for each distinct text; the texts themselves where that cannot be had.

    pandas makes an object of every text before it looks for repeated ones, which is many times
    the memory of the texts. Here they become hashes, a few at a time. Texts that share a hash are
    looked at themselves, and with a null among them they all are.

    >>> codes_of(pd.Series(["b", "a", "b"], dtype="str")).nunique()
    2
    """
    if values.hasnans:
        return values
    hashes = np.concatenate(
        [
            pd.util.hash_pandas_object(
                values.iloc[start : start + _HASHED_ROWS], index=False, categorize=False
            )
            for start in range(0, max(1, len(values)), _HASHED_ROWS)
        ]
    )
    codes = pd.Series(hashes, index=values.index, name=values.name)
    if not _differ(hashes):
        twice = codes.duplicated(keep=False)
        pairs = pd.DataFrame({"code": codes[twice], "text": values[twice]}).drop_duplicates()
        if not pairs["code"].is_unique:
            return values
    return codes


def all_different(values: pd.Series[Any]) -> bool:
    """Return whether no value, null among them, stands twice."""
    codes = codes_of(values) if isinstance(values.dtype, pd.StringDtype) else values
    return _differ(codes.to_numpy()) if codes is not values else bool(values.is_unique)


def _differ(numbers: NDArray[Any]) -> bool:
    ordered = np.sort(numbers)
    return bool((ordered[1:] != ordered[:-1]).all())


def repeated(frame: pd.DataFrame, columns: list[str]) -> Mask:
    """Return which rows agree with another in all `columns`; rows without any value do not."""
    part = frame[columns]
    try:
        mask = part.duplicated(keep=False)
    except TypeError:
        mask = part.astype(str).duplicated(keep=False)
    return np.asarray(mask & part.notna().any(axis=1), dtype=bool)
