"""Predictions of training rows by models that did not learn from them, and what they can tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FILE = "oof.npz"
_BLOCKS = 50
_NORMAL = 1.959963984540054


@dataclass(frozen=True)
class OutOfFold:
    """One row for every row that validated, fold by fold.

    Attributes
    ----------
    rows
        Positions among the training rows.
    y
        Labels or values.
    predicted
        Labels, by the likeliest class, or values.
    probability
        Shape (n_rows, n_classes) in the order of the schema's classes; None for regression.
    part
        Number of the fold. Where there was one fold: of its halves, so that one can judge what
        was learnt of the other.
    """

    rows: NDArray[np.int64]
    y: NDArray[Any]
    predicted: NDArray[Any]
    probability: NDArray[np.float64] | None
    part: NDArray[np.int64]
    ordered: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def truth(self, classes: tuple[str, ...]) -> NDArray[np.int64]:
        """Return the place of each row's label in `classes`."""
        places = {label: place for place, label in enumerate(classes)}
        labels, codes = np.unique(self.y, return_inverse=True)
        return np.asarray([places[str(label)] for label in labels], dtype=np.int64)[codes.ravel()]

    def turns(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the rows of each part, and those of the parts that it may be judged by.

        Where rows lie in time only earlier parts may tell about a later one.
        """
        for number in np.unique(self.part):
            others = self.part < number if self.ordered else self.part != number
            yield np.flatnonzero(self.part == number), np.flatnonzero(others)

    def judged(self) -> NDArray[np.bool_]:
        """Return which rows have other parts to be judged by."""
        marks = np.zeros(len(self), dtype=bool)
        for inside, others in self.turns():
            marks[inside] = len(others) > 0
        return marks

    def newest_mean(self, values: NDArray[np.float64]) -> float:
        """Return the mean of `values` (one a row) over the last part."""
        return float(values[self.part == self.part.max()].mean())

    def same_rows(self, other: OutOfFold) -> bool:
        """Return whether `other` is about the same rows in the same order."""
        return np.array_equal(self.rows, other.rows) and np.array_equal(self.part, other.part)

    def with_probability(self, probability: NDArray[np.float64]) -> Self:
        """Return it with other probabilities."""
        return replace(self, probability=probability)

    def save(self, folder: Path) -> None:
        """Write it into a candidate's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "rows": self.rows,
            "y": _plain(self.y),
            "predicted": _plain(self.predicted),
            "part": self.part,
            "ordered": np.array(self.ordered),
        }
        if self.probability is not None:
            values["probability"] = self.probability
        beside = folder / f".{FILE}"
        with beside.open("wb") as file:
            np.savez(file, **values)  # type: ignore[arg-type]
        beside.replace(folder / FILE)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return what `save` wrote; None where there is nothing."""
        try:
            with np.load(folder / FILE, allow_pickle=False) as kept:
                values = {name: kept[name] for name in kept.files}
        except (OSError, ValueError):
            return None
        values["ordered"] = bool(values["ordered"])
        return cls(**{"probability": None, **values})


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(str) if values.dtype == object else values


@dataclass
class Collector:
    """Gathers the predictions of validation parts as the folds come."""

    ordered: bool
    _parts: list[tuple[NDArray[Any], ...]] = field(default_factory=list)

    def add(
        self,
        rows: NDArray[np.int64],
        y: NDArray[Any],
        predicted: NDArray[Any],
        probability: NDArray[np.float64] | None,
    ) -> None:
        """Add one part; `probability` has a column for each class of the schema."""
        if len(rows):
            chances = np.empty((len(rows), 0)) if probability is None else probability
            self._parts.append((rows, y, predicted, chances))

    def all(self) -> OutOfFold | None:
        """Return all parts; None before there is one."""
        if not self._parts:
            return None
        rows, y, predicted, chances = (np.concatenate(c) for c in zip(*self._parts, strict=True))
        sizes = [len(part[0]) for part in self._parts]
        part = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
        if len(sizes) == 1:
            places = np.arange(len(rows), dtype=np.int64)
            part = places * 2 // len(rows) if self.ordered else places % 2
        probability = chances if chances.shape[1] else None
        return OutOfFold(rows, y, predicted, probability, part, self.ordered)


def gain(difference: NDArray[np.float64], *, ordered: bool) -> tuple[float, float, float]:
    """Return the mean of `difference` over rows and its 95 % interval.

    Where rows lie in time, runs of neighbours count as one: they resemble each other.

    Examples
    --------
    >>> mean, low, high = gain(np.array([1.0, 1.2, 0.8, 1.0]), ordered=False)
    >>> round(mean, 2), low > 0
    (1.0, True)
    """
    values = difference
    if ordered and len(values) >= 2 * _BLOCKS:
        run = np.arange(len(values)) * _BLOCKS // len(values)
        values = np.bincount(run, values) / np.bincount(run)
    mean = float(difference.mean())
    if len(values) < 2:
        return mean, -np.inf, np.inf
    half = _NORMAL * float(values.std(ddof=1)) / float(np.sqrt(len(values)))
    return mean, mean - half, mean + half
