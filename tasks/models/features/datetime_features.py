"""Moments turned into numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from tasks.base.arrays import Floats, Matrix
from tasks.base.runtime.libraries import pd
from tasks.models.features.columns import Output

SECONDS_A_DAY = 86_400


class DateParts(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Moments as hour, weekday, month, day of the year and days elapsed.

    A part that does not vary in training is left out, and so are month and day of the year unless
    training saw all twelve months: with fewer they only show how late a row is. `cyclic` gives
    hour, weekday and day of the year as sine and cosine. The `time_column`, by which rows are
    ordered, never gives elapsed days: every later row lies beyond what was trained on. Other
    columns count days to it where a row has it.
    """

    def __init__(self, time_column: str | None = None, cyclic: bool = False) -> None:
        self.time_column = time_column
        self.cyclic = cyclic

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's
        """Learn which parts vary."""
        days = _days(X)
        self.columns_ = [str(name) for name in X.columns]
        self.parts_: list[list[str]] = []
        self.origins_: list[float] = []
        for place, name in enumerate(self.columns_):
            there = days[:, place][~np.isnan(days[:, place])]
            parts = [part for part in ("hour", "weekday") if _varies(part, there)]
            if len(np.unique(_part("month", there, 0.0))) == 12:
                parts.append("day of year" if self.cyclic else "month")
            if name != self.time_column:
                parts.append("days")
            self.parts_.append(parts)
            self.origins_.append(float(np.median(there)) if len(there) else 0.0)
        return self

    def transform(self, X: pd.DataFrame) -> Matrix:
        """Return shape (n_rows, n_parts); NaN where the moment is null."""
        return self.parts_of(_days(X))

    def parts_of(self, days: Floats) -> Matrix:
        """Return the parts of moments as days since 1970-01-01 UTC, shape (n_rows, n_columns)."""
        out: list[Floats] = []
        for place, parts in enumerate(self.parts_):
            for part in parts:
                values = _part(part, days[:, place], self._origin(days, place))
                out.extend(_waves(part, values) if self._is_cyclic(part) else [values])
        if not out:
            return np.empty((len(days), 0), dtype=np.float32)
        return np.column_stack(out).astype(np.float32)

    def _origin(self, days: Floats, place: int) -> Floats | float:
        if self.time_column in self.columns_:
            return days[:, self.columns_.index(self.time_column)]
        return self.origins_[place]

    def _is_cyclic(self, part: str) -> bool:
        return self.cyclic and part in _PERIODS

    def outputs(self, columns: Iterable[Output]) -> list[Output]:
        """Name the columns that come out for the `columns` that went in."""
        return [
            Output(f"{column.name} {part}{wave}", column.source)
            for column, parts in zip(columns, self.parts_, strict=True)
            for part in parts
            for wave in ((" (sin)", " (cos)") if self._is_cyclic(part) else ("",))
        ]


_PERIODS = {"hour": 24.0, "weekday": 7.0, "day of year": 365.25}


def _days(frame: pd.DataFrame) -> Floats:
    """Return days since 1970-01-01 UTC, NaN for what is no moment."""
    days = np.empty(frame.shape, dtype=np.float64)
    for place in range(frame.shape[1]):
        column = frame.iloc[:, place]
        if column.dtype.kind in "iufb":
            days[:, place] = np.nan
            continue
        # pandas looks for repetitions first, which is ten times as slow as the rest.
        moments = (
            column
            if column.dtype.kind == "M"
            else pd.to_datetime(column, errors="coerce", utc=True, format="mixed")
        )
        days[:, place] = days_of(moments.to_numpy(dtype="datetime64[us]"))  # in UTC
    return days


def days_of(moments: NDArray[np.datetime64]) -> Floats:
    """Return moments in UTC, ``datetime64[us]``, as days since 1970-01-01; NaN for NaT."""
    days = moments.astype(np.int64) / 1e6 / SECONDS_A_DAY
    days[np.isnat(moments)] = np.nan
    return days


def _varies(part: str, days: Floats) -> bool:
    return len(days) > 0 and float(np.ptp(_part(part, days, 0.0))) > 0


def _part(part: str, days: Floats, origin: Floats | float) -> Floats:
    if part == "days":
        return days - origin
    if part == "hour":
        return np.asarray(np.floor(np.round((days % 1) * SECONDS_A_DAY) / 3600) % 24)
    if part == "weekday":
        return np.asarray((np.floor(days) + 3) % 7)  # 1970-01-01 was a Thursday; Monday is 0
    null = np.isnan(days)
    dates = np.floor(np.where(null, 0, days)).astype(np.int64).astype("datetime64[D]")
    if part == "month":
        values = dates.astype("datetime64[M]").astype(np.int64) % 12 + 1
    else:
        values = (dates - dates.astype("datetime64[Y]")).astype(np.int64)
    return np.where(null, np.nan, values)


def _waves(part: str, values: Floats) -> list[Floats]:
    angle = 2 * np.pi * values / _PERIODS[part]
    return [np.sin(angle), np.cos(angle)]
